import DeviceProfiles
import Quantities

/// What a U3 keeps in its flash: calibration, user memory, the settings it starts with.
struct U3Memory {
    /// Bytes of a block.
    static let blockBytes = 32
    /// Blocks of user memory (U3 user's guide, section 5.2.6).
    static let userBlocks = 16

    /// Five blocks of four numbers each.
    var calibration: [[UInt8]]
    /// Memory for the user.
    var user = [[UInt8]](
        repeating: [UInt8](repeating: 0xFF, count: blockBytes), count: userBlocks)
    /// What the unit starts with.
    var powerUp: U3PowerUp
    /// Bytes 7 to 10 of the watchdog command.
    var watchdog = U3WatchdogSettings()
    /// How often a page was erased and written since the unit was made.
    var writes = 0

    /// The constants as numbers, in the order of the blocks.
    let constants: [Double]

    /// The memory of a unit whose constants differ a little from the nominal ones.
    init(hasHighVoltage: Bool, generator: inout SeededGenerator) {
        // Nominal values: github.com/labjack/exodriver, examples/U3/u3.c.
        let nominal: [(value: Double, spread: Double)] =
            [
                (0.000037231, 1e-7), (0, 0.002), (0.000074463, 2e-7), (-2.44, 0.002),
                (51.717, 0.15), (0, 0.2), (51.717, 0.15), (0, 0.2),
                (0.013021, 1e-5), (2.44, 0.002), (3.66, 0.002), (3.3, 0.01),
            ] + Array(repeating: (0.000314, 1e-6), count: 4)
            + Array(repeating: (-10.3, 0.02), count: 4)
        let blocks = nominal.map { value, spread in
            Self.fixedPoint(value + spread * (2 * generator.uniform() - 1))
        }
        constants = blocks.map(Self.number)
        calibration = stride(from: 0, to: blocks.count, by: 4).map { start in
            Array(blocks[start..<start + 4].joined())
        }
        powerUp = U3PowerUp(fioAnalog: hasHighVoltage ? 0x0F : 0)
    }

    /// A number as 32 bits of fraction and 32 bits of whole number, low byte first.
    static func fixedPoint(_ value: Double) -> [UInt8] {
        let bits = UInt64(bitPattern: Int64((value * 4_294_967_296).rounded()))
        return (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(8 * $0)) }
    }

    private static func number(_ bytes: [UInt8]) -> Double {
        let bits = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return Double(Int64(bitPattern: bits)) / 4_294_967_296
    }
}

/// The settings a U3 starts with, as ConfigU3 reads and writes them.
struct U3PowerUp {
    var localID: UInt8 = 1
    var timerCounterConfig: UInt8 = 0x40
    /// Analog, direction and state of FIO and EIO; direction and state of CIO.
    var lines: [UInt8]
    var outputs: [UInt8] = [0, 0]
    var timerClock: [UInt8] = [2, 0]
    var compatibility: UInt8 = 0

    init(fioAnalog: UInt8) { lines = [fioAnalog, 0, 0, 0, 0, 0, 0, 0] }
}

/// What the watchdog of a U3 is to do.
struct U3WatchdogSettings: Hashable {
    var options: UInt8 = 0
    var seconds: UInt16 = 0
    var line: UInt8 = 0

    var restarts: Bool { options & 0x20 != 0 }
    var setsLine: Bool { options & 0x10 != 0 }
}
