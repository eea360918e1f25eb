import HostIO
import Instruments
import LinkTypes
import Quantities

/// What a user does with an instrument for a second or two, by its kind.
///
/// Outputs swing over most of their range: nothing may be connected that this could harm.
package struct Exercise: Sendable {
    private let reactor: any Reactor
    private let rounds: Int
    private let bias: Volts?

    /// An exercise that repeats its work `rounds` times.
    ///
    /// - Parameter bias: what a detector whose bias can be set is armed with; nil leaves it. By
    ///   default ten volts above where the stand-in detector breaks down.
    package init(reactor: any Reactor, rounds: Int, bias: Volts? = Volts(160)) {
        self.reactor = reactor
        self.rounds = rounds
        self.bias = bias
    }

    /// The acquisition of a time tagger, or nil for other instruments.
    package func run(_ instrument: OpenableInstrument) async throws(DriverError) -> TagRecord? {
        switch instrument {
        case .timeTagger(let tagger): return try await acquire(tagger)
        case .polarizationController(let controller): try await move(controller)
        case .singlePhotonDetector(let detector): try await count(detector)
        case .delayGenerator(let generator): try await delay(generator)
        case .powerMeter(let meter):
            for _ in 0..<5 * rounds { _ = try await meter.measure() }
        case .attenuator(let attenuator): try await attenuate(attenuator)
        case .temperatureController(let controller): try await regulate(controller)
        case .analogIO(let io): try await drive(io)
        case .digitalIO(let adapter): try await switchLines(adapter)
        }
        return nil
    }

    /// Reads blocks for half a second a round, then stops and reads what is left.
    private func acquire(_ tagger: any TimeTagger) async throws(DriverError) -> TagRecord {
        var record = TagRecord(tickPeriod: await tagger.tickPeriod)
        let source = try await tagger.start(AcquisitionPlan())
        let end = reactor.now + .milliseconds(500 * rounds)
        while reactor.now < end, let block = try await source.next() { record.add(block) }
        try await tagger.stop()
        while let block = try await source.next() { record.add(block) }
        return record
    }

    private func move(_ controller: any PolarizationController) async throws(DriverError) {
        let axes = await controller.axes
        for round in 0..<rounds {
            for (number, axis) in axes.enumerated() {
                let share = 0.2 + 0.6 * Double((round + number) % 3) / 2
                let value =
                    axis.range.lowerBound
                    + share * (axis.range.upperBound - axis.range.lowerBound)
                let setting: ActuatorSetting =
                    axis.kind == .rotatablePlate
                    ? .angle(Radians(value)) : .voltage(Volts(value))
                _ = try await controller.move(number, to: setting)
            }
            _ = try await controller.settings()
        }
    }

    private func count(_ detector: any SinglePhotonDetector) async throws(DriverError) {
        if let bias { try await detector.biasing?.setBias(bias) }
        for _ in 0..<rounds {
            try await detector.arm()
            _ = try await detector.status()
            _ = try await detector.counting?.counts(for: .milliseconds(200))
            try await detector.disarm()
        }
    }

    private func delay(_ generator: any DelayGenerator) async throws(DriverError) {
        let range = await generator.delayRange
        for round in 0..<4 * rounds {
            let span = range.upperBound.rawValue - range.lowerBound.rawValue
            _ = try await generator.setDelay(
                Picoseconds(range.lowerBound.rawValue + span * Int64(round % 4) / 4))
            _ = try await generator.delay()
        }
    }

    private func attenuate(_ attenuator: any Attenuator) async throws(DriverError) {
        let range = await attenuator.attenuationRange
        for round in 0..<rounds {
            let span = range.upperBound - range.lowerBound
            _ = try await attenuator.setAttenuation(
                range.lowerBound + span * (0.25 + 0.5 * Double(round % 2)))
            _ = try await attenuator.attenuation()
        }
    }

    private func regulate(_ controller: any TemperatureController) async throws(DriverError) {
        let range = await controller.temperatureRange
        for round in 0..<4 * rounds {
            try await controller.setTemperature(
                range.lowerBound + (range.upperBound - range.lowerBound) * 0.3)
            _ = try await controller.temperature()
            if round % 2 == 1 { try? await reactor.sleep(for: .milliseconds(100)) }
        }
    }

    /// Switches the first line of the adapter and reads the second.
    private func switchLines(_ adapter: any DigitalLineAdapter) async throws(DriverError) {
        let options = GPIOLineOptions(consumer: "exercise")
        for _ in 0..<rounds {
            _ = try await adapter.selfTest()
            do throws(GPIOError) {
                guard let chip = try await adapter.lines.chips().first?.name else {
                    throw .notFound("a chip")
                }
                let output = try await adapter.lines.output(
                    GPIOLineID(chip: chip, offset: 0), safeLevel: false, options: options)
                let input = try await adapter.lines.input(
                    GPIOLineID(chip: chip, offset: 1), options: options)
                for level in [true, false] {
                    try await output.set(level)
                    _ = try await input.level()
                }
                await output.release()
                await input.release()
            } catch {
                // A line only knows that it is closed; the adapter knows why.
                _ = try await adapter.selfTest()
                throw DriverError(error, instrument: "exercise", operation: "switch lines")
            }
        }
    }

    private func drive(_ io: any AnalogIO) async throws(DriverError) {
        let ranges = await io.outputRanges
        let inputs = await io.inputCount
        for round in 0..<4 * rounds {
            for (output, range) in ranges.enumerated() {
                let span = range.upperBound - range.lowerBound
                _ = try await io.setOutput(
                    output, range.lowerBound + span * (Double(round % 4) / 4))
            }
            for input in 0..<inputs { _ = try await io.input(input) }
        }
    }
}
