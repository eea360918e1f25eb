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

    /// Faults of time taggers that the drivers do not notice yet, and so can not mark: a counter
    /// that stands still for a while or jumps, and a time bit that is stuck. The plans leave them out
    /// until the drivers compare the time of the device with the host's.
    private static let unnoticed: [InjectableFault] = [.clockLoss, .clockStep, .stuckBit]
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
            func kinds(_ profile: DeviceProfile) -> [InjectableFault] {
                let all = profile.faults.injectable
                guard profile.identity.kind == .timeTagger else { return all }
                return all.filter { !unnoticed.contains($0) }
            }
            let able = profiles.filter { !kinds($0).isEmpty }
            let chosen = able[Int(generator.next() % UInt64(able.count))]
            profile = chosen.id
            faults = []
            let startUp = ["bootloader_ms", "begin_wait_ms", "menu_wait_ms", "sync_wait_ms"]
                .compactMap { chosen.timing[$0] }.reduce(0, +)
            for _ in 0...generator.next() % 4 {
                let choice = kinds(chosen)
                let kind = choice[Int(generator.next() % UInt64(choice.count))]
                var duration = Duration.milliseconds(Int64(1 + generator.next() % 500))
                if kind == .overflow { duration = max(duration, shortestOverflow) }
                let detail = generator.next() % 4 == 0 ? nil : Int(generator.next() % 64)
                faults.append(
                    (
                        .milliseconds(Int64(generator.next() % UInt64(2000 + startUp))),
                        EmulatedFault(kind, duration: duration, detail: detail)
                    ))
            }
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
                try await Self.work(bench, until: end, plan: "seed \(seed): \(plan)")
            }
            #expect(finished != nil, "seed \(seed): \(plan): still busy after ten minutes")
        }
    }

    /// Opens and uses the instrument while the plan runs, then repairs it and uses it again.
    private static func work(
        _ bench: ContractBench, until planEnd: HostInstant, plan: String
    ) async throws {
        let exercise = Exercise(reactor: bench.reactor, rounds: 5)
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
