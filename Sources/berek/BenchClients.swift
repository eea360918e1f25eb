import ArgumentParser
import DeviceProfiles
import EventPipeline
import LinkService
import LinuxIO
import Quantities

/// Where a served bench listens, and how its answer is printed.
struct ControlOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The control socket of the bench.", valueName: "path"))
    var control: String

    @Flag(help: "Print JSON.") var json = false

    /// Asks the bench; exit code 4 when there is none, 3 when it does not answer in time.
    func ask(
        _ command: String, _ fields: [(String, JSONText)] = [], timeout: Duration = .seconds(30)
    ) async throws -> JSONValue {
        try await Self.ask(control, command, fields, timeout: timeout)
    }

    static func ask(
        _ path: String, _ command: String, _ fields: [(String, JSONText)] = [],
        timeout: Duration = .seconds(30)
    ) async throws -> JSONValue {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        do throws(BenchControlFailure) {
            return try await BenchControlClient(path: path, reactor: reactor)
                .ask(command, fields, timeout: timeout)
        } catch {
            printError("\(error)")
            switch error {
            case .unreachable: throw Exit.deviceUnavailable
            case .timedOut: throw Exit.timedOut
            case .unexpectedAnswer, .refused: throw Exit.failed
            }
        }
    }

    /// Prints the answer as JSON, or in the words of `text`.
    func show(_ answer: JSONValue, _ text: (JSONValue) -> String) {
        print(json ? answer.text.text : text(answer))
    }
}

extension JSONValue {
    /// A number with up to six digits behind the point, or the scalar as it is.
    fileprivate var short: String {
        switch self {
        case .integer(let value): String(value)
        case .number(let value): fixed(value, 6)
        case .array(let items): items.map(\.short).joined(separator: " ")
        default: scalar ?? "-"
        }
    }

    fileprivate var items: [JSONValue] { if case .array(let items) = self { items } else { [] } }

    fileprivate func text(_ key: String) -> String { self[key]?.short ?? "-" }
}

extension Bench {
    struct Truth: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows what no receiver can know: angles, polarization, counts, time.",
            discussion: "Exit code 4 when no bench is served there, 3 when it does not answer.")

        @OptionGroup var options: ControlOptions

        func run() async throws {
            options.show(try await options.ask("truth")) { truth in
                var lines = [
                    "seed            \(truth.text("seed"))",
                    "bench time      \(truth.text("time_s")) s",
                    "plate angles    \(truth.text("plate_angles_deg")) deg",
                    "misalignment    Z \(truth["misalignment"]?.text("z") ?? "-"), "
                        + "X \(truth["misalignment"]?.text("x") ?? "-")",
                    "optical error   Z \(truth["optical_error"]?.text("z") ?? "-"), "
                        + "X \(truth["optical_error"]?.text("x") ?? "-")",
                ]
                var table = TextTable(["PORT", "CLICKS", "TEMPERATURE / C", "BLINDED"])
                for detector in truth["detectors"]?.items ?? [] {
                    table.add([
                        detector.text("port"), detector.text("clicks"),
                        detector.text("temperature_c"), detector.text("blinded"),
                    ])
                }
                lines.append(table.text)
                return lines.joined(separator: "\n")
            }
        }
    }

    struct Inject: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes something go wrong on a served bench, now or later.",
            discussion: """
                A fault of an instrument: berek bench inject SPD-0001 reboot --control PATH
                A fault of the optics:    berek bench inject optics blinding --detector H …

                Kinds are those a profile lists as injectable; of the optics: blinding, \
                extra_loss (--value dB), background (--value Hz), fibre_jump, intercept_resend \
                (--value fraction). Exit code 1 when the instrument does not have the fault.
                """)

        @ArgumentParser.Argument(help: "The instrument, or 'optics'.") var device: String
        @ArgumentParser.Argument(help: "What goes wrong.") var kind: String
        @Option(help: "Strike after this many seconds of bench time.") var after: Double?
        @Option(help: "How long it lasts, in seconds.") var duration: Double?
        @Option(help: "The line, bit, byte count, nanoseconds or counts concerned.")
        var detail: Int?
        @Option(help: "The USB endpoint concerned.") var endpoint: Int?
        @Option(help: "The detector concerned: H, V, D or A.") var detector: String?
        @Option(help: "How much, for the optics.") var value: Double?
        @OptionGroup var options: ControlOptions

        func run() async throws {
            var fields: [(String, JSONText)] =
                device == "optics"
                ? [("optics", .string(kind))]
                : [("device", .string(device)), ("kind", .string(kind))]
            if let after { fields.append(("after_s", .number(after))) }
            if let duration { fields.append(("duration_s", .number(duration))) }
            if let detail { fields.append(("detail", .integer(Int64(detail)))) }
            if let endpoint { fields.append(("endpoint", .integer(Int64(endpoint)))) }
            if let detector { fields.append(("detector", .string(detector))) }
            if let value { fields.append(("value", .number(value))) }
            options.show(try await options.ask("inject", fields)) { answer in
                answer["fault"].map { "planned as fault \($0.short)" }
                    ?? "done at \(answer.text("time_s")) s"
            }
        }
    }

    struct Faults: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the faults planned on a served bench, or takes one back.")

        @Option(help: "Take this fault back.") var cancel: UInt64?
        @OptionGroup var options: ControlOptions

        func run() async throws {
            if let cancel {
                options.show(try await options.ask("cancel", [("fault", .count(cancel))])) {
                    "fault \($0.text("fault")) taken back"
                }
                return
            }
            options.show(try await options.ask("faults")) { faults in
                if faults.items.isEmpty { return "no faults planned" }
                var table = TextTable(["FAULT", "AT / S", "WHAT"])
                for fault in faults.items {
                    table.add([fault.text("fault"), fault.text("at_s"), fault.text("what")])
                }
                return table.text
            }
        }
    }

    struct Advance: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets time pass on a bench served with --clock virtual.",
            discussion: "Exit code 1 when the clock of the bench is real.")

        @ArgumentParser.Argument(help: "How many seconds of bench time.") var seconds: Double
        @OptionGroup var options: ControlOptions

        func run() async throws {
            // A slow machine may need longer than the time that passes on the bench.
            let timeout = Duration.seconds(60 + 60 * max(0, min(seconds, 86_400)))
            let answer = try await options.ask(
                "advance", [("seconds", .number(seconds))], timeout: timeout)
            options.show(answer) { "bench time \($0.text("time_s")) s" }
        }
    }

    struct Plug: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Plugs an instrument of a served bench in.")

        @ArgumentParser.Argument(help: "The instrument.") var device: String
        @OptionGroup var options: ControlOptions

        func run() async throws {
            options.show(try await options.ask("plug", [("device", .string(device))])) {
                "\($0.text("device")) is plugged in"
            }
        }
    }

    struct Unplug: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Pulls the plug of an instrument of a served bench.")

        @ArgumentParser.Argument(help: "The instrument.") var device: String
        @OptionGroup var options: ControlOptions

        func run() async throws {
            options.show(try await options.ask("unplug", [("device", .string(device))])) {
                "\($0.text("device")) is unplugged"
            }
        }
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ends a served bench.")

        @OptionGroup var options: ControlOptions

        func run() async throws {
            options.show(try await options.ask("stop")) {
                "stopped at \($0.text("time_s")) s of bench time"
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the instruments of a bench, and what is attached to this machine.",
            discussion: """
                Of a bench file (the bench of 'berek demo' without one), or with --control of a \
                served bench: how each instrument is reached. Then the ports of the virtual host \
                controller that are in use, if its module is loaded.
                """)

        @ArgumentParser.Argument(help: "The bench file.") var file: String?
        @Option(help: ArgumentHelp("The control socket of a served bench.", valueName: "path"))
        var control: String?
        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var profiles: ProfileOptions

        func validate() throws {
            if file != nil, control != nil {
                throw ValidationError("name a file or --control, not both")
            }
        }

        func run() async throws {
            let devices: JSONValue
            if let control {
                devices = try await ControlOptions.ask(control, "devices")
            } else {
                let catalog = try profiles.catalog()
                devices = .array(
                    try BenchFiles.read(file, catalog).devices.map { device in
                        .object([
                            "name": .string(device.name), "profile": .string(device.profile),
                            "wired_to": .string(device.terminal.rawValue),
                            "kind": catalog[device.profile].map {
                                .string($0.identity.kind.rawValue)
                            } ?? .null,
                        ])
                    })
            }
            let ports = AttachedPorts.list()
            if json {
                let vhci = ports.map { JSONText.array($0.map(\.json)) } ?? .null
                print(
                    JSONText.object([("devices", devices.text), ("vhci_ports", vhci)]).text)
                return
            }
            print(Self.table(devices, isServed: control != nil))
            guard let ports else { return }
            print("")
            print(AttachedPorts.text(of: ports))
        }

        private static func table(_ devices: JSONValue, isServed: Bool) -> String {
            var table = TextTable(
                ["NAME", "PROFILE", "WIRED TO"]
                    + (isServed ? ["USB PORT", "USB/IP", "PTY", "TCP", "STATE"] : []))
            for device in devices.items {
                var cells = ["name", "profile", "wired_to"].map(device.text)
                if isServed {
                    cells += ["usb_port", "usbip", "pty", "tcp"].map(device.text)
                    cells.append(device["plugged_in"] == .bool(true) ? "plugged in" : "unplugged")
                }
                table.add(cells)
            }
            return table.text
        }
    }
}
