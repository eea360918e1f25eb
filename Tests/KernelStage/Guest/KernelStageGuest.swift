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
            let reactor = try EpollReactor()
            let benchReactor = try EpollReactor()
            let checklist = Checklist(watchdog: try EpollReactor())
            for part in parts {
                switch part {
                case "gpio":
                    await GPIOChecks(
                        checklist: checklist, catalog: catalog, reactor: reactor,
                        benchReactor: benchReactor
                    ).run()
                default: throw CheckFailure("unknown part \(part)")
                }
            }
            exit(checklist.finish() ? 0 : 1)
        } catch {
            Checklist.say("FAIL set-up: \(error)")
            exit(1)
        }
    }
}
