import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkTypes
import Quantities
import TestSupport
import Testing

/// What holds for every driver with every profile it drives, against the emulated device.
struct ContractTests {
    /// Longer than any operation of the exercise may take, homing and time-outs included.
    private static let limit = Duration.seconds(300)

    private func onBench(
        _ profile: String, seed: UInt64 = 1,
        _ body: @escaping @Sendable (ContractBench) async throws -> Void
    ) throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let bench = try ContractBench(profile: profile, seed: seed, reactor: reactor)
            let done: Void? = try await within(Self.limit, reactor) { try await body(bench) }
            #expect(done != nil, "\(profile): still busy after \(Self.limit)")
        }
    }

    @Test("opens, tells who it is, works, closes and opens again", arguments: shippedProfileIDs())
    func lifeCycle(profile: String) throws {
        try onBench(profile) { bench in
            let made = try await bench.make()
            for _ in 0..<2 {
                try await made.instrument.open()
                let identity = await made.instrument.identity
                #expect(identity.profile == profile)
                #expect(!identity.model.isEmpty && !identity.vendor.isEmpty)
                #expect(identity.provenance == .emulated)
                #expect(await made.instrument.health == .good)
                let report = try await made.instrument.selfTest()
                #expect(report.passed, "\(report.checks.filter { !$0.passed })")
                let record = try await Exercise(reactor: bench.reactor, rounds: 2).run(made)
                if let record {
                    let period = bench.pulsePeriod
                    let expected = 0.9e12 / Double(period.rawValue)
                    #expect(Double(record.tags.count) > expected, "\(record.tags.count)")
                    #expect(record.unmarkedLoss(period: period) == nil)
                    #expect(record.losses.isEmpty)
                }
                await made.instrument.close()
                await made.instrument.close()
            }
        }
    }

    @Test("refuses work while it is closed", arguments: shippedProfileIDs())
    func closed(profile: String) throws {
        try onBench(profile) { bench in
            let made = try await bench.make()
            for isReopened in [false, true] {
                if isReopened {
                    try await made.instrument.open()
                    await made.instrument.close()
                }
                let error = await #expect(throws: DriverError.self) {
                    _ = try await Exercise(reactor: bench.reactor, rounds: 1).run(made)
                }
                #expect(error?.code == .wrongState, "\(String(describing: error))")
            }
        }
    }

    @Test(
        "tells that it was unplugged, and works again once it is back",
        arguments: shippedProfileIDs())
    func unplugged(profile: String) throws {
        try onBench(profile) { bench in
            guard bench.bench.usbPath(of: bench.name) != nil else { return }
            let made = try await bench.make()
            try await made.instrument.open()
            bench.reactor.schedule(at: bench.reactor.now + .milliseconds(130)) {
                bench.bench.unplug(bench.name)
            }
            let error = await #expect(throws: DriverError.self) {
                // Enough rounds for any instrument to be caught at work.
                _ = try await Exercise(reactor: bench.reactor, rounds: 40).run(made)
            }
            #expect(error?.code == .disconnected, "\(String(describing: error))")
            await made.instrument.close()
            bench.bench.plugIn(bench.name)
            let again = try await bench.make()
            try await again.instrument.open()
            _ = try await Exercise(reactor: bench.reactor, rounds: 1).run(again)
            await again.instrument.close()
        }
    }

    @Test("every injectable fault is one the model has", arguments: shippedProfileIDs())
    func faultsExist(profile: String) throws {
        try onBench(profile) { bench in
            for kind in bench.profile.faults.injectable {
                #expect(
                    bench.bench.inject(EmulatedFault(kind), into: bench.name), "\(kind.rawValue)")
                if kind == .disconnect || kind == .reboot {
                    try await bench.reactor.sleep(for: .seconds(2))
                    if try await !bench.isAttached() { bench.bench.plugIn(bench.name) }
                }
            }
        }
    }
}
