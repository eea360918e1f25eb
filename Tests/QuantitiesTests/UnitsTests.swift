import Quantities
import Testing

struct UnitsTests {
    /// A driver that checks a range before it sends must not let through what is no number.
    @Test func whatIsNoNumberIsInNoRange() {
        let range = Volts(0)...Volts(5)
        #expect(range.contains(Volts(0)) && range.contains(Volts(5)))
        #expect(!range.contains(Volts(-0.1)) && !range.contains(Volts(5.1)))
        #expect(!range.contains(Volts(.nan)))
        #expect(!(Volts(.nan) < Volts(1)) && !(Volts(.nan) >= Volts(1)))
        #expect(!(Volts(1) <= Volts(.nan)) && !(Volts(1) > Volts(.nan)))
    }
}
