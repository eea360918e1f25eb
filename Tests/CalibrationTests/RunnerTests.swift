import Calibration
import Foundation
import LinkTypes
import Quantities
import TestSupport
import Testing

/// A bench for the runner: a synthetic link that fails, cancels or dies at a chosen operation.
actor FaultyBench: CalibrationEnvironment {
    enum Fault: Hashable { case failure, cancellation, death }

    private(set) var link: SyntheticLink
    private var time = HostInstant.zero
    private(set) var published = CalibrationSnapshot.empty
    private(set) var operations = 0
    private(set) var restores = 0
    private var fault: (at: Int, kind: Fault)?
    private var isDead = false
    var failsToPublish = false
    /// Turns the fibre before the held-out measurement.
    var disturbsVerification = false
    private var clicks: SyntheticClicks
    private var phases: SyntheticPhases
    private var slot: UInt64 = 10_000_000

    init(seed: UInt64, fault: (at: Int, kind: Fault)? = nil) {
        link = SyntheticLink(seed: seed, nominal: .quarterHalfQuarter())
        clicks = SyntheticClicks(seed: seed)
        phases = SyntheticPhases(seed: seed)
        self.fault = fault
    }

    func heal() {
        fault = nil
        isDead = false
        failsToPublish = false
    }
    func breakPublication() { failsToPublish = true }
    func disturb() { disturbsVerification = true }
    func aligned() -> MisalignmentError { link.trueError(labels: published.labels) }

    private func operate(_ seconds: Double) throws(EnvironmentFailure) {
        if isDead { throw EnvironmentFailure(code: "DEAD", message: "no process") }
        operations += 1
        time = time + .nanoseconds(Int64(seconds * 1e9))
        guard let fault, fault.at == operations else { return }
        switch fault.kind {
        case .failure: throw EnvironmentFailure(code: "BRK-DRV-002", message: "no reply")
        case .cancellation: withUnsafeCurrentTask { $0?.cancel() }
        case .death:
            isDead = true
            throw EnvironmentFailure(code: "DEAD", message: "no process")
        }
    }

    func now() -> HostInstant { time }
    func snapshot() throws(EnvironmentFailure) -> CalibrationSnapshot { published }
    func settings(of actuator: ActuatorName) throws(EnvironmentFailure) -> ActuatorSettings {
        ActuatorSettings(actuator: actuator, values: link.mounts)
    }
    func move(_ target: ActuatorSettings) throws(EnvironmentFailure) -> ActuatorSettings {
        // The mount has begun to move when the fault strikes.
        let reached = link.move(to: target.values)
        try operate(1)
        return ActuatorSettings(actuator: target.actuator, values: reached)
    }
    func restore(_ target: ActuatorSettings) throws(EnvironmentFailure) -> ActuatorSettings {
        if isDead { throw EnvironmentFailure(code: "DEAD", message: "no process") }
        restores += 1
        return ActuatorSettings(actuator: target.actuator, values: link.move(to: target.values))
    }
    func settle(_ duration: Duration) throws(EnvironmentFailure) { try operate(0.05) }
    func measure(_ request: MeasurementRequest) throws(EnvironmentFailure) -> CalibrationMeasurement
    {
        let started = time
        try operate(Double(request.detections) / 35_000)
        let payload: CalibrationMeasurement.Payload
        switch request.quantity {
        case .timeTags:
            let seconds = request.maximumDuration.inSeconds
            payload = .timeTags(clicks.sample(from: slot, seconds: seconds))
            slot += UInt64(seconds * 20e6)
        case .arrivalPhases:
            payload = .arrivalPhases(phases.phases(request.detections))
        case .stateCounts:
            if disturbsVerification, request.detections >= 20_000 {
                link.channel =
                    link.channel * StokesRotation(rotationVector: StokesVector(0, 0.5, 0))
            }
            payload = .stateCounts(link.counts(detections: Double(request.detections)))
        }
        return CalibrationMeasurement(
            payload: payload,
            settings: [ActuatorSettings(actuator: .polarizationController, values: link.mounts)],
            started: started, finished: time, provenance: .emulated)
    }
    func publish(_ snapshot: CalibrationSnapshot) throws(EnvironmentFailure) {
        if failsToPublish { throw EnvironmentFailure(code: "PIPE", message: "pipeline stopped") }
        published = snapshot
    }
}

private func digest(_ record: CalibrationRecord) -> String {
    "\(record.sequence)/\(record.procedure)/\(record.finished.nanoseconds)"
}

@Suite struct RunnerTests {
    private let context = CalibrationContext(software: "berek 0.0-test", profileDigests: ["a1"])

    private func runner(
        _ bench: FaultyBench, _ store: InMemoryCalibrationRecordStore
    ) -> CalibrationRunner<FaultyBench, InMemoryCalibrationRecordStore> {
        CalibrationRunner(environment: bench, store: store, context: context)
    }

    private var alignment: PolarizationAlignment {
        PolarizationAlignment(stack: .quarterHalfQuarter())
    }

    @Test func aColdStartPublishesEveryPartInOrder() async throws {
        let bench = FaultyBench(seed: 6)
        let store = InMemoryCalibrationRecordStore(digest: digest)
        let runner = runner(bench, store)
        let slot = Picoseconds(50_000)
        _ = try await runner.run(ClockLockProcedure(configuration: .init(slotPeriod: slot)))
        _ = try await runner.run(DelayCalibration(configuration: .init(slotPeriod: slot)))
        let gate = try await runner.run(GateCalibration(configuration: .init(slotPeriod: slot)))
        let last = try await runner.run(alignment)
        let snapshot = await bench.published
        #expect(snapshot.generation == 4)
        #expect(snapshot.clock != nil && snapshot.delays != nil && snapshot.gate != nil)
        #expect(snapshot.provenance == .emulated)
        #expect(await bench.aligned().worst <= 0.005)
        #expect(gate.parentGeneration == 2 && gate.sequence == 3)
        #expect(last.previousHash == digest(gate))
        #expect(last.outcome == .committed && last.verification?.passed == true)
        #expect(last.published == snapshot)
        #expect(last.inputs.last?.isHeldOut == true)
        #expect(last.inputs.dropLast().allSatisfy { !$0.isHeldOut })
        #expect(try #require(last.result?.limit).ratio > 1)
        #expect(await store.pendingIntent() == nil)
        // A later reader gets the same record back.
        let data = try JSONEncoder().encode(last)
        #expect(try JSONDecoder().decode(CalibrationRecord.self, from: data) == last)
    }

    /// Every operation of a run fails once, is cancelled once and is the last before a crash once.
    @Test(arguments: [FaultyBench.Fault.failure, .cancellation, .death])
    func aFaultAtAnyOperationLeavesThePreviousSettings(kind: FaultyBench.Fault) async throws {
        let healthy = FaultyBench(seed: 4)
        _ = try await runner(healthy, InMemoryCalibrationRecordStore(digest: digest))
            .run(alignment)
        let operations = await healthy.operations
        #expect(operations > 15)
        for index in 1...operations {
            let bench = FaultyBench(seed: 4, fault: (index, kind))
            let store = InMemoryCalibrationRecordStore(digest: digest)
            let runner = runner(bench, store)
            let before = await bench.link.mounts
            let alignment = alignment
            let failure = await Task { () -> CalibrationFailure? in
                do throws(CalibrationFailure) {
                    _ = try await runner.run(alignment)
                    return nil
                } catch {
                    return error
                }
            }.value
            let found = try #require(failure, "operation \(index)")
            if kind == .death {
                #expect(found.code == .restoreFailed && !found.isRestored)
                #expect(await store.pendingIntent() != nil)
                #expect(await bench.link.mounts != before || index == 1)
                await bench.heal()
                guard case .restored(let record) = try await runner.recover() else {
                    Issue.record("operation \(index): nothing recovered")
                    continue
                }
                #expect(record.outcome == .recovered)
                #expect(try await runner.recover() == .nothingPending)
            } else {
                #expect(found.code == (kind == .failure ? .environment : .cancelled))
                #expect(found.isRestored, "operation \(index): \(found)")
            }
            #expect(await bench.link.mounts == before, "operation \(index)")
            #expect(await bench.published == .empty)
            #expect(await store.pendingIntent() == nil)
            let record = try #require(await store.record(1))
            #expect(record.outcome != .committed && record.published == nil)
            #expect(record.settingsBefore.first?.values == before)
        }
    }

    @Test func aResultThatFailsOnHeldOutDataIsNotPublished() async throws {
        let bench = FaultyBench(seed: 4)
        await bench.disturb()
        let store = InMemoryCalibrationRecordStore(digest: digest)
        let before = await bench.link.mounts
        do throws(CalibrationFailure) {
            _ = try await runner(bench, store).run(alignment)
            Issue.record("a wrong result was published")
        } catch {
            #expect(error.code == .rejected && error.isRestored)
        }
        #expect(await bench.link.mounts == before)
        #expect(await bench.published == .empty)
        #expect(await store.record(1)?.outcome == .rejected)
        #expect(await store.record(1)?.verification?.passed == false)
    }

    @Test func aCrashBeforePublicationIsCompletedNotUndone() async throws {
        let bench = FaultyBench(seed: 4)
        await bench.breakPublication()
        let store = InMemoryCalibrationRecordStore(digest: digest)
        let runner = runner(bench, store)
        do throws(CalibrationFailure) {
            _ = try await runner.run(alignment)
            Issue.record("published on a stopped pipeline")
        } catch {
            #expect(error.code == .publicationFailed)
        }
        // Until then no other run may begin.
        do throws(CalibrationFailure) {
            _ = try await runner.run(alignment)
            Issue.record("a second run began")
        } catch {
            #expect(error.code == .recoveryNeeded)
        }
        await bench.heal()
        guard case .completed(let record) = try await runner.recover() else {
            Issue.record("not completed")
            return
        }
        #expect(await bench.published == record.published)
        #expect(await bench.aligned().worst <= 0.005)
        #expect(await store.head().sequence == 1)
    }

    @Test(arguments: [
        CalibrationLimits(moves: 3), CalibrationLimits(detections: 1_200),
        CalibrationLimits(duration: .seconds(4)), CalibrationLimits(steps: 4),
    ])
    func limitsEndARun(limits: CalibrationLimits) async throws {
        let bench = FaultyBench(seed: 4)
        let store = InMemoryCalibrationRecordStore(digest: digest)
        let before = await bench.link.mounts
        do throws(CalibrationFailure) {
            _ = try await runner(bench, store).run(alignment, limits: limits)
            Issue.record("the limit did not hold")
        } catch {
            #expect(error.code == .limitExceeded && error.isRestored)
        }
        #expect(await bench.link.mounts == before)
    }

    @Test func historyIsAppendOnly() async throws {
        let bench = FaultyBench(seed: 6)
        let store = InMemoryCalibrationRecordStore(digest: digest)
        let runner = runner(bench, store)
        let configuration = ClockLockProcedure.Configuration(slotPeriod: Picoseconds(50_000))
        let first = try await runner.run(ClockLockProcedure(configuration: configuration))
        await #expect(throws: CalibrationStoreFailure.outOfOrder(expected: 2, found: 1)) {
            try await store.append(first)
        }
        var forged = first
        forged.sequence = 2
        forged.previousHash = "forged"
        await #expect(
            throws: CalibrationStoreFailure.brokenChain(expected: digest(first), found: "forged")
        ) { try await store.append(forged) }
        #expect(await store.record(1) == first)
        #expect(await store.record(2) == nil)
        #expect(await store.record(0) == nil)
        let intent = CalibrationIntent(
            sequence: 2, procedure: "x", settings: [], parentGeneration: 0, started: .zero)
        try await store.openIntent(intent)
        await #expect(throws: CalibrationStoreFailure.intentPending(sequence: 2)) {
            try await store.openIntent(intent)
        }
        await store.closeIntent(7)
        #expect(await store.pendingIntent() == intent)
    }
}
