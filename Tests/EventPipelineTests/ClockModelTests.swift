import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Conversions against exact integer arithmetic.
struct ClockModelTests {
    /// 24 hours of 125 ps ticks.
    private static let day: UInt64 = 86_400 * 8_000_000_000

    @Test(
        arguments: [
            TickPeriod(picoseconds: 125), TickPeriod(numerator: 125, denominator: 32),
            TickPeriod(numerator: 1000, denominator: 3), TickPeriod(numerator: 1, denominator: 3),
            TickPeriod(numerator: 15_625, denominator: 2), TickPeriod(picoseconds: 4),
        ])
    func nominalClockIsExactForADay(period: TickPeriod) {
        let clock = ClockModel(tickPeriod: period)
        var generator = SeededGenerator(seed: 11, label: "ticks")
        var ticks: [UInt64] = [0, 1, 2, 3, Self.day / 100, 3 * (Self.day / 300)]
        // Up to a day of ticks, or as many as end before the horizon.
        let end = min(Self.day, UInt64(0x1p60 / period.picoseconds))
        for _ in 0..<5_000 { ticks.append(generator.next() % end) }
        for tick in ticks {
            let exact = Int128(tick) * Int128(period.numerator) / Int128(period.denominator)
            #expect(clock.linkTime(of: DeviceTicks(tick)).picoseconds == Int64(exact))
        }
    }

    /// A clock steered every second by multiples of 2⁻⁴⁰ is exactly a sum of fractions.
    @Test(arguments: seeds(4)) func steeringStaysExact(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var clock = ClockModel(
            tickPeriod: TickPeriod(picoseconds: 125), at: DeviceTicks(1_000),
            linkTime: LinkTime(picoseconds: -77))
        let second: UInt64 = 8_000_000_000
        // In units of 125 · 2⁻⁴⁰ ps.
        var exact: Int128 = 0
        var rate: Int128 = 1 << 40
        for index in 0..<900 {
            let start = 1_000 + UInt64(index) * second
            let tick = start + generator.next() % second
            let expected = floorDivide((exact + Int128(tick - start) * rate) * 125, 1 << 40) - 77
            #expect(clock.linkTime(of: DeviceTicks(tick)).picoseconds == Int64(expected))

            exact += Int128(second) * rate
            let step = Int64(generator.next() % (1 << 24)) - (1 << 23)
            rate = (1 << 40) + Int128(step)
            try clock.steer(
                from: DeviceTicks(start + second), fractionalOffset: Double(step) * 0x1p-40)
        }
    }

    @Test(arguments: seeds(6)) func timeNeverRunsBackwardsAndInverts(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var clock = ClockModel(
            tickPeriod: TickPeriod(numerator: 1000, denominator: 3),
            linkTime: LinkTime(picoseconds: 5), fractionalOffset: -9e-4)
        var boundaries: [UInt64] = []
        for index in 1...40 {
            boundaries.append(UInt64(index) * 1_000_003)
            try clock.steer(
                from: DeviceTicks(UInt64(index) * 1_000_003),
                fractionalOffset: 1e-3 * (2 * generator.uniform() - 1))
        }
        for boundary in boundaries {
            var previous = clock.linkTime(of: DeviceTicks(boundary - 5)).picoseconds
            for tick in (boundary - 4)...(boundary + 4) {
                let time = clock.linkTime(of: DeviceTicks(tick)).picoseconds
                // A tick of 333 ps within a thousandth: continuous where segments meet.
                #expect((332...335).contains(time - previous), "tick \(tick)")
                previous = time
            }
        }
        for _ in 0..<2_000 {
            let time = LinkTime(picoseconds: Int64(generator.next() % 13_000_000_000) + 5)
            let tick = clock.ticks(notBefore: time)
            #expect(clock.linkTime(of: tick) >= time)
            if tick.rawValue > 0 {
                #expect(clock.linkTime(of: DeviceTicks(tick.rawValue - 1)) < time)
            }
        }
    }

    @Test func steeringIsRefusedOutsideItsLimits() throws {
        var clock = ClockModel(tickPeriod: TickPeriod(picoseconds: 1), at: DeviceTicks(100))
        #expect(throws: ClockModel.SteeringError.offsetOutOfRange(0.5)) {
            try clock.steer(from: DeviceTicks(200), fractionalOffset: 0.5)
        }
        try clock.steer(from: DeviceTicks(200), fractionalOffset: 1e-6)
        #expect(throws: ClockModel.SteeringError.startsBeforeLastSegment(DeviceTicks(199))) {
            try clock.steer(from: DeviceTicks(199), fractionalOffset: 0)
        }
        let before = clock
        // Steering twice at one tick replaces the law and leaves the time.
        try clock.steer(from: DeviceTicks(200), fractionalOffset: 0)
        #expect(clock != before)
        #expect(clock.linkTime(of: DeviceTicks(200)) == before.linkTime(of: DeviceTicks(200)))
        for index in 0..<(ClockModel.maximumSegments - 2) {
            try clock.steer(from: DeviceTicks(300 + UInt64(index)), fractionalOffset: 0)
        }
        #expect(throws: ClockModel.SteeringError.tooManySegments) {
            try clock.steer(from: DeviceTicks(1 << 40), fractionalOffset: 0)
        }
        let time = clock.linkTime(of: DeviceTicks(5_000))
        clock.forget(before: DeviceTicks(5_000))
        #expect(clock.linkTime(of: DeviceTicks(5_000)) == time)
        try clock.steer(from: DeviceTicks(1 << 40), fractionalOffset: 0)
    }

    /// Ticks of damaged records must saturate, not trap.
    @Test func hugeTicksSaturate() {
        let clock = ClockModel(
            tickPeriod: TickPeriod(picoseconds: 200_000), fractionalOffset: 1e-3)
        #expect(clock.linkTime(of: DeviceTicks(.max)).picoseconds == ClockModel.horizon)
        let early = ClockModel(
            tickPeriod: TickPeriod(picoseconds: 200_000), at: DeviceTicks(1 << 61))
        #expect(early.linkTime(of: DeviceTicks(0)).picoseconds == -ClockModel.horizon)
    }

    private func floorDivide(_ a: Int128, _ b: Int128) -> Int128 {
        let quotient = a / b
        return quotient * b > a ? quotient - 1 : quotient
    }
}

/// Slot numbers and phases against their definition.
struct SlotGridTests {
    @Test func boundariesBelongToTheLaterSlot() {
        let even = SlotGrid(period: TickPeriod(picoseconds: 50_000))
        let cases: [(Int64, UInt64, Int32)] = [
            (-25_000, 0, -25_000), (0, 0, 0), (24_999, 0, 24_999), (25_000, 1, -25_000),
            (50_000, 1, 0), (74_999, 1, 24_999), (75_000, 2, -25_000),
        ]
        for (time, slot, phase) in cases {
            let found = even.locate(LinkTime(picoseconds: time))
            #expect(found.slot == SlotIndex(slot) && found.phase == phase, "\(time) ps")
        }
        // An odd period has no whole picosecond on a boundary.
        let odd = SlotGrid(period: TickPeriod(picoseconds: 5))
        let slots = (-2...7).map { odd.locate(LinkTime(picoseconds: $0)).slot.rawValue }
        #expect(slots == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    }

    @Test(arguments: seeds(12)) func agreesWithExactFractions(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let denominator = Int64(1 + generator.next() % 30_000_001)
        let whole = Int64(2 + generator.next() % 100_000)
        let numerator = min(
            1 << 44, denominator * whole + Int64(generator.next() % UInt64(denominator)))
        let grid = SlotGrid(period: TickPeriod(numerator: numerator, denominator: denominator))
        let (n, d) = (Int128(numerator), Int128(denominator))
        for _ in 0..<3_000 {
            // Anywhere up to 26 days half of the time, near a boundary otherwise.
            var time = Int64(generator.next() >> 3)
            if generator.next() & 1 == 0 {
                let slot = UInt64(Int128(time) * d / n)
                let start = grid.start(of: SlotIndex(slot)).picoseconds
                time = start + Int64(generator.next() % 5) - 2
            }
            guard 2 * Int128(time) * d >= -n else { continue }
            let expected = (2 * Int128(time) * d + n) / (2 * n)
            let found = grid.locate(LinkTime(picoseconds: time))
            #expect(Int128(found.slot.rawValue) == expected, "\(time) ps, \(n)/\(d)")
            let scaled = Int128(time) * d - expected * n
            let phase = scaled >= 0 ? scaled / d : -((-scaled + d - 1) / d)
            #expect(Int128(found.phase) == phase)
        }
    }

    @Test(arguments: seeds(8)) func startIsTheFirstPicosecond(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let period = TickPeriod(
            numerator: Int64(2_000 + generator.next() % 1_000_000),
            denominator: Int64(1 + generator.next() % 900))
        let grid = SlotGrid(period: period)
        for _ in 0..<500 {
            let slot = SlotIndex(1 + generator.next() % (1 << 40))
            let start = grid.start(of: slot)
            let before = LinkTime(picoseconds: start.picoseconds - 1)
            #expect(grid.locate(start).slot == slot)
            #expect(grid.locate(before).slot.rawValue == slot.rawValue - 1)
        }
    }

    @Test func gateIsHalfOpen() {
        let gate = SlotGate(centre: Picoseconds(100), halfWidth: Picoseconds(50))
        #expect(!gate.accepts(phase: 49, detector: 0))
        #expect(gate.accepts(phase: 50, detector: 1))
        #expect(gate.accepts(phase: 149, detector: 2))
        #expect(!gate.accepts(phase: 150, detector: 3))
    }
}

/// The regression between a tagger's counter and the host's clock.
struct HostClockEstimatorTests {
    /// A 125 ps counter 20 ppm fast, transfers late by 50 to 250 µs.
    @Test(arguments: seeds(3)) func findsRateAndSurvivesLateTransfers(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var estimator = HostClockEstimator(tickPeriod: TickPeriod(picoseconds: 125))
        let truth = 0.125 * (1 - 20e-6)
        for index in 0..<6_000 {
            let ticks = UInt64(index) * 80_000_000
            var host = 5e9 + Double(ticks) * truth + 50_000 + 200_000 * generator.uniform()
            // One transfer in 50 is a second late.
            if index > 10, index % 50 == 0 { host += 1e9 }
            estimator.add(ticks: DeviceTicks(ticks), host: HostInstant(nanoseconds: Int64(host)))
        }
        #expect(estimator.refused == 119)
        #expect(abs(estimator.nanosecondsPerTick / truth - 1) < 1e-6)
        let last: UInt64 = 5_999 * 80_000_000
        let instant = try #require(estimator.instant(of: DeviceTicks(last)))
        let expected = 5e9 + Double(last) * truth + 150_000
        #expect(abs(Double(instant.nanoseconds) - expected) < 30_000)
        let back = try #require(estimator.ticks(at: instant))
        #expect(abs(Double(back.rawValue) - Double(last)) < 16)
    }

    @Test func startsAgainAfterTheCounterRestarts() throws {
        var estimator = HostClockEstimator(tickPeriod: TickPeriod(picoseconds: 1000), patience: 4)
        #expect(estimator.instant(of: DeviceTicks(0)) == nil)
        for start: Int64 in [0, 10_000_000_000] {
            for index: Int64 in 0..<20 {
                estimator.add(
                    ticks: DeviceTicks(UInt64(index) * 1_000_000),
                    host: HostInstant(nanoseconds: start + index * 1_000_000))
            }
        }
        let instant = try #require(estimator.instant(of: DeviceTicks(0)))
        #expect(abs(instant.nanoseconds - 10_000_000_000) < 10)
        #expect(estimator.refused == 5)
    }
}
