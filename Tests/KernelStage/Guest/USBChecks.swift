import DeviceProfiles
import Emulated
import Glibc
import HostIO
import Instruments
import LinkService
import LinkTypes
import LinuxIO
import Quantities
import Registry

/// The drivers on libusb and on the serial ports of the kernel's own drivers.
struct USBChecks {
    let checklist: Checklist
    let catalog: ProfileCatalog
    let reactor: EpollReactor
    let bench: USBBench
    let ports: HostPorts
    let registry = BuiltInDrivers.registry()

    init(
        checklist: Checklist, catalog: ProfileCatalog, reactor: EpollReactor, bench: USBBench
    ) async throws {
        self.checklist = checklist
        self.catalog = catalog
        self.reactor = reactor
        self.bench = bench
        ports = HostPorts(
            usb: try await LibUSBHost(reactor: reactor), serial: LinuxSerialHost(reactor: reactor),
            reactor: reactor)
    }

    func run() async {
        let service = bench.service
        let mirror = reactor.start { await service.mirror() }
        await checklist.check("enumeration") { try await enumeration() }
        await checklist.check("serial ports") { try await serialPorts() }
        await checklist.check("time stamp card: every tag") { try await everyTag() }
        await checklist.check("TDC1 on cdc_acm") { try await tdc1() }
        await checklist.check("detector modules on cdc_acm") { try await detectorModules() }
        await checklist.check("paddles on ftdi_sio") { try await paddles(on: ports) }
        await checklist.check("paddles without kernel driver") { try await withoutKernelDriver() }
        await DeviceChecks(usb: self).run()
        await FaultChecks(usb: self).run()
        service.stop()
        await mirror.value
        await checklist.check("end of the service") {
            // What the operator has declared stays in the list.
            try await wait("every device leaves") {
                try await present().allSatisfy { $0.availability.name == "absent" }
            }
            return "no device left"
        }
    }

    // MARK: - Finding

    /// The instruments of the bench that are found, by serial number or profile.
    func present() async throws -> [DiscoveredDevice] {
        try await registry.discover(on: ports, catalog: catalog, wiring: USBBench.wiring)
    }

    /// Waits until `condition` holds, in the guest's time.
    func wait(
        _ what: String, atMost limit: Duration = .seconds(10),
        _ condition: () async throws -> Bool
    ) async throws {
        let deadline = reactor.now + limit
        while !(try await condition()) {
            guard reactor.now < deadline else { throw CheckFailure("not within \(limit): \(what)") }
            // To list all the devices takes the guest longer than this.
            try await reactor.sleep(for: .milliseconds(50))
        }
    }

    /// The one instrument with `profile`, and `serial` unless the model has none.
    func find(_ profile: String, serial: String = "") async throws -> DiscoveredDevice {
        let found = try await present()
        let match = found.first {
            $0.profile == profile && (serial.isEmpty || $0.serial == serial)
        }
        guard let match else {
            throw CheckFailure("no \(profile) \(serial) among \(found.map { "\($0.address)" })")
        }
        return match
    }

    func open(_ profile: String, serial: String = "") async throws -> OpenableInstrument {
        let device = try await find(profile, serial: serial)
        let made = try make(device)
        try await made.instrument.open()
        return made
    }

    /// The driver of an instrument that was found.
    func make(_ device: DiscoveredDevice) throws -> OpenableInstrument {
        try registry.make(device, catalog: catalog, ports: ports, wiring: USBBench.wiring)
    }

    /// What discovery says, in the order of the alphabet: each device where its kernel driver puts
    /// it, and what keeps a program from using it.
    private static let everything = [
        "- usb: awaiting_firmware",
        "cqt-timestamp-usb xx usb: ready",
        "idq-id120 002001 usb: claimed_by_kernel_driver",
        "labjack-u3 usb: ready",
        "mpd-psd PSD-0001 line: ready",
        "oz-dd-100-mc DD100-0001 line: ready",
        "oz-epc-400 EPC-0001 line: ready",
        "s15-lcd LCDD-001 serial:/dev/ttyACM ready",
        "s15-spd SPD-0001 serial:/dev/ttyACM ready",
        "s15-spd SPD-0002 serial:/dev/ttyACM ready",
        "s15-tdc1 TDC1-0019 serial:/dev/ttyACM ready",
        "silabs-cp2112 0041BE72 usb: claimed_by_kernel_driver",
        "tapr-ticc-2017 75330303035351F0A017 line: ready",
        "tapr-ticc-2020 75330303035351F0A020 line: ready",
        "tapr-ticc-2025 75330303035351F0A025 line: ready",
        "thorlabs-ell14 DK0ELL14 line: ready",
        "thorlabs-ell3 DK0ELL3 line: ready",
        "thorlabs-mpc220 MPC220-0001 line: ready",
        "thorlabs-mpc320 38000001 serial:/dev/ttyUSB ready",
        "thorlabs-mtd415t MTD-0001 line: ready",
        "thorlabs-pm100d P0000001 usb: claimed_by_kernel_driver",
        "thorlabs-pm100usb P1000001 usb: claimed_by_kernel_driver",
        "thorlabs-pm101u M0100001 usb: claimed_by_kernel_driver",
        "thorlabs-pm16-120 P1600001 usb: claimed_by_kernel_driver",
    ]

    private static func line(_ device: DiscoveredDevice) -> String {
        var words = [device.profile ?? "-"]
        if !device.serial.isEmpty { words.append(device.serial) }
        switch device.address {
        case .serialLine: words.append("line:")
        default: words.append(String(device.address.description.prefix { !$0.isNumber }))
        }
        return (words + [device.availability.name]).joined(separator: " ")
    }

    private func enumeration() async throws -> String {
        var lines: [String] = []
        let deadline = reactor.now + .seconds(20)
        repeat {
            try await reactor.sleep(for: .milliseconds(100))
            lines = try await present().map(Self.line).sorted()
        } while lines != Self.everything && reactor.now < deadline
        try requireEqual(lines, Self.everything, "instruments")
        return "\(lines.count) instruments"
    }

    private func serialPorts() async throws -> String {
        let listed = await ports.serial?.ports() ?? []
        let usb = listed.filter { $0.vendorID != nil }
        try requireEqual(usb.count, 15, "serial ports with a USB device behind them")
        let paddles = usb.first { $0.serial == USBBench.controller }
        try requireEqual(paddles?.vendorID, 0x0403, "vendor of the paddle controller")
        try requireEqual(paddles?.productID, 0xFAF0, "product of the paddle controller")
        try requireEqual(paddles?.product, "Polarization Controller", "its product string")
        return usb.map { "\($0.path) \($0.serial ?? "")" }.sorted().joined(separator: ", ")
    }

    // MARK: - Time taggers

    /// What a run of tags says about a stream of pulses at equal distances.
    struct StreamReport {
        var tags = 0
        var losses = 0
        var firstFault: String?
    }

    /// Takes blocks until `count` tags have come, and checks each against the one before.
    func follow(
        _ source: any TagBlockSource, count: Int, period: Picoseconds
    ) async throws -> StreamReport {
        var report = StreamReport()
        var previous: TimeTag?
        while report.tags < count {
            guard let block = try await source.next() else { break }
            report.losses += block.losses.count
            let tick = block.tickPeriod.picoseconds
            for tag in block.tags {
                report.tags += 1
                defer { previous = tag }
                guard let previous else { continue }
                let step = Double(tag.ticks - previous.ticks) * tick
                let isNext = tag.channel == (previous.channel + 1) % 4
                // The taggers resolve 2 ns and 125 ps; the card's phases are uneven.
                if !isNext || abs(step - Double(period.rawValue)) > 8000, report.firstFault == nil {
                    report.firstFault =
                        "tag \(report.tags): channel \(previous.channel) → \(tag.channel), "
                        + "\(Int(step)) ps after the one before"
                }
            }
        }
        return report
    }

    /// An open time stamp card at work, with its pulses on.
    func startCard() async throws -> (tagger: any TimeTagger, source: any TagBlockSource) {
        guard let tagger = try await open("cqt-timestamp-usb").timeTagger else {
            throw CheckFailure("not a tagger")
        }
        bench.sendCardPulses(true)
        return (tagger, try await tagger.start(AcquisitionPlan()))
    }

    /// Ends what `startCard` began.
    func stop(_ card: any TimeTagger) async {
        bench.sendCardPulses(false)
        await card.close()
    }

    /// Five times what the memory of the card holds, and three hundred packets.
    private static let tagCount = 20_000

    private func everyTag() async throws -> String {
        let card = try await startCard()
        let started = reactor.now
        let report = try await follow(
            card.source, count: Self.tagCount, period: USBBench.cardPeriod)
        let elapsed = (reactor.now - started).wholeNanoseconds / 1_000_000
        try await card.tagger.stop()
        await stop(card.tagger)
        try requireEqual(report.firstFault, nil, "order of the tags")
        try requireEqual(report.losses, 0, "loss marks")
        return "\(report.tags) tags in \(elapsed) ms, none missing"
    }

    private func tdc1() async throws -> String {
        guard let tagger = try await open("s15-tdc1").timeTagger,
            let counting = await tagger.counting
        else { throw CheckFailure("not a tagger that counts") }
        // 2000 pulses a second, one input after the other; the gate is not tied to them.
        let counts = try await counting.counts(for: .milliseconds(500))
        try require(
            counts.count == 4 && counts.allSatisfy { (249...251).contains($0) },
            "counts: expected 250 on each input, found \(counts)")
        let source = try await tagger.start(AcquisitionPlan())
        let report = try await follow(source, count: 2000, period: USBBench.taggerPeriod)
        try await tagger.stop()
        await tagger.close()
        try requireEqual(report.firstFault, nil, "order of the tags")
        return "counts \(counts), then \(report.tags) tags, none missing"
    }

    // MARK: - Detectors and paddles

    private static let detectorBias = Volts(180)

    private func detectorModules() async throws -> String {
        var shown: [String] = []
        for serial in USBBench.detectors {
            let opened = try await open("s15-spd", serial: serial)
            guard let detector = opened.singlePhotonDetector else {
                throw CheckFailure("not a detector")
            }
            try await detector.biasing?.setBias(Self.detectorBias)
            try await detector.arm()
            let status = try await detector.status()
            try requireEqual(status.isCounting, true, "counting after arming")
            let counts = try await detector.counting?.counts(for: .milliseconds(200)) ?? []
            try require((counts.first ?? 0) > 0, "no counts while armed: \(counts)")
            try await detector.disarm()
            try requireEqual(try await detector.status().isCounting, false, "counting at the end")
            await detector.close()
            shown.append("\(serial) \(status.bias?.rawValue ?? 0) V \(counts)")
        }
        return shown.joined(separator: ", ")
    }

    func paddles(on ports: HostPorts) async throws -> String {
        let found = try await registry.discover(on: ports, catalog: catalog)
        guard let device = found.first(where: { $0.profile == "thorlabs-mpc320" }) else {
            throw CheckFailure("no paddle controller")
        }
        try requireEqual(device.availability, .ready, "availability")
        let made = try registry.make(device, catalog: catalog, ports: ports)
        guard let controller = made.polarizationController else {
            throw CheckFailure("not a polarization controller")
        }
        try await controller.open()
        let started = reactor.now
        let targets = [30.0, 95.0, 140.0]
        let reports = try await controller.move(
            Dictionary(
                uniqueKeysWithValues: targets.enumerated().map {
                    ($0.offset, ActuatorSetting.angle(Radians(degrees: $0.element)))
                }))
        let elapsed = (reactor.now - started).wholeNanoseconds / 1_000_000
        let truth = bench.paddles
        await controller.close()
        for (index, target) in targets.enumerated() {
            let read = Radians(reports[index].reached.value).degrees
            // A count is 0.12°.
            try require(
                abs(read - target) < 0.25 && abs(truth[index] - target) < 0.25,
                "paddle \(index + 1): wanted \(target)°, read \(read)°, is at \(truth[index])°")
        }
        return "\(device.address), \(elapsed) ms, at \(truth.map { ($0 * 100).rounded() / 100 })"
    }

    /// What the advice of the product says: unbind the driver, then libusb has the device.
    private func withoutKernelDriver() async throws -> String {
        let usbOnly = HostPorts(usb: ports.usb, reactor: reactor)
        let before = try await registry.discover(on: usbOnly, catalog: catalog)
        guard let held = before.first(where: { $0.profile == "thorlabs-mpc320" }),
            let summary = held.usb, let host = ports.usb
        else { throw CheckFailure("no paddle controller") }
        guard case .claimedByKernelDriver(let name, _) = held.availability, name == "ftdi_sio"
        else { throw CheckFailure("expected it held by ftdi_sio, found \(held.availability)") }
        let device = try await host.open(summary.id)
        let error = await failure(of: USBTransferError.self) {
            try await device.claim(interface: 0, alternate: 0)
        }
        await device.close()
        guard case .busy = error else {
            throw CheckFailure(
                "claiming a held interface: expected busy, found \(error?.code ?? "none")")
        }
        guard let node = await ports.serial?.ports().first(where: { $0.serial == held.serial })
        else { throw CheckFailure("no tty of the paddle controller") }
        let interface = "\(summary.id.path):1.0"
        try Self.write(interface, to: "/sys/bus/usb/drivers/ftdi_sio/unbind")
        try await wait("the tty goes") { access(node.path, F_OK) != 0 }
        let detail = try await paddles(on: usbOnly)
        try Self.write(interface, to: "/sys/bus/usb/drivers/ftdi_sio/bind")
        try await wait("the tty comes back") { access(node.path, F_OK) == 0 }
        return "\(error?.code ?? ""), then \(detail)"
    }

    static func write(_ text: String, to path: String) throws {
        let descriptor = Glibc.open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CheckFailure("\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw CheckFailure("\(path): \(String(cString: strerror(errno)))")
        }
    }
}
