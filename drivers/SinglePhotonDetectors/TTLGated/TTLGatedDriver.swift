// Single-photon detector module without a digital bus (SPCM-AQRH class): a TTL gate input, a pulse
// output that goes to a time tagger, and the safety lines a bench wires around it.
//
// Sources: Excelitas SPCM-AQRH data sheet (gate polarity), Linux kernel documentation
// userspace-api/gpio (edges of uAPI v1 are dropped silently once 16 wait).
//
// The safe state wins over everything: a safety line closes the gate before anybody is told, arming
// is refused while one forbids it, and the lines are read again from time to time in case an edge
// was lost. Levels at the death of the process are a matter of hardware: the bench needs pull-downs.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of a TTL-gated detector.
public actor TTLGatedDriver: SinglePhotonDetector, DetectorGating, DigitalOutputs, EdgeInputs {
    private let profile: DeviceProfile
    private let host: any GPIOHost
    private let reactor: any Reactor
    private let lines: [TTLGatedLine]
    private let consumer: String
    private var outputs: [Instruments.LineRole: any GPIOOutput] = [:]
    private var inputs: [Instruments.LineRole: any GPIOInput] = [:]
    private var isOpen = false
    private var isArmed = false
    private var isGateOpen = false
    /// Counts the times the safe state was forced; who opens something compares before and after.
    private var tripCount: UInt64 = 0
    private var sessionCount: UInt64 = 0
    private var events: [DetectorSafetyEvent] = []
    private let eventArrived: WakeUp
    private let eventTurns = TurnQueue()
    /// Who the detector is: the name of its wiring stands for a serial number.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The bias is switched by a line, not set.
    public var biasing: (any DetectorBiasing)? { nil }
    /// The cooler is a device of its own.
    public var cooling: (any DetectorCooling)? { nil }
    /// The gate enable line.
    public var gating: (any DetectorGating)? { self }
    /// Pulses are counted by the time tagger.
    public var counting: (any PulseCounting)? { nil }
    /// The outputs that are wired, in the order of the profile.
    public let outputRoles: [Instruments.LineRole]
    /// The inputs that are wired, in the order of the profile.
    public let inputRoles: [Instruments.LineRole]

    private static let checkInterval = Duration.milliseconds(100)
    private static let maxEvents = 16

    /// A driver of the detector called `name`, wired as `wiring` says.
    ///
    /// - Throws: `wrongDevice` when a line the profile requires is missing.
    public init(
        profile: DeviceProfile, name: String, wiring: LineAssignment, host: any GPIOHost,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.host = host
        self.reactor = reactor
        do throws(TTLGatedError) { lines = try TTLGatedWire.lines(profile, wiring) } catch {
            throw error.driverError(
                instrument: "\(profile.identity.model) \(name)", operation: "read the wiring")
        }
        outputRoles = lines.map(\.role).filter(\.isOutput)
        inputRoles = lines.map(\.role).filter { !$0.isOutput }
        consumer = "berek \(name)"
        eventArrived = WakeUp(on: reactor)
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: name,
            firmware: "", profile: profile.id, provenance: .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Takes the lines, outputs first and at their safe levels, and starts to watch the safety lines.
    public func open() async throws(DriverError) {
        guard !isOpen else { return }
        do throws(GPIOError) {
            let chips = try await host.chips()
            let used = Set(lines.map(\.line.chip))
            let isEmulated = chips.contains { used.contains($0.name) && $0.isEmulated }
            identity.provenance = isEmulated ? .emulated : .device
            for line in lines {
                let options = GPIOLineOptions(consumer: consumer, isActiveLow: line.isActiveLow)
                if line.role.isOutput {
                    outputs[line.role] = try await host.output(
                        line.line, safeLevel: line.safeLevel, options: options)
                } else {
                    inputs[line.role] = try await host.input(line.line, options: options)
                }
            }
        } catch {
            await release()
            throw DriverError(error, instrument: name, operation: "open")
        }
        isOpen = true
        sessionCount += 1
        events = []
        health = .good
        let session = sessionCount
        for line in lines where line.isWatched {
            reactor.start { await self.watch(line, session) }
        }
        reactor.start { await self.checkNowAndThen(session) }
    }

    /// Brings every output to its safe level and gives the lines back.
    public func close() async {
        guard isOpen else { return }
        isOpen = false
        await makeSafe()
        await release()
        eventArrived.wake()
    }

    private func release() async {
        for role in outputRoles { await outputs.removeValue(forKey: role)?.release() }
        for role in inputRoles { await inputs.removeValue(forKey: role)?.release() }
    }

    private func requireOpen(_ operation: String) throws(DriverError) {
        guard !isOpen else { return }
        throw TTLGatedError.closed.driverError(instrument: name, operation: operation)
    }

    // MARK: Safety

    /// Drives the outputs to their safe levels in the profile's order: gate, then shutter, then bias.
    private func makeSafe() async {
        tripCount += 1
        isArmed = false
        isGateOpen = false
        // The gate first, whatever the profile says: it is what keeps light from the detector.
        await drive(.gateEnable, to: nil)
        for case .line(let role, let isActive) in profile.sequences["safe"] ?? [] {
            guard let role = Instruments.LineRole(rawValue: role) else { continue }
            await drive(role, to: isActive)
        }
    }

    /// Drives a line that may be missing; nil means its safe level. A failure is a failed detector.
    private func drive(_ role: Instruments.LineRole, to level: Bool?) async {
        guard let output = outputs[role], let line = lines.first(where: { $0.role == role }) else {
            return
        }
        do throws(GPIOError) { try await output.set(level ?? line.safeLevel) } catch {
            health = .failed("\(role.rawValue) can not be driven: \(error)")
        }
    }

    private func watch(_ line: TTLGatedLine, _ session: UInt64) async {
        while isOpen, sessionCount == session, let input = inputs[line.role] {
            do throws(GPIOError) {
                let edge = try await input.nextEdge()
                var level: Bool?
                // A drain that may have lost edges says nothing about where the line is now.
                if edge.lossPossible { level = try await input.level() }
                guard TTLGatedWire.trips(line, edge: edge, levelAfter: level) else { continue }
                await trip(line.cause, "\(line.role.rawValue) reported", at: edge.time)
            } catch {
                guard isOpen, sessionCount == session else { return }
                // A safety line that can not be read forbids operation.
                await trip(.fault, "\(line.role.rawValue) can not be read", at: reactor.now)
                health = .failed("\(line.role.rawValue) can not be read: \(error)")
                return
            }
        }
    }

    private func checkNowAndThen(_ session: UInt64) async {
        while isOpen, sessionCount == session {
            guard (try? await reactor.sleep(for: Self.checkInterval)) != nil else { return }
            guard isOpen, sessionCount == session else { return }
            guard isArmed || isGateOpen else { continue }
            guard let forbidding = try? await forbiddingLines() else {
                await trip(.fault, "a safety line can not be read", at: reactor.now)
                continue
            }
            if let line = forbidding.first, isArmed || isGateOpen {
                await trip(line.cause, "\(line.role.rawValue) found active", at: reactor.now)
            }
        }
    }

    private func forbiddingLines() async throws(GPIOError) -> [TTLGatedLine] {
        var found: [TTLGatedLine] = []
        for line in lines where line.isWatched {
            guard let input = inputs[line.role] else { continue }
            if line.forbids(try await input.level()) { found.append(line) }
        }
        return found
    }

    private func trip(
        _ cause: DetectorSafetyEvent.Cause, _ what: String, at time: HostInstant
    ) async {
        await makeSafe()
        if case .failed = health {} else { health = .degraded(what) }
        // Old events say less than the first ones after a quiet time: the newest are dropped.
        if events.count < Self.maxEvents {
            events.append(DetectorSafetyEvent(cause: cause, time: time))
        }
        eventArrived.wake()
    }

    /// Refuses while a safety line forbids operation.
    private func requirePermission(_ operation: String) async throws(DriverError) {
        try requireOpen(operation)
        let forbidding: [TTLGatedLine]
        do throws(GPIOError) { forbidding = try await forbiddingLines() } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        guard forbidding.isEmpty else {
            throw TTLGatedError.forbidden(by: forbidding.map(\.role.rawValue))
                .driverError(instrument: name, operation: operation)
        }
    }

    // MARK: Arming

    /// Runs the profile's order of switching on, with the safety lines checked before every step.
    ///
    /// - Throws: `interlock` when a safety line forbids it or reports meanwhile; `deviceFault` when
    ///   the shutter does not open. Every output is then at its safe level.
    public func arm() async throws(DriverError) {
        let operation = "arm"
        try requireOpen(operation)
        let trips = tripCount
        do throws(DriverError) {
            for step in profile.sequences["arm"] ?? [] {
                try await requirePermission(operation)
                try requireNoTrip(since: trips, operation)
                switch step {
                case .line(let role, let isActive):
                    guard let role = Instruments.LineRole(rawValue: role) else { continue }
                    try await set(role, isActive, operation: operation)
                    if role == .shutterCommand, isActive { try await waitForShutter(operation) }
                case .wait(let milliseconds):
                    do {
                        try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6)))
                    } catch {
                        throw DriverError(.cancelled, instrument: name, operation: operation)
                    }
                case .command, .startReading, .stopReading: continue
                }
                try requireNoTrip(since: trips, operation)
            }
        } catch {
            await makeSafe()
            throw error
        }
        isArmed = true
        isGateOpen = outputs[.gateEnable] != nil
        health = .good
    }

    private func set(
        _ role: Instruments.LineRole, _ level: Bool, operation: String
    ) async throws(DriverError) {
        guard let output = outputs[role] else { return }
        do throws(GPIOError) { try await output.set(level) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    private func requireNoTrip(since trips: UInt64, _ operation: String) throws(DriverError) {
        guard tripCount != trips else { return }
        let what = events.last.map(\.cause.rawValue) ?? "disarmed"
        throw TTLGatedError.trippedWhileArming(what)
            .driverError(instrument: name, operation: operation)
    }

    /// Waits for the end switches, where there are any; both at once is a fault.
    private func waitForShutter(_ operation: String) async throws(DriverError) {
        guard inputs[.shutterOpen] != nil else { return }
        let patience = (profile.timing["shutter_move_ms"] ?? 100) * 3
        let deadline = reactor.now + .nanoseconds(Int64(patience * 1e6))
        while true {
            let isOpened = try await level(.shutterOpen)
            let isClosed = inputs[.shutterClosed] == nil ? false : try await level(.shutterClosed)
            if isOpened, !isClosed { return }
            guard reactor.now < deadline else {
                throw TTLGatedError.shutter(
                    isOpened ? "both end switches report" : "no report from the open end"
                ).driverError(instrument: name, operation: operation)
            }
            do { try await reactor.sleep(for: .milliseconds(5)) } catch {
                throw DriverError(.cancelled, instrument: name, operation: operation)
            }
        }
    }

    /// Closes the gate, then the shutter, then switches the bias off.
    public func disarm() async throws(DriverError) {
        try requireOpen("disarm")
        await makeSafe()
        if case .failed(let what) = health {
            throw DriverError(
                code: .deviceFault, instrument: name, operation: "disarm",
                expected: "outputs at their safe levels", found: what,
                advice: "switch the module off by hand")
        }
    }

    /// The levels of the lines, read now.
    public func status() async throws(DriverError) -> DetectorStatus {
        try requireOpen("status")
        let forbidding: [TTLGatedLine]
        do throws(GPIOError) { forbidding = try await forbiddingLines() } catch {
            throw DriverError(error, instrument: name, operation: "status")
        }
        return DetectorStatus(
            isCounting: isArmed && isGateOpen,
            hasFault: forbidding.contains { $0.cause == .fault },
            isOverlit: forbidding.contains { $0.cause == .overLight },
            interlockClosed: !forbidding.contains { $0.cause == .interlockOpened })
    }

    // MARK: Gating

    /// Opens or closes the gate of an armed detector.
    public func setGateEnabled(_ isEnabled: Bool) async throws(DriverError) {
        let operation = isEnabled ? "open the gate" : "close the gate"
        try requireOpen(operation)
        guard outputs[.gateEnable] != nil else {
            throw TTLGatedError.notWired(.gateEnable)
                .driverError(instrument: name, operation: operation)
        }
        guard isEnabled else {
            isGateOpen = false
            try await set(.gateEnable, false, operation: operation)
            return
        }
        guard isArmed else {
            throw TTLGatedError.notArmed.driverError(instrument: name, operation: operation)
        }
        let trips = tripCount
        try await requirePermission(operation)
        try requireNoTrip(since: trips, operation)
        try await set(.gateEnable, true, operation: operation)
        guard tripCount == trips else {
            // The safe level may have been driven before ours.
            await makeSafe()
            try requireNoTrip(since: trips, operation)
            return
        }
        isGateOpen = true
    }

    /// The next safety event; the outputs are already safe.
    public func nextSafetyEvent() async throws(DriverError) -> DetectorSafetyEvent {
        let operation = "wait for a safety event"
        return try await eventTurns.turn { () async throws(DriverError) -> DetectorSafetyEvent in
            while events.isEmpty {
                try requireOpen(operation)
                if await eventArrived.wait() == .cancelled {
                    throw DriverError(.cancelled, instrument: name, operation: operation)
                }
            }
            return events.removeFirst()
        }
    }

    // MARK: Single lines

    /// Drives the shutter or the gate; opening either is refused while a safety line forbids it.
    public func set(_ role: Instruments.LineRole, _ level: Bool) async throws(DriverError) {
        let operation = "set \(role.rawValue)"
        switch role {
        case .gateEnable: try await setGateEnabled(level)
        case .shutterCommand:
            guard outputs[role] != nil else {
                throw TTLGatedError.notWired(role).driverError(
                    instrument: name, operation: operation)
            }
            let trips = tripCount
            if level { try await requirePermission(operation) }
            try await set(role, level, operation: operation)
            if level, tripCount != trips {
                await makeSafe()
                try requireNoTrip(since: trips, operation)
            }
        default:
            throw TTLGatedError.reserved(role).driverError(instrument: name, operation: operation)
        }
    }

    /// The logical level of an input.
    public func level(_ role: Instruments.LineRole) async throws(DriverError) -> Bool {
        let operation = "read \(role.rawValue)"
        try requireOpen(operation)
        guard let input = inputs[role] else {
            throw TTLGatedError.notWired(role).driverError(instrument: name, operation: operation)
        }
        do throws(GPIOError) { return try await input.level() } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    /// The next edge of an input that is not a safety line, such as the pulse per second.
    public func nextEdge(_ role: Instruments.LineRole) async throws(DriverError) -> GPIOEdge {
        let operation = "wait for \(role.rawValue)"
        try requireOpen(operation)
        guard lines.contains(where: { $0.role == role && !$0.isWatched }) else {
            throw TTLGatedError.reserved(role).driverError(instrument: name, operation: operation)
        }
        guard let input = inputs[role] else {
            throw TTLGatedError.notWired(role).driverError(instrument: name, operation: operation)
        }
        do throws(GPIOError) { return try await input.nextEdge() } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    /// Reads every input; drives nothing.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        try requireOpen("self-test")
        var checks: [SelfTestReport.Check] = []
        for line in lines where !line.role.isOutput {
            let level = try await level(line.role)
            checks.append(
                .init(
                    name: line.role.rawValue, passed: !line.forbids(level),
                    detail: level ? "active" : "inactive"))
        }
        if inputs[.shutterOpen] != nil, inputs[.shutterClosed] != nil {
            let isOpened = try await level(.shutterOpen)
            let isClosed = try await level(.shutterClosed)
            checks.append(
                .init(
                    name: "shutter ends", passed: !(isOpened && isClosed),
                    detail: "open \(isOpened), closed \(isClosed)"))
        }
        return SelfTestReport(checks: checks)
    }
}
