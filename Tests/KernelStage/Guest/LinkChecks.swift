import Calibration
import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkService
import LinuxIO
import OpticalBench
import Quantities
import Registry
import Synchronization

/// The receiver of the demo, calibrated twice from the same bench file and seed: with its
/// instruments in one process on virtual time, as 'berek calibrate' does, and with their drivers on
/// libusb, the kernel's serial ports and libgpiod, in the time of this machine.
///
/// The two draw different photons: what is random is drawn in the order in which instruments are
/// asked, and the kernel asks at other times. `LinkComparison` says what has to agree.
struct LinkChecks {
    let catalog: ProfileCatalog

    private let plan = LinkPlan()
    private let registry = BuiltInDrivers.registry()

    init(catalog: ProfileCatalog) { self.catalog = catalog }

    /// The calibration in one process; takes a second where no machine is emulated.
    func inProcess() throws -> CalibratedLink {
        let (catalog, plan) = (catalog, plan)
        let file = try BenchFile.bb84(catalog: catalog)
        let reactor = VirtualReactor()
        return try reactor.run {
            let link = try EmulatedLink(file: file, plan: plan, catalog: catalog, reactor: reactor)
            let instruments = try await link.openReceiver(try await link.discover())
            return try await Self.calibrate(link, plan, instruments, on: reactor)
        }
    }

    /// Calibrates through the kernel and compares with `reference`.
    func run(
        _ checklist: Checklist, reference: CalibratedLink, reactor: EpollReactor,
        benchReactor: EpollReactor
    ) async {
        var onKernel: CalibratedLink?
        await checklist.check("calibration on the kernel") {
            let calibrated = try await self.onKernel(reactor, benchReactor)
            onKernel = calibrated
            return calibrated.summary
        }
        guard let onKernel else { return }
        await LinkComparison(checklist: checklist, inProcess: reference, onKernel: onKernel).run()
    }

    private static func calibrate(
        _ link: EmulatedLink, _ plan: LinkPlan, _ instruments: ReceiverInstruments,
        on reactor: any Reactor, progress: @Sendable (String) -> Void = { _ in }
    ) async throws -> CalibratedLink {
        let result = Mutex(CalibratedLink())
        _ = try await CalibrationRun.calibrate(
            link, plan: plan, instruments: instruments, reactor: reactor, through: .polarization
        ) { step, record in
            let truth = link.source.truth()
            result.withLock { $0.add(record, truth) }
            progress("\(step.rawValue) \(record.outcome) at \(truth.time.seconds) s")
        }
        return result.withLock { $0 }
    }

    // MARK: - On the kernel

    private func onKernel(
        _ reactor: EpollReactor, _ benchReactor: EpollReactor
    ) async throws -> CalibratedLink {
        let link = try EmulatedLink(
            file: try BenchFile.bb84(catalog: catalog), plan: plan, catalog: catalog,
            reactor: benchReactor)
        let chip = link.wiring.lines.first?.lines.values.first?.chip ?? ""
        let lines = try KernelGPIOAttachment(
            host: link.devices.gpio, chip: chip, reactor: benchReactor)
        let ports = HostPorts(
            usb: try await LibUSBHost(reactor: reactor),
            serial: LinuxSerialHost(reactor: reactor), gpio: LinuxGPIOHost(reactor: reactor),
            reactor: reactor)
        USBBench.keepPace(link.devices, on: benchReactor)
        let service = USBIPService(bench: link.devices, reactor: benchReactor)
        let mirror = reactor.start { await service.mirror() }
        let result: Result<CalibratedLink, any Error>
        do {
            let found = try await ready(link, on: ports, reactor)
            Self.progress("all instruments are there")
            let instruments = try await EmulatedLink.openReceiver { terminal in
                try registry.make(
                    try Self.instrument(at: terminal, of: link, among: found), catalog: catalog,
                    ports: ports, wiring: link.wiring)
            }
            Self.progress("all are open")
            result = .success(
                try await Self.calibrate(
                    link, plan, instruments, on: reactor, progress: Self.progress))
        } catch { result = .failure(error) }
        service.stop()
        await mirror.value
        try requireEqual(lines.missingRecords, 0, "records the kernel had no room for")
        return try result.get()
    }

    /// A line for whoever looks why it takes long, or where it stopped.
    @Sendable private static func progress(_ line: String) { Checklist.say("     " + line) }

    /// The instruments of the link, once all have arrived.
    private func ready(
        _ link: EmulatedLink, on ports: HostPorts, _ reactor: EpollReactor
    ) async throws -> [DiscoveredDevice] {
        let deadline = reactor.now + .seconds(20)
        while true {
            let found = try await registry.discover(
                on: ports, catalog: catalog, wiring: link.wiring)
            let present = found.filter { $0.availability == .ready }.count
            if present == link.file.devices.count { return found }
            guard reactor.now < deadline else {
                throw CheckFailure("\(present) of \(link.file.devices.count) instruments arrived")
            }
            try await reactor.sleep(for: .milliseconds(200))
        }
    }

    /// What was found of the instrument at a terminal. The card shows no serial number, and is the
    /// only one of its model.
    private static func instrument(
        at terminal: BenchTerminal, of link: EmulatedLink, among found: [DiscoveredDevice]
    ) throws -> DiscoveredDevice {
        guard let wanted = link.file.devices.first(where: { $0.terminal == terminal }) else {
            throw CheckFailure("nothing at \(terminal.rawValue)")
        }
        let models = found.filter { $0.profile == wanted.profile }
        guard
            let match = models.first(where: { $0.serial == wanted.name })
                ?? (models.count == 1 ? models.first : nil)
        else { throw CheckFailure("\(wanted.name) is not among \(models)") }
        return match
    }
}
