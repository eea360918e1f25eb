import HostIO
import LinkTypes
import Quantities

/// Waits for the same unit, makes its driver and opens it; tries again while it is not ready yet.
struct Returning: Sendable {
    let returns: any DeviceReturns
    let policy: ResumePolicy
    let reactor: any Reactor
    /// Makes the driver of a device that is back.
    let make: @Sendable (DiscoveredDevice) async throws(DriverError) -> any Instrument

    /// The longest wait before asking whether the instrument is still wanted.
    private static let slice = Duration.seconds(1)

    /// What came back.
    struct Reopened {
        var instrument: any Instrument
        var unit: DeviceUnit
    }

    /// Whether a failure means that the unit left: it says so, or the list of devices does shortly.
    func hasLeft(_ unit: DeviceUnit, after error: DriverError) async -> Bool {
        switch error.code {
        case .disconnected: return true
        case .transport, .timedOut:
            let limit = reactor.now + policy.departureGrace
            while reactor.now < limit {
                await returns.look()
                if await !returns.isAttached(unit) { return true }
                guard (try? await reactor.sleep(for: .milliseconds(100))) != nil else {
                    return false
                }
            }
            return false
        default: return false
        }
    }

    /// Opens `unit` once it is back.
    ///
    /// - Parameters:
    ///   - identity: what the instrument said of itself before; it must say the same again, unless
    ///     another unit was accepted.
    ///   - since: when the absence was noticed.
    ///   - isWanted: whether to go on waiting.
    /// - Returns: nil when it is no longer wanted.
    /// - Throws: `disconnected` when it does not come in time; `wrongDevice` when another unit is in
    ///   its place and was not accepted; what opening throws when waiting does not help.
    func reopen(
        _ unit: DeviceUnit, identity: InstrumentIdentity, since: HostInstant,
        isWanted: () async -> Bool
    ) async throws(DriverError) -> Reopened? {
        let deadline = since + policy.patience
        var lastFailure: DriverError?
        while true {
            guard await isWanted() else { return nil }
            await returns.look()
            let outcome = await returns.waitForReturn(
                of: unit, until: min(deadline, reactor.now + Self.slice))
            guard case .returned(let device) = outcome else {
                if outcome != .cancelled, reactor.now < deadline { continue }
                if outcome != .cancelled, let lastFailure { throw lastFailure }
                throw outcome.failure(of: unit, after: policy.patience) ?? Self.impossible(unit)
            }
            let found = await returns.unit(of: device)
            do throws(DriverError) {
                let instrument = try await make(device)
                try await open(
                    instrument, identity, isAccepted: !unit.differences(of: found).isEmpty)
                return Reopened(instrument: instrument, unit: found)
            } catch {
                guard Self.mayPass(error), reactor.now + policy.retryPause < deadline else {
                    throw error
                }
                lastFailure = error
            }
            do { try await reactor.sleep(for: policy.retryPause) } catch {
                throw DeviceReturnOutcome.cancelled.failure(of: unit, after: policy.patience)
                    ?? Self.impossible(unit)
            }
        }
    }

    private func open(
        _ instrument: any Instrument, _ expected: InstrumentIdentity, isAccepted: Bool
    ) async throws(DriverError) {
        try await instrument.open()
        let found = await instrument.identity
        // The instrument itself knows more than its descriptors show.
        guard
            isAccepted
                || (found.serial == expected.serial && found.firmware == expected.firmware
                    && found.profile == expected.profile && found.provenance == expected.provenance)
        else {
            await instrument.close()
            throw DriverError(
                code: .wrongDevice, instrument: expected.shortName, operation: "reopen",
                expected: Self.description(of: expected), found: Self.description(of: found),
                advice: "plug the former unit in again, or start anew to use this one")
        }
    }

    private static func description(of identity: InstrumentIdentity) -> String {
        func shown(_ text: String) -> String { text.isEmpty ? "none" : text }
        return "profile \(identity.profile), serial \(shown(identity.serial)), firmware "
            + "\(shown(identity.firmware)), \(identity.provenance.rawValue)"
    }

    /// Whether a failure to open may go away by itself: the device is still settling, or left again.
    private static func mayPass(_ error: DriverError) -> Bool {
        switch error.code {
        case .disconnected, .transport, .timedOut, .malformedReply, .wrongState: true
        default: false
        }
    }

    private static func impossible(_ unit: DeviceUnit) -> DriverError {
        DriverError(
            code: .wrongState, instrument: unit.shortName, operation: "wait for its return",
            expected: "an outcome", found: "none", advice: "report this defect")
    }
}
