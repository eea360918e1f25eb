import DeviceProfiles
import Emulated
import EventPipeline
import HostIO
import LinkTypes
import LinuxIO
import OpticalBench
import Quantities
import Synchronization

/// How time passes on a bench that is served.
public enum BenchClock: String, CaseIterable, Sendable {
    /// As on the wall.
    case real
    /// It stands still until it is told to go on.
    case virtual
}

/// A bench that runs for other programs: its time, its faults, and the answers to requests.
final class ServedBench: Sendable {
    let link: EmulatedLink
    let clock: BenchClock
    private let base: EpollReactor
    /// The clock of a bench whose time stands.
    private let stepped: SteppedReactor?
    private let faults = Mutex(FaultList())
    private let unplugged = Mutex<Set<String>>([])
    private let lacksReceiverTagger: Bool

    private struct FaultList {
        var next: UInt64 = 1
        var planned: [UInt64: (time: HostInstant, fault: BenchFault, token: TimerToken)] = [:]
    }

    init(
        file: BenchFile, catalog: ProfileCatalog, clock: BenchClock, certified: Bool,
        reactor: EpollReactor, cable: (String) -> SerialCable
    ) throws {
        self.clock = clock
        base = reactor
        let stepped = clock == .virtual ? SteppedReactor(on: reactor) : nil
        self.stepped = stepped
        var bare = file
        bare.faults = []
        link = try EmulatedLink(
            file: bare, plan: LinkPlan(), catalog: catalog, reactor: stepped ?? reactor,
            certified: certified, cable: cable)
        lacksReceiverTagger = !file.devices.contains { $0.terminal == .receiverInputs }
        // Kept here, where they can be listed and taken back.
        for planned in file.faults { plan(planned.fault, after: planned.after) }
    }

    private var context: EmulationContext { link.devices.context }
    private var benchSeconds: Double { context.benchTime(at: context.now).seconds }

    /// Lets instruments that nobody asks anything live on, so that an idle hour is not made up for
    /// while a client waits.
    func keepPace() {
        link.devices.keepPace()
        link.source.keepPace(discardingReceiverInputs: lacksReceiverTagger)
    }

    /// Calls `keepPace` until `isStopped`.
    func run(isStopped: @escaping @Sendable () -> Bool) async {
        while !isStopped() {
            if stepped == nil { keepPace() }
            guard (try? await base.sleep(for: .milliseconds(20))) != nil else { return }
        }
    }

    // MARK: - Requests

    /// Carries a request out. `stop` and `devices` are the server's.
    func perform(_ request: BenchRequest) async throws(BenchControlError) -> JSONText {
        switch request {
        case .status, .stop: return status
        case .devices: return .array([])
        case .truth: return truth
        case .inject(let fault, nil): return try inject(fault)
        case .inject(let fault, let after?):
            try check(fault)
            return .object([("fault", .count(plan(fault, after: after)))])
        case .faults: return planned
        case .cancel(let number): return try cancel(number)
        case .plug(let name): return try setPlugged(true, name)
        case .unplug(let name): return try setPlugged(false, name)
        case .advance(let duration): return try await advance(by: duration)
        }
    }

    private var status: JSONText {
        .object([
            ("bench", .string(link.file.name)), ("file", .string(link.file.file)),
            ("seed", .count(link.file.seed)), ("clock", .string(clock.rawValue)),
            ("time_s", .number(benchSeconds)),
            ("devices", .integer(Int64(link.file.devices.count))), ("emulated", .bool(true)),
        ])
    }

    private func advance(by duration: Duration) async throws(BenchControlError) -> JSONText {
        guard let stepped else {
            throw BenchControlError(
                .notPossible, "a bench served with --clock virtual", "one whose clock is real")
        }
        guard await stepped.advance(by: duration, onSlice: { [self] in keepPace() }) else {
            throw BenchControlError(
                .notPossible, "one client that advances the clock at a time", "another one")
        }
        return .object([("time_s", .number(benchSeconds))])
    }

    private func setPlugged(
        _ isPlugged: Bool, _ name: String
    ) throws(BenchControlError) -> JSONText {
        try checkName(name)
        let done = isPlugged ? link.devices.plugIn(name) : link.devices.unplug(name)
        guard done else {
            throw BenchControlError(
                .notPossible, "an instrument with a plug", "\(name), which is wired to GPIO lines")
        }
        unplugged.withLock { names in
            if isPlugged { names.remove(name) } else { names.insert(name) }
        }
        return .object([("device", .string(name)), ("plugged_in", .bool(isPlugged))])
    }

    /// Whether the plug of the instrument has not been pulled by a request.
    func isPluggedIn(_ name: String) -> Bool { !unplugged.withLock { $0.contains(name) } }

    // MARK: - Faults

    private func checkName(_ name: String) throws(BenchControlError) {
        guard link.devices.contains(name) else {
            let names = link.file.devices.map(\.name).joined(separator: ", ")
            throw BenchControlError(.notFound, "one of \(names)", "'\(name)'")
        }
    }

    private func check(_ fault: BenchFault) throws(BenchControlError) {
        if let name = fault.device { try checkName(name) }
    }

    private func inject(_ fault: BenchFault) throws(BenchControlError) -> JSONText {
        try check(fault)
        guard link.inject(fault) else {
            throw BenchControlError(
                .notPossible, "a fault that \(fault.device ?? "the bench") has as it is now",
                Self.words(of: fault))
        }
        return .object([("time_s", .number(benchSeconds))])
    }

    @discardableResult
    private func plan(_ fault: BenchFault, after: Duration) -> UInt64 {
        let number = faults.withLock { list in
            defer { list.next += 1 }
            return list.next
        }
        let time = context.now + after
        // The list is locked until the token is in it: the fault may strike at once.
        faults.withLock { list in
            let token = context.reactor.schedule(at: time) { [weak self] in
                guard let self else { return }
                if faults.withLock({ $0.planned.removeValue(forKey: number) }) != nil {
                    link.inject(fault)
                }
            }
            list.planned[number] = (time, fault, token)
        }
        return number
    }

    private func cancel(_ number: UInt64) throws(BenchControlError) -> JSONText {
        guard let taken = faults.withLock({ $0.planned.removeValue(forKey: number) }) else {
            throw BenchControlError(
                .notFound, "the number of a fault that is planned (list them with 'faults')",
                "\(number)")
        }
        context.reactor.cancel(taken.token)
        return .object([("fault", .count(number))])
    }

    private var planned: JSONText {
        let list = faults.withLock { $0.planned }
        return .array(
            list.sorted { ($0.value.time, $0.key) < ($1.value.time, $1.key) }.map { entry in
                .object([
                    ("fault", .count(entry.key)),
                    ("at_s", .number(context.benchTime(at: entry.value.time).seconds)),
                    ("what", .string(Self.words(of: entry.value.fault))),
                ])
            })
    }

    /// A fault in words.
    static func words(of fault: BenchFault) -> String {
        switch fault {
        case .device(let name, let fault):
            var text = "\(fault.kind.rawValue) of \(name)"
            if let detail = fault.detail { text += ", detail \(detail)" }
            if let endpoint = fault.endpoint { text += ", endpoint \(endpoint)" }
            return text + lasting(fault.duration)
        case .optics(let fault, let duration):
            let text =
                switch fault {
                case .blinding(let detector):
                    "blinding of detector \(BenchFaultFields.detectors[detector])"
                case .extraLoss(let loss): "extra_loss of \(number(loss.rawValue)) dB"
                case .background(let rate): "background of \(number(rate.rawValue)) Hz"
                case .fibreJump: "fibre_jump"
                case .interceptResend(let fraction):
                    "intercept_resend of \(number(fraction)) of the pulses"
                }
            return text + lasting(duration)
        }
    }

    private static func lasting(_ duration: Duration?) -> String {
        duration.map { ", for \(number($0.inSeconds)) s" } ?? ""
    }

    // MARK: - Truth

    /// What no receiver can know, under names that stay.
    private var truth: JSONText {
        let state = link.source.state()
        let truth = state.truth
        func numbers(_ values: [Double]) -> JSONText { .array(values.map(JSONText.number)) }
        func rotation(_ rotation: StokesRotation) -> JSONText {
            .array((0..<3).map { row in numbers((0..<3).map { rotation[row, $0] }) })
        }
        let detectors = BenchFaultFields.detectors.indices.map { index in
            JSONText.object([
                ("port", .string(BenchFaultFields.detectors[index])),
                ("clicks", .count(state.clicks[index])),
                ("temperature_c", .number(truth.temperatures[index].rawValue)),
                ("efficiency", .number(truth.operatingPoints[index].efficiency)),
                ("dark_rate_hz", .number(truth.operatingPoints[index].darkRate)),
                ("blinded", .bool(state.blinded[index])),
            ])
        }
        return .object([
            ("seed", .count(link.file.seed)), ("time_s", .number(truth.time.seconds)),
            ("time_ps", .integer(truth.time.rawValue)),
            ("plate_angles_deg", numbers(state.plateAngles.map { $0.rawValue * 180 / .pi })),
            ("fibre_rotation", rotation(truth.fibreRotation)),
            ("controller_rotation", rotation(truth.controllerRotation)),
            ("total_rotation", rotation(truth.totalRotation)),
            (
                "misalignment",
                .object([
                    ("z", .number(truth.misalignmentZ)), ("x", .number(truth.misalignmentX)),
                ])
            ),
            (
                "optical_error",
                .object([("z", .number(truth.opticalErrorZ)), ("x", .number(truth.opticalErrorX))])
            ),
            ("source_frequency_error", .number(truth.sourceFrequencyError)),
            ("receiver_frequency_error", .number(truth.receiverFrequencyError)),
            ("detectors", .array(detectors)),
        ])
    }
}
