import DeviceProfiles

/// The constants by which one unit turns codes into volts, as its maker measured them.
///
/// Source: LabJackPython 2.3.0, `u3.py`, and github.com/labjack/exodriver at 63f089a,
/// `examples/U3/u3.c`: five blocks of four numbers, each 32 bits of fraction and 32 bits of whole
/// number in two's complement, low byte first.
package struct LabJackCalibration: Hashable, Sendable {
    /// A straight line from code to volts, or from volts to code.
    package struct Line: Hashable, Sendable {
        package var slope: Double
        package var offset: Double
        package init(slope: Double, offset: Double) {
            self.slope = slope
            self.offset = offset
        }
    }

    /// Volts of a single-ended reading of a low-voltage input, from its 16-bit code.
    package var lowVoltage: Line
    /// Volts of a reading of the inputs 0 to 3 of a U3-HV.
    package var highVoltage: [Line]
    /// Codes of eight bits of each output, from volts.
    package var outputs: [Line]
    /// Kelvin of the internal sensor per 16-bit code.
    package var temperatureSlope: Double

    /// The bytes of the number in a block.
    package static let numberBytes = 8

    /// Reads the blocks, each of 32 bytes, in their order; nil when there are too few.
    package init?(blocks: [[UInt8]]) {
        let numbers = blocks.flatMap { block in
            (0..<4).compactMap { Self.number(block, at: $0 * Self.numberBytes) }
        }
        guard numbers.count == 20 else { return nil }
        lowVoltage = Line(slope: numbers[0], offset: numbers[1])
        outputs = [4, 6].map { Line(slope: numbers[$0], offset: numbers[$0 + 1]) }
        temperatureSlope = numbers[8]
        highVoltage = (0..<4).map { Line(slope: numbers[12 + $0], offset: numbers[16 + $0]) }
    }

    /// A number of 64 bits in fixed point, or nil when the block is too short.
    package static func number(_ block: [UInt8], at offset: Int) -> Double? {
        guard offset + numberBytes <= block.count else { return nil }
        func word(_ start: Int) -> UInt32 {
            (0..<4).reversed().reduce(0) { $0 << 8 | UInt32(block[start + $1]) }
        }
        let fraction = Double(word(offset)) / 4_294_967_296
        return Double(Int32(bitPattern: word(offset + 4))) + fraction
    }

    /// The first constant that is not within a tenth of its nominal value, by name: memory that
    /// was erased or never written.
    package func implausible(
        _ profile: DeviceProfile, hasHighVoltage: Bool
    ) throws(MissingProfileField) -> (name: String, value: Double)? {
        let output = try profile.scale("output").deviceValue(1)
        let low = try profile.scale("low_voltage_input").physicalValue(1)
        let high = try profile.scale("high_voltage_input").physicalValue(1)
        var checks = [("the slope of the low-voltage inputs", lowVoltage.slope, low)]
        checks += outputs.enumerated().map { ("the slope of DAC\($0)", $1.slope, output) }
        if hasHighVoltage {
            checks += highVoltage.enumerated().map { ("the slope of AIN\($0)", $1.slope, high) }
        }
        for (name, value, nominal) in checks
        where !(value > 0.9 * nominal && value < 1.1 * nominal) { return (name, value) }
        return nil
    }
}
