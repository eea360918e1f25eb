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
    let profile: DeviceProfile
    let host: any GPIOHost
    let reactor: any Reactor
    let lines: [TTLGatedLine]
    let consumer: String
    var outputs: [Instruments.LineRole: any GPIOOutput] = [:]
    var inputs: [Instruments.LineRole: any GPIOInput] = [:]
    var isOpen = false
    var isArmed = false
    var isGateOpen = false
    /// Counts the times the safe state was forced; who opens something compares before and after.
    var tripCount: UInt64 = 0
    var sessionCount: UInt64 = 0
    var events: [DetectorSafetyEvent] = []
    let eventArrived: WakeUp
    let eventTurns = TurnQueue()
    /// Who the detector is: the name of its wiring stands for a serial number.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good

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

    static let checkInterval = Duration.milliseconds(100)
    static let maxEvents = 16

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

    var name: String { identity.shortName }

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

    func release() async {
        for role in outputRoles { await outputs.removeValue(forKey: role)?.release() }
        for role in inputRoles { await inputs.removeValue(forKey: role)?.release() }
    }

    func requireOpen(_ operation: String) throws(DriverError) {
        guard !isOpen else { return }
        throw TTLGatedError.closed.driverError(instrument: name, operation: operation)
    }

    // MARK: Safety

    /// Drives the outputs to their safe levels in the profile's order: gate, then shutter, then bias.
    func makeSafe() async {
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
    func drive(_ role: Instruments.LineRole, to level: Bool?) async {
        guard let output = outputs[role], let line = lines.first(where: { $0.role == role }) else {
            return
        }
        do throws(GPIOError) { try await output.set(level ?? line.safeLevel) } catch {
            health = .failed("\(role.rawValue) can not be driven: \(error)")
        }
    }

    func watch(_ line: TTLGatedLine, _ session: UInt64) async {
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

    func checkNowAndThen(_ session: UInt64) async {
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

    func forbiddingLines() async throws(GPIOError) -> [TTLGatedLine] {
        var found: [TTLGatedLine] = []
        for line in lines where line.isWatched {
            guard let input = inputs[line.role] else { continue }
            if line.forbids(try await input.level()) { found.append(line) }
        }
        return found
    }

    func trip(
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
    func requirePermission(_ operation: String) async throws(DriverError) {
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

    func set(
        _ role: Instruments.LineRole, _ level: Bool, operation: String
    ) async throws(DriverError) {
        guard let output = outputs[role] else { return }
        do throws(GPIOError) { try await output.set(level) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    func requireNoTrip(since trips: UInt64, _ operation: String) throws(DriverError) {
        guard tripCount != trips else { return }
        let what = events.last.map(\.cause.rawValue) ?? "disarmed"
        throw TTLGatedError.trippedWhileArming(what)
            .driverError(instrument: name, operation: operation)
    }

    /// Waits for the end switches, where there are any; both at once is a fault.
    func waitForShutter(_ operation: String) async throws(DriverError) {
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
}
