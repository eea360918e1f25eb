import Quantities
import Testing

struct TimeTests {
    @Test func tickPeriodsAreExactBeyondDoublePrecision() {
        // 128 MHz ticks (7812.5 ps) over 30 years: the product needs more than 53 bits.
        let period = TickPeriod(numerator: 15_625, denominator: 2)
        let ticks: UInt64 = 121_096_640_000_000_001
        #expect(period.picoseconds(of: 2) == 15_625)
        #expect(period.picoseconds(of: 900_000_000_000_001) == 7_031_250_000_000_007_812)
        #expect(
            TickPeriod(numerator: 1, denominator: 256).picoseconds(of: ticks) == 473_033_750_000_000
        )
    }

    @Test func hostInstantsAddDurations() {
        let instant = HostInstant(nanoseconds: 5) + .milliseconds(2)
        #expect(instant.nanoseconds == 2_000_005)
        #expect((instant - HostInstant(nanoseconds: 5)) == .milliseconds(2))
        #expect(Duration.microseconds(-3).wholeNanoseconds == -3_000)
    }
}
