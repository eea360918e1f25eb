import ArgumentParser
import DeviceProfiles
import EventPipeline
import HostIO
import Instruments
import LinkService
import LinuxIO
import Registry

struct Devices: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists the instruments found; loads firmware into those that have none.",
        subcommands: [ListDevices.self, LoadFirmware.self], defaultSubcommand: ListDevices.self)

    /// The hosts of this machine.
    static func hostPorts(_ reactor: EpollReactor) async throws -> HostPorts {
        HostPorts(
            usb: try await LibUSBHost(reactor: reactor), serial: LinuxSerialHost(reactor: reactor),
            reactor: reactor)
    }
}

/// `berek devices`.
struct ListDevices: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists the instruments found, and why one can not be used.",
        discussion: """
            Looks at USB and serial ports of this machine without opening anything; with \
            --emulated at the emulated bench instead. Exit code 4 when an instrument is there and \
            can not be used.
            """)

    @Flag(help: "List the instruments of the emulated bench.") var emulated = false
    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var bench: BenchOptions

    func run() async throws {
        let catalog = try bench.profiles.catalog()
        let devices = emulated ? try emulatedDevices(catalog) : try await realDevices(catalog)
        if json {
            print(JSONText.array(devices.map(\.json)).text)
        } else if devices.isEmpty {
            print("no instruments found; check cables and power, or try --emulated")
        } else {
            var table = TextTable([
                "ADDRESS", "VENDOR", "MODEL", "SERIAL", "FIRMWARE", "PROFILE", "STATE",
            ])
            for device in devices {
                let state =
                    device.availability.advice ?? (device.isEmulated ? "ready, emulated" : "ready")
                table.add([
                    "\(device.address)", device.vendor, device.model, device.serial,
                    device.firmware, device.profile ?? "-", state,
                ])
            }
            print(table.text)
        }
        if devices.contains(where: { $0.availability != .ready }) { throw Exit.deviceUnavailable }
    }

    private func emulatedDevices(_ catalog: ProfileCatalog) throws -> [DiscoveredDevice] {
        let (file, certified) = (try bench.bench(catalog), bench.certified)
        let reactor = VirtualReactor()
        return try reactor.run {
            let link = try EmulatedLink(
                file: file, plan: LinkPlan(), catalog: catalog, reactor: reactor,
                certified: certified)
            return try await link.discover()
        }
    }

    private func realDevices(_ catalog: ProfileCatalog) async throws -> [DiscoveredDevice] {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let ports = try await Devices.hostPorts(reactor)
        return try await BuiltInDrivers.registry().discover(on: ports, catalog: catalog)
    }
}
