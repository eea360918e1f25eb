import HostIO
import Instruments
import Quantities

// The gate and the single lines of a TTL-gated detector.

extension TTLGatedDriver {
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
