import DeviceProfiles
import Glibc
import HostIO
import LinkService
import LinuxIO
import Quantities

/// Serves the bench of the checks to other programs of the guest until the process is killed.
enum BenchServer {
    /// How its USB devices are offered.
    enum Front {
        /// Attached to this machine.
        case attached
        /// Over USB/IP, on the loopback interface.
        case network(port: UInt16)
    }

    static func run(
        _ front: Front, catalog: ProfileCatalog, reactor: EpollReactor
    ) async throws {
        // One model of each family, as many as one virtual host controller has ports.
        let usb = try USBBench(
            catalog: catalog, reactor: reactor, units: USBBench.link + USBBench.others)
        usb.sendCardPulses(true)
        let gpio = try GPIOBench(chip: "gpiochip0", catalog: catalog, reactor: reactor)
        let service = usb.service
        switch front {
        case .attached:
            Checklist.say("serving: attached")
            await service.mirror()
        case .network(let port):
            let listener = try TCPListener(port: port, reactor: reactor)
            Checklist.say("serving: \(service.busIDs.joined(separator: " "))")
            try await service.serve(on: listener)
        }
        withExtendedLifetime(gpio) {}
    }
}
