import DeviceProfiles
import DriverContract
import Emulated
import HostIO
import Instruments
import LinkTypes
import Quantities
import TestSupport
import Testing

/// A tagger whose clock fails: the acquisition ends with an error that says so, and a mark covers
/// every tag whose time is wrong, also those that were handed over before anybody could know.
struct ClockFaultTests {
    private struct Outcome: Sendable {
        var record: TagRecord
        var error: DriverError?
        /// From the fault to the error, in seconds.
        var delay: Double
        var silent: String?
    }

    private static func acquire(
        _ profile: String, _ fault: EmulatedFault?, seconds: Int = 4
    ) throws -> Outcome {
        let reactor = VirtualReactor()
        return try reactor.run {
            let bench = try ContractBench(profile: profile, seed: 3, reactor: reactor)
            guard case .timeTagger(let tagger) = try await bench.make() else {
                throw CancellationError()
            }
            try await tagger.open()
            var outcome = Outcome(record: TagRecord(tickPeriod: await tagger.tickPeriod), delay: 0)
            let source = try await tagger.start(AcquisitionPlan())
            let strike = reactor.now + .milliseconds(1003)
            if let fault {
                reactor.schedule(at: strike) { bench.bench.inject(fault, into: bench.name) }
            }
            let end = reactor.now + .seconds(seconds)
            do throws(DriverError) {
                while reactor.now < end, let block = try await source.next() {
                    outcome.record.add(block)
                }
                try await tagger.stop()
                while let block = try await source.next() { outcome.record.add(block) }
            } catch {
                outcome.error = error
                outcome.delay = (reactor.now - strike).inSeconds
            }
            outcome.silent = outcome.record.unmarkedLoss(period: bench.pulsePeriod)
            await tagger.close()
            return outcome
        }
    }

    private static func stop(_ milliseconds: Int) -> EmulatedFault {
        EmulatedFault(.clockLoss, duration: .milliseconds(milliseconds))
    }
    private static func stuck(_ bit: Int) -> EmulatedFault {
        EmulatedFault(.stuckBit, detail: bit)
    }
    private static func step(_ milliseconds: Int) -> EmulatedFault {
        EmulatedFault(.clockStep, detail: milliseconds * 1_000_000)
    }

    /// A fault, and the longest time that noticing it may take, in seconds.
    struct Case: Sendable {
        var profile: String
        var fault: EmulatedFault
        /// nil: pulses at a constant rate do not show what it is, and marks are all there is.
        var limit: Double?

        static func card(_ fault: EmulatedFault, _ limit: Double?) -> Case {
            Case(profile: "cqt-timestamp-usb", fault: fault, limit: limit)
        }
        static func tdc1(_ fault: EmulatedFault, _ limit: Double) -> Case {
            Case(profile: "s15-tdc1", fault: fault, limit: limit)
        }
    }

    static let cases: [Case] = [
        .card(stop(10), 0.1), .card(stop(800), 0.1), .card(step(120), 0.5),
        .card(step(5000), 0.5),
        .tdc1(stop(120), 0.8), .tdc1(stop(500), 1.2), .tdc1(step(120), 0.1),
        .tdc1(step(150), 0.1),
        // Bits of 1.0, 16 and 67 ms, and of 0.26 µs; the times between them hardly differ.
        .card(stuck(38), nil), .card(stuck(42), 2), .card(stuck(44), 2), .card(stuck(26), 1),
        // Bits of 1.0, 33, 134 ms, and of 0.5 µs.
        .tdc1(stuck(24), 2), .tdc1(stuck(29), 2), .tdc1(stuck(31), 0.5), .tdc1(stuck(13), 1),
        // A channel bit, of a channel without pulses.
        .tdc1(stuck(2), 0.6),
    ]

    @Test(arguments: cases)
    func isNamedAndMarked(_ one: Case) throws {
        let outcome = try Self.acquire(one.profile, one.fault)
        #expect(
            outcome.silent == nil, "\(outcome.silent ?? "") \(String(describing: outcome.error))")
        if let limit = one.limit {
            #expect(outcome.error?.code == .clockFault, "\(String(describing: outcome.error))")
            #expect(outcome.delay < limit, "after \(outcome.delay) s")
            #expect(outcome.record.losses.contains { $0.reason == .clockFault })
        }
        // What was certain stays so: the mark does not reach back to the start.
        let first = try #require(outcome.record.losses.map(\.start.rawValue).min())
        #expect(Double(first) * outcome.record.tickPeriod.picoseconds > 0.5e12)
    }

    /// Nothing is marked and nothing ends while all is well, for a minute.
    @Test(arguments: ["cqt-timestamp-usb", "s15-tdc1", "umass-timetag-fpga"])
    func aGoodClockIsLeftAlone(profile: String) throws {
        let outcome = try Self.acquire(profile, nil, seconds: 60)
        #expect(outcome.error == nil && outcome.record.losses.isEmpty && outcome.silent == nil)
        #expect(outcome.record.tags.count > 230_000)
    }

    /// Below the allowance a step can not be told from late delivery; the documents say so.
    @Test(arguments: ["cqt-timestamp-usb", "s15-tdc1"])
    func aStepWithinTheAllowanceIsNotNoticed(profile: String) throws {
        let outcome = try Self.acquire(profile, Self.step(20))
        #expect(outcome.error == nil && outcome.silent != nil)
    }
}
