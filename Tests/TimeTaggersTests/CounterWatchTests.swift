import HostIO
import LinkTypes
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// A tagger's counter against the host's clock: what is noticed, after how long, and what is not
/// mistaken for a fault.
struct CounterWatchTests {
    private static let allowance = Duration.milliseconds(50)

    /// A counter of nanoseconds, read every few milliseconds and delivered with some delay.
    private struct Stream {
        var watch = CounterWatch(
            tickPeriod: TickPeriod(picoseconds: 1000), allowance: CounterWatchTests.allowance,
            start: .zero)
        var generator: SeededGenerator
        /// Host time, and what the counter is ahead of it, in nanoseconds.
        var now: Int64 = 0
        var lead = 0.0
        /// Frequency error of the counter.
        var rate = 0.0

        init(seed: UInt64) { generator = SeededGenerator(seed: seed, label: "counter watch") }

        /// Delivers the records of `seconds`; the first fault, and when it was found.
        mutating func run(
            _ seconds: Double, delay: (Int64) -> Int64 = { _ in 0 }
        ) -> (fault: CounterFault, at: Int64)? {
            let end = now + Int64(seconds * 1e9)
            while now < end {
                let step = Int64(1_000_000 + generator.next() % 20_000_000)
                now += step
                lead += rate * Double(step)
                let late = Int64(generator.next() % 30_000_000) + delay(now)
                let fault = watch.note(
                    ticks: UInt64(now + Int64(lead)), at: HostInstant(nanoseconds: now + late))
                if let fault { return (fault, now) }
            }
            return nil
        }
    }

    /// Five minutes with clocks apart by nearly the tolerance, and deliveries up to 30 ms late.
    @Test(arguments: seeds(6)) func aGoodCounterIsNotSuspected(seed: UInt64) {
        var stream = Stream(seed: seed)
        stream.rate = [9e-4, -9e-4, 1e-6, -1e-6, 0, 2e-4][Int(seed % 6)]
        #expect(stream.run(300) == nil, "seed \(seed)")
        #expect(stream.watch.suspectSince == nil)
    }

    /// A host that stalls for three seconds takes everything late, then what has piled up at once.
    @Test(arguments: seeds(4)) func aStallOfTheHostIsNoFault(seed: UInt64) {
        var stream = Stream(seed: seed)
        #expect(stream.run(5) == nil)
        let end = stream.now + 3_000_000_000
        #expect(stream.run(3, delay: { max(0, end - $0) }) == nil, "seed \(seed)")
        #expect(stream.run(20) == nil, "seed \(seed)")
    }

    @Test(arguments: [(105, true), (250, true), (5000, true), (5, false), (15, false)])
    func aStepAheadIsNoticedAtOnce(milliseconds: Int, isNoticed: Bool) {
        var stream = Stream(seed: UInt64(milliseconds))
        #expect(stream.run(30) == nil)
        let start = stream.now
        stream.lead += Double(milliseconds) * 1e6
        let found = stream.run(30)
        #expect((found != nil) == isNoticed)
        guard let found else { return }
        #expect(found.at - start < 50_000_000)
        if case .ahead = found.fault { return }
        Issue.record("\(found.fault)")
    }

    @Test(arguments: [(105, true), (400, true), (5000, true), (5, false), (15, false)])
    func lostTimeIsNoticedAfterHalfASecond(milliseconds: Int, isNoticed: Bool) {
        var stream = Stream(seed: UInt64(milliseconds))
        #expect(stream.run(30) == nil)
        let (start, last) = (stream.now, stream.watch.comparedThrough)
        stream.lead -= Double(milliseconds) * 1e6
        // Nothing arrives while the counter stands.
        stream.now += Int64(milliseconds) * 1_000_000
        let found = stream.run(30)
        #expect((found != nil) == isNoticed)
        guard let found else { return }
        #expect(found.at - start - Int64(milliseconds) * 1_000_000 < 600_000_000)
        // The mark begins before anything that is wrong.
        #expect(stream.watch.suspectSince == last)
        guard case .behind(let lag) = found.fault else {
            Issue.record("\(found.fault)")
            return
        }
        #expect(lag <= .milliseconds(milliseconds) && lag > .milliseconds(milliseconds - 60))
    }

    @Test func nothingIsSaidWhileTheConsumerHoldsBack() {
        var stream = Stream(seed: 1)
        #expect(stream.run(5) == nil)
        for _ in 0..<20 {
            _ = stream.run(0.2, delay: { _ in 300_000_000 })
            stream.watch.holdBack()
        }
        #expect(stream.watch.suspectSince == nil)
    }

    @Test func theFirstRecordsAreNotOlderThanTheStart() {
        var watch = CounterWatch(
            tickPeriod: TickPeriod(picoseconds: 1000), allowance: Self.allowance, start: .zero)
        watch.started(at: HostInstant(nanoseconds: 1_000_000_000))
        #expect(watch.latestTick(at: HostInstant(nanoseconds: 1_500_000_000)) == 550_500_000)
        #expect(
            watch.note(ticks: 400_000_000, at: HostInstant(nanoseconds: 1_500_000_000)) == nil)
        let fault = watch.note(
            ticks: 800_000_000, at: HostInstant(nanoseconds: 1_600_000_000))
        #expect(fault == .ahead(.nanoseconds(149_400_000)))
    }
}
