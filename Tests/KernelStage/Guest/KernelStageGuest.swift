import DeviceProfiles
import FirmwareProfiles
import Glibc
import LinuxIO

/// The program that runs inside the virtual machine of the kernel stage: our drivers on libusb,
/// termios and libgpiod, and the emulated bench behind the kernel's own devices.
@main
struct KernelStageGuest {
    static func main() async {
        let parts = Array(CommandLine.arguments.dropFirst())
        do {
            let catalog = try FirmwareProfiles.catalog()
            if parts == ["link-reference"] {
                // Runs on the host: nothing of it touches the machine.
                Checklist.say(try LinkChecks(catalog: catalog).inProcess().text)
                return
            }
            let reactor = try EpollReactor()
            let benchReactor = try EpollReactor()
            try await benchReactor.becomeHardware()
            let checklist = Checklist(watchdog: try EpollReactor())
            for part in parts {
                switch part {
                case "gpio":
                    await GPIOChecks(
                        checklist: checklist, catalog: catalog, reactor: reactor,
                        benchReactor: benchReactor
                    ).run()
                case "usb":
                    try await USBChecks(
                        checklist: checklist, catalog: catalog, reactor: reactor,
                        bench: try USBBench(catalog: catalog, reactor: benchReactor)
                    ).run()
                case "link":
                    await LinkChecks(catalog: catalog).run(
                        checklist, reference: try CalibratedLink(text: try readAll()),
                        reactor: reactor, benchReactor: benchReactor)
                case "serve-attached":
                    try await BenchServer.run(.attached, catalog: catalog, reactor: benchReactor)
                case "serve-network":
                    try await BenchServer.run(
                        .network(port: 3240), catalog: catalog, reactor: benchReactor)
                default: throw CheckFailure("unknown part \(part)")
                }
            }
            exit(checklist.finish() ? 0 : 1)
        } catch {
            Checklist.say("FAIL set-up: \(error)")
            exit(1)
        }
    }

    /// What stands on the standard input.
    private static func readAll() throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(0, &buffer, buffer.count)
            guard count >= 0 else { throw CheckFailure("standard input can not be read") }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }
}
