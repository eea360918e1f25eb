import LinkTypes
import Quantities

/// Runs procedures: swap, measure, restore, stage, verify, commit.
///
/// Whatever happens, the bench ends in one of two states: the new result verified, recorded and in
/// force, or the previous settings restored. A crash in between leaves an intent in the store, and
/// `recover()` brings the bench to one of the two.
public struct CalibrationRunner<
    Environment: CalibrationEnvironment, Store: CalibrationRecordStore
>: Sendable {
    private let environment: Environment
    private let store: Store
    private let context: CalibrationContext

    /// A runner over an environment and a history.
    public init(environment: Environment, store: Store, context: CalibrationContext) {
        self.environment = environment
        self.store = store
        self.context = context
    }

    /// Runs one procedure to its end and returns its record.
    ///
    /// - Throws: `CalibrationFailure` when the result is not in force. Unless the code is
    ///   `restoreFailed` or `publicationFailed`, the actuators are back where they were and, when
    ///   the store works, the failed run is in the history.
    public func run(
        _ procedure: some CalibrationProcedure, limits: CalibrationLimits = CalibrationLimits()
    ) async throws(CalibrationFailure) -> CalibrationRecord {
        var run = try await begin(procedure, limits: limits)
        do throws(CalibrationFailure) {
            try await drive(&run, procedure: procedure)
        } catch {
            throw await abandon(run, because: error)
        }
        return try await commit(run)
    }

    /// What came of looking for an interrupted run.
    public enum Recovery: Hashable, Sendable {
        /// No run was interrupted.
        case nothingPending
        /// The previous settings are restored.
        case restored(CalibrationRecord)
        /// The run had been recorded as committed; its snapshot is in force now.
        case completed(CalibrationRecord)
    }

    /// Finishes or undoes a run that a crash interrupted; call once at start, before any `run`.
    public func recover() async throws(CalibrationFailure) -> Recovery {
        let intent: CalibrationIntent
        let recorded: CalibrationRecord?
        do throws(CalibrationStoreFailure) {
            guard let pending = try await store.pendingIntent() else { return .nothingPending }
            intent = pending
            recorded = try await store.record(pending.sequence)
        } catch {
            throw storeFailure(error, procedure: "recovery")
        }
        if let recorded, recorded.outcome == .committed, let snapshot = recorded.published {
            do throws(EnvironmentFailure) {
                for settings in recorded.settingsAfter {
                    _ = try await environment.restore(settings)
                }
                try await environment.publish(snapshot)
            } catch {
                throw publicationFailure(error, procedure: intent.procedure)
            }
            try await close(intent)
            return .completed(recorded)
        }
        var run = Run(intent: intent, limits: CalibrationLimits(), snapshot: nil)
        run.settings = try await restore(intent, cause: "the process ended during the run")
        if recorded == nil {
            do throws(CalibrationStoreFailure) {
                let head = try await store.head()
                try await store.append(await record(run, .recovered, after: head))
            } catch {
                throw storeFailure(error, procedure: intent.procedure)
            }
        }
        try await close(intent)
        do throws(CalibrationStoreFailure) {
            guard let record = try await store.record(intent.sequence) else {
                throw CalibrationStoreFailure.storage("record \(intent.sequence) is missing")
            }
            return .restored(record)
        } catch {
            throw storeFailure(error, procedure: intent.procedure)
        }
    }

    /// The running account of one run.
    private struct Run {
        var intent: CalibrationIntent
        var limits: CalibrationLimits
        var snapshot: CalibrationSnapshot?
        var settings: [ActuatorSettings] = []
        var inputs: [RecordedInput] = []
        var staged: StagedResult?
        var verdict: VerificationVerdict?
        var provenance: Provenance?
        var moves = 0
        var detections = 0
    }

    private func begin(
        _ procedure: some CalibrationProcedure, limits: CalibrationLimits
    ) async throws(CalibrationFailure) -> Run {
        let snapshot: CalibrationSnapshot
        var settings: [ActuatorSettings] = []
        do throws(EnvironmentFailure) {
            snapshot = try await environment.snapshot()
            for actuator in procedure.actuators {
                settings.append(try await environment.settings(of: actuator))
            }
        } catch {
            throw environmentFailure(error, procedure: procedure.name, isRestored: true)
        }
        do throws(CalibrationStoreFailure) {
            let intent = CalibrationIntent(
                sequence: try await store.head().sequence + 1, procedure: procedure.name,
                settings: settings, parentGeneration: snapshot.generation,
                started: await environment.now())
            try await store.openIntent(intent)
            var run = Run(intent: intent, limits: limits, snapshot: snapshot)
            run.settings = settings
            return run
        } catch {
            throw storeFailure(error, procedure: procedure.name)
        }
    }

    private func drive(
        _ run: inout Run, procedure: some CalibrationProcedure
    ) async throws(CalibrationFailure) {
        var procedure = procedure
        var observation = CalibrationObservation.started(
            run.snapshot ?? .empty, settings: run.settings)
        for _ in 0..<run.limits.steps {
            let actions = procedure.step(observation)
            guard !actions.isEmpty else {
                throw failure(.protocolViolation, run, "an action", "none", "report this defect")
            }
            for action in actions {
                if case .finish = action {
                    try await verify(&run, procedure: procedure)
                    return
                }
                observation = try await perform(action, &run)
            }
        }
        throw exceeded(run, "at most \(run.limits.steps) steps")
    }

    private func perform(
        _ action: CalibrationAction, _ run: inout Run
    ) async throws(CalibrationFailure) -> CalibrationObservation {
        try await checkLimits(run)
        do throws(EnvironmentFailure) {
            switch action {
            case .move(let target):
                return .moved(try await move(target, &run))
            case .settle(let duration):
                try await environment.settle(duration)
                return .settled
            case .measure(let request):
                return .measured(try await measure(request, &run, isHeldOut: false))
            case .stage(let result):
                run.staged = result
                return .staged
            case .finish:
                return .staged
            case .rollBack(let reason):
                throw EnvironmentFailure(code: rollBackCode, message: reason)
            }
        } catch {
            if error.code == rollBackCode {
                throw failure(
                    .rolledBack, run, "a procedure that converges", error.message,
                    "look at the recorded inputs, then run it again")
            }
            throw environmentFailure(error, procedure: run.intent.procedure, isRestored: false)
        }
    }

    private var rollBackCode: String { CalibrationFailureCode.rolledBack.rawValue }

    private func move(
        _ target: ActuatorSettings, _ run: inout Run
    ) async throws(EnvironmentFailure) -> ActuatorSettings {
        run.moves += 1
        guard run.intent.settings.contains(where: { $0.actuator == target.actuator }) else {
            throw EnvironmentFailure(
                code: CalibrationFailureCode.protocolViolation.rawValue,
                message: "\(target.actuator.rawValue) is not among the procedure's actuators")
        }
        let reached = try await environment.move(target)
        run.settings.removeAll { $0.actuator == reached.actuator }
        run.settings.append(reached)
        return reached
    }

    private func measure(
        _ request: MeasurementRequest, _ run: inout Run, isHeldOut: Bool
    ) async throws(EnvironmentFailure) -> CalibrationMeasurement {
        let measurement = try await environment.measure(request)
        run.detections += measurement.detections
        run.provenance =
            run.provenance.map { $0.combined(with: measurement.provenance) }
            ?? measurement.provenance
        run.inputs.append(
            RecordedInput(request: request, measurement: measurement, isHeldOut: isHeldOut))
        return measurement
    }

    private func checkLimits(_ run: Run) async throws(CalibrationFailure) {
        if Task.isCancelled {
            throw failure(.cancelled, run, "to run to the end", "a cancelled task", "run it again")
        }
        guard run.moves < run.limits.moves else {
            throw exceeded(run, "at most \(run.limits.moves) moves")
        }
        guard run.detections < run.limits.detections else {
            throw exceeded(run, "at most \(run.limits.detections) detections")
        }
        guard await environment.now() - run.intent.started < run.limits.duration else {
            throw exceeded(run, "at most \(run.limits.duration.inSeconds) s")
        }
    }

    private func verify(
        _ run: inout Run, procedure: some CalibrationProcedure
    ) async throws(CalibrationFailure) {
        guard let staged = run.staged else {
            throw failure(
                .protocolViolation, run, "a staged result before finish", "none",
                "report this defect")
        }
        try await checkLimits(run)
        let measurement: CalibrationMeasurement
        do throws(EnvironmentFailure) {
            measurement = try await measure(
                procedure.verificationRequest(for: staged), &run, isHeldOut: true)
        } catch {
            throw environmentFailure(error, procedure: run.intent.procedure, isRestored: false)
        }
        let verdict = procedure.verify(staged, with: measurement)
        run.verdict = verdict
        guard verdict.passed else {
            throw failure(
                .rejected, run, "\(verdict.rule): at most \(verdict.threshold)",
                "\(verdict.statistic)", "check light level, darkness and drift, then run it again")
        }
        if Task.isCancelled {
            throw failure(.cancelled, run, "to run to the end", "a cancelled task", "run it again")
        }
    }

    private func commit(_ run: Run) async throws(CalibrationFailure) -> CalibrationRecord {
        guard let staged = run.staged, let snapshot = run.snapshot, let source = run.provenance
        else {
            throw await abandon(
                run,
                because: failure(
                    .protocolViolation, run, "a verified result", "none", "report this defect"))
        }
        let next = snapshot.applying(staged.change, settings: run.settings, provenance: source)
        let committed: CalibrationRecord
        do throws(CalibrationStoreFailure) {
            var record = await record(run, .committed, after: try await store.head())
            record.published = next
            try await store.append(record)
            committed = record
        } catch {
            throw await abandon(run, because: storeFailure(error, procedure: run.intent.procedure))
        }
        // From here on the result counts: a crash is completed by `recover`, not undone.
        do throws(EnvironmentFailure) {
            try await environment.publish(next)
        } catch {
            throw publicationFailure(error, procedure: run.intent.procedure)
        }
        try await close(run.intent)
        return committed
    }

    /// Restores, records and closes a run that did not succeed; returns the failure to throw.
    private func abandon(
        _ run: Run, because cause: CalibrationFailure
    ) async -> CalibrationFailure {
        var run = run
        var cause = cause
        do throws(CalibrationFailure) {
            run.settings = try await restore(run.intent, cause: cause.description)
        } catch {
            return error  // The intent stays open, so the next start tries again.
        }
        cause.isRestored = true
        let outcome: CalibrationOutcome =
            switch cause.code {
            case .rejected: .rejected
            case .rolledBack: .rolledBack(reason: cause.found)
            default: .failed(code: cause.code.rawValue, message: cause.description)
            }
        do throws(CalibrationStoreFailure) {
            try await store.append(await record(run, outcome, after: try await store.head()))
            try await store.closeIntent(run.intent.sequence)
        } catch {
            // The bench is safe; the open intent makes the next start write the record.
        }
        return cause
    }

    private func restore(
        _ intent: CalibrationIntent, cause: String
    ) async throws(CalibrationFailure) -> [ActuatorSettings] {
        do throws(EnvironmentFailure) {
            var reached: [ActuatorSettings] = []
            for settings in intent.settings {
                reached.append(try await environment.restore(settings))
            }
            return reached
        } catch {
            throw CalibrationFailure(
                code: .restoreFailed, procedure: intent.procedure,
                expected: "the settings from before the run",
                found: "\(error.code): \(error.message), after: \(cause)",
                advice: "keep the link stopped, repair the actuator, then restart to recover")
        }
    }

    private func close(_ intent: CalibrationIntent) async throws(CalibrationFailure) {
        do throws(CalibrationStoreFailure) {
            try await store.closeIntent(intent.sequence)
        } catch {
            throw storeFailure(error, procedure: intent.procedure)
        }
    }

    private func record(
        _ run: Run, _ outcome: CalibrationOutcome, after head: RecordHead
    ) async -> CalibrationRecord {
        CalibrationRecord(
            sequence: head.sequence + 1, previousHash: head.hash,
            procedure: run.intent.procedure, outcome: outcome, inputs: run.inputs,
            result: run.staged, verification: run.verdict,
            parentGeneration: run.intent.parentGeneration, settingsBefore: run.intent.settings,
            settingsAfter: run.settings, published: nil, moves: run.moves,
            provenance: run.provenance, context: context, started: run.intent.started,
            finished: await environment.now())
    }

    private func failure(
        _ code: CalibrationFailureCode, _ run: Run, _ expected: String, _ found: String,
        _ advice: String
    ) -> CalibrationFailure {
        CalibrationFailure(
            code: code, procedure: run.intent.procedure, expected: expected, found: found,
            advice: advice)
    }

    private func exceeded(_ run: Run, _ limit: String) -> CalibrationFailure {
        failure(
            .limitExceeded, run, limit, "\(run.moves) moves, \(run.detections) detections so far",
            "check the signal and the actuators; raise the limit only with a reason")
    }

    private func environmentFailure(
        _ error: EnvironmentFailure, procedure: String, isRestored: Bool
    ) -> CalibrationFailure {
        CalibrationFailure(
            code: error.isCancellation ? .cancelled : .environment, procedure: procedure,
            expected: "the bench to follow", found: "\(error.code): \(error.message)",
            advice: "repair what the message names, then run it again", isRestored: isRestored)
    }

    private func publicationFailure(
        _ error: EnvironmentFailure, procedure: String
    ) -> CalibrationFailure {
        CalibrationFailure(
            code: .publicationFailed, procedure: procedure,
            expected: "the recorded snapshot in force", found: "\(error.code): \(error.message)",
            advice: "restart to recover; the result is safe in the history")
    }

    private func storeFailure(
        _ error: CalibrationStoreFailure, procedure: String
    ) -> CalibrationFailure {
        if case .intentPending(let sequence) = error {
            return CalibrationFailure(
                code: .recoveryNeeded, procedure: procedure, expected: "no run under way",
                found: "run \(sequence) not closed", advice: "wait for it, or restart to recover",
                isRestored: true)
        }
        return CalibrationFailure(
            code: .store, procedure: procedure, expected: "a working history",
            found: "\(error)", advice: "check the disk and the calibration history")
    }
}
