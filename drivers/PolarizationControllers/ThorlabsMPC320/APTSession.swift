import DeviceProfiles
import HostIO
import Instruments
import Quantities

/// The conversation with one APT controller: sends commands at the allowed rate, reads messages as
/// they come, hands each to whoever waits for it, and keeps the status updates alive.
///
/// Belongs to the driver actor. Reading goes on all the time, so that `halt` and the status updates
/// do not depend on who waits for what.
final class APTSession {
    /// What a waiter is to be woken by.
    struct Expectation: Hashable {
        var messages: [UInt16]
        /// The paddle's bit; nil when the message concerns none.
        var mask: UInt16?
    }

    fileprivate final class Waiter {
        let expectation: Expectation
        let wakeUp: WakeUp
        var frame: APTFrame?
        var fault: DriverError?
        init(_ expectation: Expectation, _ wakeUp: WakeUp) {
            self.expectation = expectation
            self.wakeUp = wakeUp
        }
    }

    /// A message that is waited for. Made before the command is sent, so that it can not be missed.
    struct Ticket {
        fileprivate let waiter: Waiter
        let name: String
    }

    let stream: InstrumentStream
    private let profile: DeviceProfile
    private let wire: APTWire
    private let reactor: any Reactor
    private let instrument: String
    private var unpacker: APTUnpacker
    private var waiters: [Waiter] = []
    private(set) var latestStatus: [UInt16: APTStatus] = [:]
    private(set) var failure: DriverError?
    private var nextSend = HostInstant.zero
    private let sending = TurnQueue()
    private(set) var isEnded = false

    private static let writeTimeout = Duration.seconds(1)
    private static let restTimeout = Duration.milliseconds(200)

    init(
        _ stream: InstrumentStream, profile: DeviceProfile, wire: APTWire, reactor: any Reactor,
        instrument: String
    ) {
        self.stream = stream
        self.profile = profile
        self.wire = wire
        self.reactor = reactor
        self.instrument = instrument
        unpacker = wire.unpacker()
    }

    // MARK: Sending

    /// Sends a command, not sooner than the profile's gap after the one before.
    ///
    /// - Parameter isUrgent: do not wait; a stop must not queue behind anything.
    func send(
        _ command: String, _ values: [Double] = [], isUrgent: Bool = false, operation: String
    ) async throws(DriverError) {
        let bytes = try encoded(command, values, operation: operation)
        if isUrgent {
            try await write(bytes, operation: operation)
            return
        }
        try await sending.turn { () async throws(DriverError) in
            if reactor.now < nextSend {
                do { try await reactor.sleep(until: nextSend) } catch {
                    throw DriverError(.cancelled, instrument: instrument, operation: operation)
                }
            }
            try await write(bytes, operation: operation)
            let gap = profile.dialect?.minGapMilliseconds ?? 0
            nextSend = reactor.now + .nanoseconds(Int64((gap * 1e6).rounded()))
        }
    }

    private func encoded(
        _ command: String, _ values: [Double], operation: String
    ) throws(DriverError) -> [UInt8] {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
        do throws(CommandEncodingError) { return try wire.frame(entry, values) } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
    }

    private func write(_ bytes: [UInt8], operation: String) async throws(DriverError) {
        if let failure { throw failure }
        do throws(ByteStreamError) {
            try await stream.bytes.write(bytes, timeout: Self.writeTimeout)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
    }

    // MARK: Waiting

    /// Begins to wait for one of the profile's messages.
    func expect(
        _ messages: [String], mask: UInt16? = nil, operation: String
    ) throws(DriverError) -> Ticket {
        var numbers: [UInt16] = []
        for name in messages {
            guard let message = profile.dialect?.messages[name] else {
                throw DriverError(
                    MissingProfileField(profile: profile.id, path: "dialect.messages.\(name)"),
                    instrument: instrument, operation: operation)
            }
            numbers.append(message.opcode)
        }
        let waiter = Waiter(Expectation(messages: numbers, mask: mask), WakeUp(on: reactor))
        waiters.append(waiter)
        return Ticket(waiter: waiter, name: messages.joined(separator: " or "))
    }

    /// Waits until the message of `ticket` has come.
    func frame(
        for ticket: Ticket, timeout: Duration, operation: String
    ) async throws(DriverError) -> APTFrame {
        defer { forget(ticket) }
        let deadline = reactor.now + timeout
        while true {
            if let frame = ticket.waiter.frame { return frame }
            if let failure { throw failure }
            if let fault = ticket.waiter.fault { throw fault }
            switch await ticket.waiter.wakeUp.wait(until: deadline) {
            case .woken: continue
            case .timedOut:
                throw ThorlabsMPC320Error.noReply(message: ticket.name)
                    .driverError(instrument: instrument, operation: operation)
            case .cancelled:
                throw DriverError(.cancelled, instrument: instrument, operation: operation)
            }
        }
    }

    /// Stops waiting.
    func forget(_ ticket: Ticket) { waiters.removeAll { $0 === ticket.waiter } }

    /// The name the profile gives a frame's message.
    func name(of frame: APTFrame) -> String { wire.name(of: frame.message) ?? "unknown" }

    // MARK: Receiving

    /// One step of the reading loop: reads what is there and hands it out. False at the end.
    func readOnce() async -> Bool {
        guard !isEnded else { return false }
        let timeout = unpacker.isWaitingForRest ? Self.restTimeout : .seconds(60)
        do throws(ByteStreamError) {
            let bytes = try await stream.bytes.read(upTo: 4096, timeout: timeout)
            for frame in unpacker.take(bytes) { receive(frame) }
        } catch .timedOut {
            // A rest that does not come within a latency period was never sent.
            for frame in unpacker.skipIncomplete() { receive(frame) }
        } catch .lineError {
            // What was damaged is passed over by the unpacker; the waiter's time-out tells.
        } catch {
            end(DriverError(error, instrument: instrument, operation: "read messages"))
            return false
        }
        return true
    }

    /// Ends the session: everybody who waits gets the error.
    func end(_ error: DriverError) {
        guard !isEnded else { return }
        isEnded = true
        failure = error
        for waiter in waiters { waiter.wakeUp.wake() }
    }

    private func receive(_ frame: APTFrame) {
        let messages = profile.dialect?.messages
        let name = wire.name(of: frame.message)
        if name == "status", let fields = messages?["status"]?.fields,
            let status = APTStatus(frame.data ?? [], fields: fields)
        {
            latestStatus[status.mask] = status
        }
        if name == "response" || name == "rich_response" {
            noteFault(frame)
            return
        }
        let mask = mask(of: frame)
        for waiter in waiters where waiter.frame == nil {
            let expectation = waiter.expectation
            guard expectation.messages.contains(frame.message),
                expectation.mask == nil || mask == nil || expectation.mask == mask
            else { continue }
            waiter.frame = frame
            waiter.wakeUp.wake()
        }
    }

    /// The paddle a message is about: a parameter of a short header, the first word of data.
    private func mask(of frame: APTFrame) -> UInt16? {
        guard let data = frame.data else { return UInt16(frame.parameter1) }
        return data.count >= 2 ? UInt16(data[0]) | UInt16(data[1]) << 8 : nil
    }

    private func noteFault(_ frame: APTFrame) {
        let fields = profile.dialect?.messages["rich_response"]?.fields
        let data = frame.data ?? []
        let code = fields?["code"]?.number(in: data) ?? Int64(frame.parameter1)
        let text = fields?["text"]?.string(in: data) ?? "fault without text"
        let fault = ThorlabsMPC320Error.faultMessage(code: Int(code), text: text)
            .driverError(instrument: instrument, operation: "command")
        // The message does not say which paddle it is about, so everybody who waits gets it.
        for waiter in waiters {
            waiter.fault = fault
            waiter.wakeUp.wake()
        }
    }
}
