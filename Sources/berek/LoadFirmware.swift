import ArgumentParser
import EventPipeline
import HostIO
import Instruments
import LinkService
import LinuxIO

/// `berek devices load-firmware`.
struct LoadFirmware: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Loads a firmware image into a bare chip, and waits for the instrument it becomes.",
        discussion: """
            Some instruments have no memory for their firmware: after power-up they are a bare Cypress \
            FX2, which 'berek devices' lists as such. This program brings no firmware; the image, in \
            Intel HEX, is what the build of the published firmware makes. It is checked before a byte \
            is sent, and gone when the instrument loses power. With --emulated the chips of a bench \
            file with 'cold: true' are loaded.

            Exit code 1 when the image is refused or loading fails, 3 when it takes too long, 4 when \
            there is no such chip.
            """)

    @Option(help: ArgumentHelp("The image, an Intel HEX file.", valueName: "file"))
    var image: String
    @Option(
        name: .customLong("device"),
        help: ArgumentHelp(
            "The USB port of the chip, such as 1-3; needed when there are several.",
            valueName: "port"))
    var port: String?
    @Option(
        help: ArgumentHelp(
            "The model that the image is for; needed when the chip may become several.",
            valueName: "profile"))
    var profile: String?
    @Flag(help: "Load the chip of an emulated bench.") var emulated = false
    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var bench: BenchOptions

    /// An image for 64 KiB of memory is smaller by far.
    private static let imageBytesMax = 1 << 20

    func run() async throws {
        let outcome: FirmwareLoading.Outcome
        do {
            outcome = emulated ? try loadEmulated() : try await loadReal()
        } catch let error as DriverError {
            printError("\(error)")
            throw Self.exitCode(error)
        }
        if json {
            print(
                JSONText.object([
                    ("chip", .string(outcome.chip)),
                    ("bytes", .integer(Int64(outcome.byteCount))),
                    ("device", outcome.device.json),
                ]).text)
        } else {
            let device = outcome.device
            let state =
                device.availability.advice ?? (device.isEmulated ? "ready, emulated" : "ready")
            print(
                "\(outcome.chip): \(outcome.byteCount) bytes loaded; it is now \(device.vendor) "
                    + "\(device.model) at \(device.address), \(state)")
        }
        if outcome.device.availability != .ready { throw Exit.deviceUnavailable }
    }

    private func loadReal() async throws -> FirmwareLoading.Outcome {
        let catalog = try bench.profiles.catalog()
        let text = try TextFiles.read(image, limit: Self.imageBytesMax)
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let loading = try FirmwareLoading(
            intelHex: text, file: image, ports: try await Devices.hostPorts(reactor),
            catalog: catalog)
        return try await loading.load(port: port, profile: profile)
    }

    private func loadEmulated() throws -> FirmwareLoading.Outcome {
        let catalog = try bench.profiles.catalog()
        let text = try TextFiles.read(image, limit: Self.imageBytesMax)
        let (file, certified) = (try bench.bench(catalog), bench.certified)
        let (image, port, profile) = (image, port, profile)
        let reactor = VirtualReactor()
        return try reactor.run {
            let link = try EmulatedLink(
                file: file, plan: LinkPlan(), catalog: catalog, reactor: reactor,
                certified: certified)
            let loading = try FirmwareLoading(
                intelHex: text, file: image, ports: link.ports, catalog: catalog)
            return try await loading.load(port: port, profile: profile)
        }
    }

    private static func exitCode(_ error: DriverError) -> ExitCode {
        switch error.code {
        case .wrongDevice, .disconnected: Exit.deviceUnavailable
        case .timedOut: Exit.timedOut
        default: Exit.failed
        }
    }
}
