import ArgumentParser
import Glibc
import HostIO
import LinkService
import LinuxIO
import Quantities

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves emulated instruments to other programs, and talks to a served bench.",
        subcommands: [
            Serve.self, List.self, Truth.self, Inject.self, Faults.self, Advance.self, Plug.self,
            Unplug.self, Stop.self, Attach.self, Detach.self, Pty.self,
        ])

    struct Pty: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Serves one emulated instrument on a pseudo-terminal, in real time.",
            discussion: """
                Prints the path of the pseudo-terminal and serves it until the process is ended \
                (SIGINT, SIGTERM) or --seconds have passed. Another program opens the path like a \
                serial port. Stand-ins are at the connectors of the instrument; 'berek bench serve' \
                puts it in front of an optical bench.
                """)

        @Option(help: "The instrument: tdc1, mpc320, spd or the profile of a serial instrument.")
        var device: String
        @Option(help: "Create this symbolic link to the pseudo-terminal.") var link: String?
        @Option(help: "End after this many seconds.") var seconds: Double?
        @Option(help: "Decides everything random.") var seed: UInt64 = 1
        @OptionGroup var profiles: ProfileOptions

        func validate() throws { try Seconds.validate(seconds) }

        func run() async throws {
            StopSignals.install()
            try await PtyInstrument(device, catalog: try profiles.catalog()).serve(
                link: link, seed: seed, seconds: seconds,
                onReady: { path in
                    print(path)
                    fflush(nil)
                }, isStopped: { StopSignals.isRequested })
        }
    }

    struct Serve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Serves the instruments of a bench file to other programs.",
            discussion: """
                Brings the bench up and prints where each instrument is found, then 'ready'. Runs \
                until SIGINT, SIGTERM, --seconds or a request to stop.

                An instrument has one cable: with --pty the serial instruments are on \
                pseudo-terminals, with --tcp the named ones on TCP ports, and all others on the USB \
                bus that --usbip and --attach serve. Everything listens on the loopback interface \
                only. docs/bench.md describes the bench file and the control socket; \
                docs/attach-the-bench.md how other programs get the instruments.
                """)

        @Argument(help: "The bench file; without it the bench of 'berek demo'.") var file: String?
        @Option(help: "Serve the USB instruments over USB/IP on this TCP port; 0 for any.")
        var usbip: UInt16?
        @Option(
            help: ArgumentHelp(
                "Put each serial instrument on a pseudo-terminal, with a link in this folder.",
                valueName: "folder"))
        var pty: String?
        @Option(
            help: ArgumentHelp(
                "Serve a serial instrument as a raw stream on a TCP port (default: any). "
                    + "Repeatable.", valueName: "name[:port]"),
            transform: Serve.tcp)
        var tcp: [TCPFront] = []
        @Flag(help: "Attach all USB instruments to this machine (root, module vhci-hcd).")
        var attach = false
        @Option(help: ArgumentHelp("Answer requests on this Unix socket.", valueName: "path"))
        var control: String?
        @Option(help: "real: time passes; virtual: it stands still until 'berek bench advance'.")
        var clock: BenchClock = .real
        @Option(help: "End after this many seconds.") var seconds: Double?
        @Option(help: "Decides everything random. Default: the file's.") var seed: UInt64?
        @Option(help: "What the fibre does: buried or aerial. Default: the file's.")
        var drift: DriftPreset?
        @Flag(help: "Refuse instruments about which the profile guesses.") var certified = false
        @OptionGroup var profiles: ProfileOptions

        struct TCPFront {
            var name: String
            var port: UInt16
        }

        static func tcp(_ text: String) throws -> TCPFront {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard (1...2).contains(parts.count), !parts[0].isEmpty,
                let port = parts.count == 1 ? 0 : UInt16(parts[1])
            else { throw ValidationError("expected NAME or NAME:PORT, found '\(text)'") }
            return TCPFront(name: String(parts[0]), port: port)
        }

        func validate() throws {
            try Seconds.validate(seconds)
            if usbip == nil, pty == nil, tcp.isEmpty, !attach, control == nil {
                throw ValidationError("name a front: --usbip, --pty, --tcp, --attach or --control")
            }
        }

        func run() async throws {
            StopSignals.install()
            let catalog = try profiles.catalog()
            var bench = try BenchFiles.read(file, catalog)
            if let seed { bench.seed = seed }
            if let drift { bench.expose(to: drift) }
            var fronts = BenchFronts()
            fronts.usbip = usbip
            fronts.ptyFolder = pty
            fronts.tcp = tcp.map { ($0.name, $0.port) }
            fronts.attach = attach
            fronts.control = control
            let reactor = try EpollReactor()
            defer { reactor.stop() }
            let server = try BenchServer(
                file: bench, catalog: catalog, clock: clock, fronts: fronts, certified: certified,
                reactor: reactor
            ) { line in
                print(line)
                fflush(nil)
            }
            let end = seconds.map { reactor.now + .nanoseconds(Int64($0 * 1e9)) }
            reactor.start {
                while !StopSignals.isRequested, end.map({ reactor.now < $0 }) ?? true {
                    guard (try? await reactor.sleep(for: .milliseconds(50))) != nil else { break }
                }
                server.stop()
            }
            await server.run()
        }
    }
}

extension BenchClock: ExpressibleByArgument {}

/// The option `--seconds`.
enum Seconds {
    static func validate(_ seconds: Double?) throws {
        if let seconds, !(seconds > 0 && seconds < 1e6) {
            throw ValidationError("--seconds: expected more than 0 and less than 1000000")
        }
    }
}

/// SIGINT and SIGTERM as a flag, so that the program can leave in good order.
enum StopSignals {
    private nonisolated(unsafe) static var requested: sig_atomic_t = 0

    static var isRequested: Bool { requested != 0 }

    static func install() {
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in StopSignals.requested = 1 }
        }
    }
}
