import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkTypes
import LinuxIO
import Quantities
import TimeTaggers

/// Every other instrument of the bench, as a program uses it: found, opened, asked who it is, tested,
/// put to work for a moment and closed.
struct DeviceChecks {
    let usb: USBChecks
    private var bench: USBBench { usb.bench }
    private var reactor: EpollReactor { usb.reactor }

    func run() async {
        let checklist = usb.checklist
        for unit in USBBench.others where unit.startsCold {
            await checklist.check("\(unit.profile): firmware") { try await load(unit) }
        }
        for unit in USBBench.others + USBBench.siblings {
            await checklist.check(unit.profile) { try await use(unit) }
        }
        for serial in ["320012345", "75330303035351F0A020", "DK0ELL14"] {
            guard let unit = USBBench.others.first(where: { $0.serial == serial }) else { continue }
            await checklist.check("\(unit.profile) unplugged") { try await unplugged(unit) }
        }
    }

    // MARK: - From discovery to close

    private func use(_ unit: BenchUnit) async throws -> String {
        let device = try await release(unit)
        let made = try usb.make(device)
        let instrument = made.instrument
        try await instrument.open()
        let identity = await instrument.identity
        try requireEqual(identity.profile, unit.profile, "profile of the open instrument")
        let report = try await instrument.selfTest()
        let failed = report.checks.filter { !$0.passed }
        try require(report.passed, "self-test: \(failed)")
        let detail = try await work(made, unit)
        await instrument.close()
        let error = await failure(of: DriverError.self) { _ = try await instrument.selfTest() }
        try requireEqual(error?.code, .wrongState, "a self-test after the end")
        if unit.profile == "labjack-u3" {
            // The lowest voltage its outputs go to is 40 mV.
            try require(
                bench.terminal(0) < Volts(0.05),
                "output of the closed instrument: \(bench.terminal(0))")
        }
        if let driver = unit.kernelDriver { try await giveBack(device, to: driver) }
        return "\(identity.shortName) \(identity.firmware), \(detail)"
    }

    private func find(_ unit: BenchUnit) async throws -> DiscoveredDevice {
        try await usb.find(unit.profile)
    }

    /// Finds the instrument; when a kernel driver has it, does what the advice of discovery says.
    private func release(_ unit: BenchUnit) async throws -> DiscoveredDevice {
        let device = try await find(unit)
        guard let driver = unit.kernelDriver else {
            try requireEqual(device.availability, .ready, "availability")
            return device
        }
        guard case .claimedByKernelDriver(let name, let interface) = device.availability else {
            throw CheckFailure("expected it held by \(driver), found \(device.availability)")
        }
        try requireEqual(name, driver, "the kernel driver")
        try USBChecks.write(interface, to: "/sys/bus/usb/drivers/\(name)/unbind")
        try await usb.wait("the instrument is free") {
            try await find(unit).availability == .ready
        }
        return try await find(unit)
    }

    private func giveBack(_ device: DiscoveredDevice, to driver: String) async throws {
        guard let summary = device.usb else { throw CheckFailure("no USB device") }
        try USBChecks.write(
            "\(summary.id.path):1.0", to: "/sys/bus/usb/drivers/\(driver)/bind")
        try await usb.wait("the kernel driver has it again") {
            guard let now = try await usb.present().first(where: { $0.profile == device.profile })
            else { return false }
            return now.availability != .ready
        }
    }

    // MARK: - Firmware

    /// A jump at the reset vector, and the descriptor by which the emulated chip knows the firmware.
    private static let image = """
        :03000000020000FB
        :123E000012010002FFFFFF40B404041001000000000190
        :00000001FF
        """

    private func load(_ unit: BenchUnit) async throws -> String {
        guard let host = usb.ports.usb, let profile = usb.catalog[unit.profile] else {
            throw CheckFailure("no USB, or no profile")
        }
        let bare = try await usb.present().first { device in
            guard case .awaitingFirmware(let profiles) = device.availability else { return false }
            return profiles.contains(unit.profile)
        }
        guard let summary = bare?.usb else { throw CheckFailure("no bare chip") }
        let loader = try FX2Loader(profile: profile, reactor: reactor)
        let image = try FirmwareImage(intelHex: Self.image, name: "timetag.ihx")
        let started = reactor.now
        let loaded = try await loader.load(image, into: summary, on: host)
        let elapsed = (reactor.now - started).wholeNanoseconds / 1_000_000
        return "\(summary.id) became \(loaded.id) after \(elapsed) ms"
    }

    // MARK: - Work

    private func work(_ made: OpenableInstrument, _ unit: BenchUnit) async throws -> String {
        switch made {
        case .timeTagger(let tagger): try await acquire(tagger)
        case .polarizationController(let controller): try await turn(controller, unit)
        case .singlePhotonDetector(let detector): try await count(detector)
        case .powerMeter(let meter): try await measure(meter)
        case .analogIO(let io): try await drive(io)
        case .digitalIO(let adapter): try await switchLines(adapter)
        case .attenuator(let attenuator): try await attenuate(attenuator)
        case .temperatureController(let controller): try await regulate(controller)
        case .delayGenerator(let generator): try await delay(generator)
        }
    }

    /// Pulses at equal distances: none may be missing, doubled or displaced.
    private func acquire(_ tagger: any TimeTagger) async throws -> String {
        let period =
            await tagger.identity.profile.hasPrefix("tapr")
            ? USBBench.counterPeriod : USBBench.timetagPeriod
        let tick = await tagger.tickPeriod.picoseconds
        let step = Double(period.rawValue) / tick
        let source = try await tagger.start(AcquisitionPlan())
        var previous: TimeTag?
        var tags = 0
        // Some start to measure a little later than they say: half a second from the first tag on.
        var end = reactor.now + .seconds(2)
        while reactor.now < end, let block = try await source.next() {
            try require(block.losses.isEmpty, "losses: \(block.losses)")
            if previous == nil, !block.tags.isEmpty { end = reactor.now + .milliseconds(500) }
            for tag in block.tags {
                defer { previous = tag }
                tags += 1
                guard let previous else { continue }
                let gap = Double(tag.ticks) - Double(previous.ticks)
                try require(
                    abs(gap - step) <= 2 + step / 1000,
                    "tag \(tags) is \(gap * tick) ps after the one before")
            }
        }
        try await tagger.stop()
        let expected = 400_000_000_000 / period.rawValue
        try require(tags >= expected, "tags: expected \(expected) at least, found \(tags)")
        return "\(tags) tags, none missing"
    }

    private func turn(
        _ controller: any PolarizationController, _ unit: BenchUnit
    ) async throws -> String {
        let axes = await controller.axes
        // Elliptec motors stop within some counts of where they were sent, all others within two.
        let allowed = usb.catalog[unit.profile]?.dialect?.constants["position_tolerance"]
        let counts = Double(min(8, (allowed ?? 1) + 1))
        for (number, axis) in axes.enumerated() {
            let share = 0.3 + 0.1 * Double(number % 5)
            let target =
                axis.range.lowerBound + share * (axis.range.upperBound - axis.range.lowerBound)
            let setting: ActuatorSetting =
                axis.kind == .rotatablePlate ? .angle(Radians(target)) : .voltage(Volts(target))
            let read = try await controller.move(number, to: setting).reached.value
            let truth = bench.settings(of: unit.serial)[number]
            let tolerance = counts * axis.resolution
            try require(
                abs(read - target) <= tolerance && abs(truth - target) <= tolerance,
                "axis \(number): wanted \(target), read \(read), is at \(truth)")
        }
        let verb = axes.first?.kind == .variableRetarder ? "driven" : "turned"
        return "\(axes.count) axes \(verb)"
    }

    private func count(_ detector: any SinglePhotonDetector) async throws -> String {
        // Ten volts above where the detector breaks down.
        try await detector.biasing?.setBias(Volts(160))
        try await detector.arm()
        let counts = try await detector.counting?.counts(for: .milliseconds(200)) ?? []
        try await detector.disarm()
        try require((counts.first ?? 0) > 0, "no counts while armed: \(counts)")
        return "counts \(counts)"
    }

    private func measure(_ meter: any PowerMeter) async throws -> String {
        try await meter.setWavelength(Nanometres(850))
        let watts = try await meter.measure().power?.rawValue ?? 0
        try require(abs(watts / 1e-6 - 1) < 0.01, "power: expected 1 µW, found \(watts) W")
        return "\(watts) W"
    }

    /// The bench has a wire from the first output to the first input.
    private func drive(_ io: any AnalogIO) async throws -> String {
        let set = try await io.setOutput(0, Volts(1.5))
        let read = try await io.input(0)
        let truth = bench.terminal(0)
        try require(
            abs(read.rawValue - 1.5) < 0.03 && abs(truth.rawValue - 1.5) < 0.02,
            "output 0: set \(set), read \(read), is at \(truth)")
        return "\(Int((truth.rawValue * 1000).rounded())) mV"
    }

    private func switchLines(_ adapter: any DigitalLineAdapter) async throws -> String {
        guard let chip = try await adapter.lines.chips().first?.name else {
            throw CheckFailure("no chip")
        }
        let options = GPIOLineOptions(consumer: "stage")
        let output = try await adapter.lines.output(
            GPIOLineID(chip: chip, offset: 0), safeLevel: false, options: options)
        let input = try await adapter.lines.input(
            GPIOLineID(chip: chip, offset: 1), options: options)
        for level in [true, false] {
            try await output.set(level)
            bench.bench.gpio.drive(bench.pin(1), level)
            try requireEqual(
                bench.bench.gpio.electricalLevel(bench.pin(0)), level, "pin 0 on the bench")
            try requireEqual(try await input.level(), level, "pin 1 as read")
        }
        await output.release()
        await input.release()
        return "lines switched and read"
    }

    private func attenuate(_ attenuator: any Attenuator) async throws -> String {
        let range = await attenuator.attenuationRange
        let middle = range.lowerBound + (range.upperBound - range.lowerBound) * 0.5
        let reached = try await attenuator.setAttenuation(middle)
        try require(
            abs((reached - middle).rawValue) < 0.1, "wanted \(middle), reached \(reached)")
        return "\(reached.rawValue) dB"
    }

    private func regulate(_ controller: any TemperatureController) async throws -> String {
        let range = await controller.temperatureRange
        try await controller.setTemperature(
            range.lowerBound + (range.upperBound - range.lowerBound) * 0.3)
        let temperature = try await controller.temperature()
        try require(
            (10...30).contains(temperature.rawValue), "a sensor at \(temperature.rawValue) °C")
        return "\(temperature.rawValue) °C"
    }

    private func delay(_ generator: any DelayGenerator) async throws -> String {
        let range = await generator.delayRange
        let wanted = Picoseconds((range.lowerBound.rawValue + range.upperBound.rawValue) / 2)
        let reached = try await generator.setDelay(wanted)
        let resolution = await generator.delayResolution.rawValue
        try require(
            abs(reached.rawValue - wanted.rawValue) <= resolution,
            "wanted \(wanted), reached \(reached)")
        try requireEqual(try await generator.delay(), reached, "delay read back")
        return "\(reached.rawValue) ps"
    }

    // MARK: - Unplugged

    /// How often the work is repeated until it fails.
    private static let rounds = 20

    /// Pulled out during the work: a named error, and it works again once it is back.
    private func unplugged(_ unit: BenchUnit) async throws -> String {
        let made = try usb.make(try await find(unit))
        try await made.instrument.open()
        bench.unplug(unit.serial, at: reactor.now + .milliseconds(50))
        // A tagger may mark the loss first; then the work is not what it should be, and its next
        // round ends with the error.
        var error: DriverError?
        for _ in 0..<Self.rounds where error == nil {
            do { _ = try await work(made, unit) } catch let found as DriverError {
                error = found
            } catch {
            }
        }
        try requireEqual(error?.code, .disconnected, "work while the plug is pulled")
        await made.instrument.close()
        try bench.plugIn(unit.serial)
        try await usb.wait("it comes back") {
            try await usb.present().contains {
                $0.profile == unit.profile && $0.availability == .ready
            }
        }
        return "\(error?.code.rawValue ?? ""), then \(try await use(unit))"
    }
}
