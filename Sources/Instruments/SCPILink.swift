import DeviceProfiles
import HostIO
import Quantities

/// Commands of a profile, as text messages to and from one instrument.
///
/// A command and its answer belong together: callers take turns, first come, first served.
package final class SCPILink: Sendable {
    private let port: any MessagePort
    private let profile: DeviceProfile
    private let reactor: any Reactor
    private let instrument: String
    private let terminator: String
    private let replyTimeout: Duration
    private let turns = TurnQueue()

    /// Longer than any reply of the instruments here.
    private static let longestReply = 4096
    /// How many entries of an error queue are read before giving up on its end.
    private static let longestQueue = 32

    package init(
        _ port: any MessagePort, profile: DeviceProfile, instrument: String, reactor: any Reactor
    ) throws(MissingProfileField) {
        let dialect = try profile.requireDialect()
        self.port = port
        self.profile = profile
        self.reactor = reactor
        self.instrument = instrument
        terminator = dialect.commandTerminator ?? "\n"
        replyTimeout = .nanoseconds(Int64(dialect.replyTimeoutMilliseconds * 1e6))
    }

    /// A link to a device of the test and measurement class.
    package static func open(
        _ profile: DeviceProfile, on host: any USBHost, _ summary: USBDeviceSummary,
        instrument: String, reactor: any Reactor
    ) async throws(DriverError) -> SCPILink {
        let operation = "open"
        let usb: USBIdentity
        do throws(MissingProfileField) { usb = try profile.requireUSB() } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
        let device: any USBDevice
        do throws(USBTransferError) { device = try await host.open(summary.id) } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
        let session: USBTMCSession
        do throws(MessageError) {
            session = try await USBTMCSession.open(
                device, interface: UInt8(usb.interface), reactor: reactor)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
        do throws(MissingProfileField) {
            return try SCPILink(
                session, profile: profile, instrument: instrument, reactor: reactor)
        } catch {
            await session.close()
            throw DriverError(error, instrument: instrument, operation: operation)
        }
    }

    /// Whether a model of an instrument is at the other end.
    package var isEmulated: Bool { port.isEmulated }

    /// Closes the port.
    package func close() async { await port.close() }

    // MARK: - Commands

    /// Sends a command that has no answer, and waits as long as it takes effect.
    package func send(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) {
        let (entry, text) = try encoded(command, values, operation: operation)
        try await turns.turn { () async throws(DriverError) in
            try await write(text, operation: operation)
        }
        if let settle = entry.settleMilliseconds {
            try await pause(milliseconds: settle, operation: operation)
        }
    }

    /// Sends a query; the answer without its end.
    package func query(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> String {
        let (entry, text) = try encoded(command, values, operation: operation)
        let timeout =
            entry.timeoutMilliseconds.map { Duration.nanoseconds(Int64($0 * 1e6)) } ?? replyTimeout
        return try await turns.turn { () async throws(DriverError) -> String in
            try await write(text, operation: operation)
            let bytes: [UInt8]
            do throws(MessageError) {
                bytes = try await port.receive(limit: Self.longestReply, timeout: timeout)
            } catch {
                throw DriverError(error, instrument: instrument, operation: operation)
            }
            guard let text = Self.text(bytes) else {
                throw malformed("ASCII text", "\(bytes.count) bytes", operation: operation)
            }
            return text
        }
    }

    /// A query that is answered with one number.
    package func number(
        _ command: String, operation: String
    ) async throws(DriverError) -> SCPI.Number {
        let reply = try await query(command, operation: operation)
        guard let number = SCPI.Number(reply) else {
            throw malformed("a number", "\"\(reply)\"", operation: operation)
        }
        return number
    }

    /// A query that is answered with one number that is a value.
    package func value(_ command: String, operation: String) async throws(DriverError) -> Double {
        let reply = try await query(command, operation: operation)
        guard case .value(let value) = SCPI.Number(reply) else {
            throw malformed("a number", "\"\(reply)\"", operation: operation)
        }
        return value
    }

    /// A query that is answered with yes or no.
    package func flag(_ command: String, operation: String) async throws(DriverError) -> Bool {
        let reply = try await query(command, operation: operation)
        guard let flag = SCPI.flag(reply) else {
            throw malformed("TRUE or FALSE", "\"\(reply)\"", operation: operation)
        }
        return flag
    }

    /// Empties the error queue with the query `command`; what was in it, oldest first.
    package func queuedErrors(
        _ command: String, operation: String
    ) async throws(DriverError) -> [SCPI.QueuedError] {
        var errors: [SCPI.QueuedError] = []
        while errors.count < Self.longestQueue {
            let reply = try await query(command, operation: operation)
            guard let entry = SCPI.QueuedError(reply) else {
                throw malformed("an error number and text", "\"\(reply)\"", operation: operation)
            }
            if entry.code == 0 { break }
            errors.append(entry)
        }
        return errors
    }

    /// Runs a sequence of the profile; nothing when it has none of this name.
    package func perform(_ sequence: String, operation: String) async throws(DriverError) {
        for step in profile.sequences[sequence] ?? [] {
            switch step {
            case .command(let command, let values):
                try await send(command, values, operation: operation)
            case .wait(let milliseconds):
                try await pause(milliseconds: milliseconds, operation: operation)
            case .startReading, .stopReading, .line: continue
            }
        }
    }

    /// Waits; a cancelled task throws `cancelled`.
    package func pause(milliseconds: Double, operation: String) async throws(DriverError) {
        do { try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6))) } catch {
            throw DriverError(
                .cancelled as USBTransferError, instrument: instrument, operation: operation)
        }
    }

    private func encoded(
        _ command: String, _ values: [Double], operation: String
    ) throws(DriverError) -> (Command, String) {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
        do throws(CommandEncodingError) {
            return (entry, try entry.text(values) + terminator)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
    }

    private func write(_ text: String, operation: String) async throws(DriverError) {
        do throws(MessageError) {
            try await port.send(Array(text.utf8), timeout: replyTimeout)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
    }

    /// The reply without the line end that some instruments put before the end of the message.
    private static func text(_ bytes: [UInt8]) -> String? {
        var bytes = bytes[...]
        while let last = bytes.last, last == 0x0A || last == 0x0D || last == 0x20 {
            bytes.removeLast()
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func malformed(
        _ expected: String, _ found: String, operation: String
    ) -> DriverError {
        DriverError(
            code: .malformedReply, instrument: instrument, operation: operation,
            expected: expected, found: found,
            advice: "check model and firmware against the profile, then open the instrument again")
    }
}
