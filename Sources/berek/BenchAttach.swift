import ArgumentParser
import EventPipeline
import HostIO
import LinkService
import LinuxIO
import Quantities

/// A port of this machine's virtual host controller that is in use.
struct AttachedPort {
    var number: Int
    /// The name the kernel gave the device; nil while it has not.
    var local: String?
    var origin: VHCIRecords.Origin?

    var json: JSONText {
        .object([
            ("port", .integer(Int64(number))), ("local", local.map(JSONText.string) ?? .null),
            ("server", origin.map { .string("\($0.address):\($0.tcpPort)") } ?? .null),
            ("device", origin.map { .string($0.busID) } ?? .null),
        ])
    }
}

/// The ports of the virtual host controller.
enum AttachedPorts {
    /// Those in use; nil without the module.
    static func list() -> [AttachedPort]? {
        guard let ports = try? VHCI().attached() else { return nil }
        let records = VHCIRecords()
        return ports.map {
            AttachedPort(
                number: $0.number, local: $0.localBusID,
                origin: records.origin(port: $0.number))
        }
    }

    static func text(of ports: [AttachedPort]) -> String {
        if ports.isEmpty { return "nothing is attached to this machine" }
        var table = TextTable(["PORT", "LOCAL", "SERVER", "DEVICE"])
        for entry in ports {
            table.add([
                String(entry.number), entry.local ?? "-",
                entry.origin.map { "\($0.address):\($0.tcpPort)" } ?? "-",
                entry.origin?.busID ?? "-",
            ])
        }
        return table.text
    }
}

/// Which devices of which USB/IP server on this machine.
struct AttachOptions: ParsableArguments {
    static let address = "127.0.0.1"

    @Argument(
        help: ArgumentHelp(
            "USB ports of the bench, such as 1-1; all by default.",
            valueName: "busid"))
    var busIDs: [String] = []
    @Option(help: "The TCP port of the USB/IP server.") var port: UInt16 = USBIPClient.port
    @Flag(help: "Print JSON.") var json = false
}

extension Bench {
    struct Attach: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Attaches instruments of a bench served with --usbip to this machine.",
            discussion: """
                Asks the server on the loopback interface for each device and hands it to the \
                kernel, as 'usbip attach' does; no such tool is needed. Needs root and the module \
                vhci-hcd ('modprobe vhci-hcd'). Exit code 4 when one could not be attached.
                """)

        @OptionGroup var options: AttachOptions

        func run() async throws {
            let reactor = try EpollReactor()
            defer { reactor.stop() }
            let controller = VHCI()
            var attached: [AttachedPort] = []
            do throws(VHCIError) {
                // Before a device is taken off the bench for nothing.
                _ = try controller.ports()
                for busID in try await wanted(reactor) {
                    attached.append(try await attach(busID, controller, reactor))
                }
            } catch {
                show(attached)
                printError("\(error.code): \(error)")
                throw Exit.deviceUnavailable
            }
            show(attached)
        }

        private func wanted(_ reactor: EpollReactor) async throws(VHCIError) -> [String] {
            if !options.busIDs.isEmpty { return options.busIDs }
            return try await USBIPClient.devices(
                at: AttachOptions.address, port: options.port, timeout: .seconds(5),
                reactor: reactor
            ).map(\.busID)
        }

        private func attach(
            _ busID: String, _ controller: VHCI, _ reactor: EpollReactor
        ) async throws(VHCIError) -> AttachedPort {
            let given = try await USBIPClient.importDevice(
                busID, from: AttachOptions.address, port: options.port, timeout: .seconds(5),
                reactor: reactor)
            let number = try controller.attach(
                descriptor: given.socket.descriptor, deviceID: given.device.deviceID,
                speed: given.device.speed ?? .high)
            let origin = VHCIRecords.Origin(
                address: AttachOptions.address, tcpPort: options.port, busID: busID)
            VHCIRecords().note(origin, port: number)
            return AttachedPort(number: number, origin: origin)
        }

        private func show(_ ports: [AttachedPort]) {
            if options.json {
                print(JSONText.array(ports.map(\.json)).text)
            } else {
                for entry in ports {
                    print("\(entry.origin?.busID ?? "-") at port \(entry.number)")
                }
            }
        }
    }

    struct Detach: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Detaches instruments of a bench from this machine.",
            discussion: """
                Those named, or all that came from the server on --port; also those that 'usbip \
                attach' attached. Needs root. Exit code 4 when one named is not attached.
                """)

        @OptionGroup var options: AttachOptions

        func run() async throws {
            let (controller, records) = (VHCI(), VHCIRecords())
            do throws(VHCIError) {
                let own = try controller.attached().compactMap { port -> AttachedPort? in
                    guard let origin = records.origin(port: port.number),
                        origin.address == AttachOptions.address,
                        origin.tcpPort == String(options.port)
                    else { return nil }
                    return AttachedPort(
                        number: port.number, local: port.localBusID, origin: origin)
                }
                let missing = options.busIDs.filter { name in
                    !own.contains { $0.origin?.busID == name }
                }
                var detached: [AttachedPort] = []
                for entry in own {
                    let name = entry.origin?.busID ?? ""
                    guard options.busIDs.isEmpty || options.busIDs.contains(name) else { continue }
                    try controller.detach(port: entry.number)
                    records.forget(port: entry.number)
                    detached.append(entry)
                }
                if options.json {
                    print(JSONText.array(detached.map(\.json)).text)
                } else {
                    for entry in detached {
                        print("\(entry.origin?.busID ?? "-") left port \(entry.number)")
                    }
                }
                for name in missing {
                    printError(
                        "\(name) of port \(options.port) is not attached: see 'berek bench list'")
                }
                if missing.isEmpty { return }
            } catch {
                printError("\(error.code): \(error)")
            }
            throw Exit.deviceUnavailable
        }
    }
}
