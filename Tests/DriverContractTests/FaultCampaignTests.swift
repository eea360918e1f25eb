import DeviceProfiles
import DriverContract
import Emulated
import Foundation
import HostIO
import Instruments
import Quantities
import TestSupport
import Testing

/// Random fault plans on virtual time. Whatever happens to an instrument ends in a named error or
/// a marked loss, never in silence, a hang or a crash, and the instrument can be opened again.
struct FaultCampaignTests {
    /// The seeds of each case: cases run side by side. `BEREK_FAULT_SEED=17` runs that plan alone.
    private static let batches: [Range<UInt64>] = {
        if let seed = ProcessInfo.processInfo.environment["BEREK_FAULT_SEED"].flatMap(UInt64.init) {
            return [seed..<seed + 1]
        }
        return stride(from: 1, to: 1001, by: 25).map { UInt64($0)..<UInt64($0) + 25 }
    }()

    @Test("a thousand random fault plans", arguments: batches)
    func plans(seeds: Range<UInt64>) throws {
        for seed in seeds { try run(seed: seed) }
    }

    /// What a tagger's clock loses, or jumps by: what no driver could tell from late delivery, twice
    /// its allowance of some 50 ms (`CounterWatch`), is left out. A jump by just about a period of a
    /// TDC1's counter, 268 ms, is none: its words show the time within a period only.
    private static let clockTimes = (milliseconds: UInt64(130), spread: UInt64(100))
    /// Bits that the plans leave alone: the detector bits of a CQT card. One that is stuck looks as if
    /// every pulse was fed to two inputs.
    private static let ambiguousBits: [String: ClosedRange<Int>] = ["cqt-timestamp-usb": 14...17]
    /// Half a second more than the 512 samples that show a stuck bit, when it strikes last.
    private static let clockRounds = 9
    /// The CQT card reports an overflow only while it lasts, and is asked every 50 ms.
    private static let shortestOverflow = Duration.milliseconds(60)

    /// The faults of one plan.
    struct Plan: CustomStringConvertible {
        var profile: String
        var faults: [(after: Duration, fault: EmulatedFault)]

        /// Between one and four of the faults the profile lists, within two seconds and the time
        /// that the device takes to start.
        init(seed: UInt64, profiles: [DeviceProfile]) {
            var generator = SeededGenerator(seed: seed, label: "fault plan")
            let able = profiles.filter { !$0.faults.injectable.isEmpty }
            let chosen = able[Int(generator.next() % UInt64(able.count))]
            profile = chosen.id
            faults = []
            let startUp = ["bootloader_ms", "begin_wait_ms", "menu_wait_ms", "sync_wait_ms"]
                .compactMap { chosen.timing[$0] }.reduce(0, +)
            for _ in 0...generator.next() % 4 {
                let choice = chosen.faults.injectable
                let kind = choice[Int(generator.next() % UInt64(choice.count))]
                var duration = Duration.milliseconds(Int64(1 + generator.next() % 500))
                if kind == .overflow { duration = max(duration, shortestOverflow) }
                var detail = generator.next() % 4 == 0 ? nil : Int(generator.next() % 64)
                let isTagger = chosen.identity.kind == .timeTagger
                let time = clockTimes.milliseconds + generator.next() % clockTimes.spread
                if kind == .clockLoss, isTagger { duration = .milliseconds(Int64(time)) }
                if kind == .clockStep { detail = Int(time) * 1_000_000 }
                if kind == .stuckBit, let bits = ambiguousBits[chosen.id],
                    let bit = detail, bits.contains(bit)
                {
                    detail = bits.upperBound + 1 + bit
                }
                faults.append(
                    (
                        .milliseconds(Int64(generator.next() % UInt64(2000 + startUp))),
                        EmulatedFault(kind, duration: duration, detail: detail)
                    ))
            }
        }

        /// Whether a tagger's time is at stake, which takes longer to show.
        var concernsClock: Bool {
            faults.contains { [.clockLoss, .clockStep, .stuckBit].contains($0.fault.kind) }
        }

        var description: String {
            "\(profile): "
                + faults.map { "\($0.fault.kind.rawValue) at \($0.after) \($0.fault)" }
                .joined(separator: "; ")
        }
    }

    private func run(seed: UInt64) throws {
        let plan = Plan(seed: seed, profiles: try shippedCatalog.get().profiles)
        if Self.batches.count == 1 { print("seed \(seed): \(plan)") }
        let reactor = VirtualReactor()
        try reactor.run {
            let bench = try ContractBench(profile: plan.profile, seed: seed, reactor: reactor)
            let end = reactor.now + (plan.faults.map(\.after).max() ?? .zero)
            for (after, fault) in plan.faults {
                reactor.schedule(at: reactor.now + after) {
                    bench.bench.inject(fault, into: bench.name)
                }
            }
            let finished: Void? = try await within(.seconds(600), reactor) {
                try await Self.work(bench, plan, until: end, name: "seed \(seed): \(plan)")
            }
            #expect(finished != nil, "seed \(seed): \(plan): still busy after ten minutes")
        }
    }

    /// Opens and uses the instrument while the plan runs, then repairs it and uses it again.
    private static func work(
        _ bench: ContractBench, _ faults: Plan, until planEnd: HostInstant, name plan: String
    ) async throws {
        let exercise = Exercise(
            reactor: bench.reactor, rounds: faults.concernsClock ? clockRounds : 5)
        do {
            let made = try await bench.make()
            do throws(DriverError) {
                try await made.instrument.open()
                let record = try await exercise.run(made)
                let silent = record?.unmarkedLoss(period: bench.pulsePeriod)
                #expect(silent == nil, "\(plan): \(silent ?? "")")
            } catch {
                #expect(!error.found.isEmpty && !error.advice.isEmpty, "\(plan): \(error)")
            }
            await made.instrument.close()
        } catch {
            // Off its bus, or showing another firmware, it can not be found; that is no silence.
        }
        // A fault of the plan must not strike the instrument that was repaired.
        let wait = max(bench.reactor.now, planEnd) + .seconds(3) - bench.reactor.now
        try? await bench.reactor.sleep(for: wait)
        try bench.repair()
        let again = try await bench.make()
        do {
            try await again.instrument.open()
            let record = try await exercise.run(again)
            #expect(record?.tags.isEmpty != true, "\(plan): nothing arrives after the repair")
        } catch {
            Issue.record("\(plan): after the repair: \(error)")
        }
        await again.instrument.close()
    }
}
