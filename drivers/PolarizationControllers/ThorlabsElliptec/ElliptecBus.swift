import DeviceProfiles
import HostIO
import Instruments
import Quantities

/// The conversation on one Elliptec line: sends commands at the allowed rate, reads messages as they
/// come, and keeps them for whoever has the turn.
///
/// Belongs to the driver actor. Reading goes on all the time, so that messages of the handset are not
/// taken for replies and a line that is gone is noticed at once.
final class ElliptecBus {
    let stream: InstrumentStream
    private let profile: DeviceProfile
    private let wire: ElliptecWire
    private let reactor: any Reactor
    private let instrument: String
    private var unpacker: ElliptecUnpacker
    private var arrivals: [ElliptecArrival] = []
    private let arrived: WakeUp
    private(set) var failure: DriverError?
    private var nextSend = HostInstant.zero
    private let sending = TurnQueue()
    /// The units somebody has moved by the handset since their last command to move.
    var movedByHand: Set<UInt8> = []

    private static let writeTimeout = Duration.seconds(1)
    /// More than all units can say between two looks.
    private static let mostArrivals = 256

    init(
        _ stream: InstrumentStream, profile: DeviceProfile, wire: ElliptecWire,
        reactor: any Reactor, instrument: String
    ) {
        self.stream = stream
        self.profile = profile
        self.wire = wire
        self.reactor = reactor
        self.instrument = instrument
        unpacker = wire.unpacker()
        arrived = WakeUp(on: reactor)
    }

    // MARK: Sending

    /// Sends a command, not sooner than the profile's gap after the one before.
    ///
    /// - Parameter isUrgent: do not wait; a stop must not queue behind anything.
    func send(
        _ command: String, _ values: [Double] = [], to address: UInt8, isUrgent: Bool = false,
        operation: String
    ) async throws(DriverError) {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
        let bytes: [UInt8]
        do throws(CommandEncodingError) {
            bytes = try wire.packet(entry, values, to: address)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
        try await write(bytes, isUrgent: isUrgent, operation: operation)
    }

    /// Ends whatever command was cut off before, in every unit.
    func clear(operation: String) async throws(DriverError) {
        let end = profile.dialect?.commandTerminator ?? "\r"
        try await write(Array(end.utf8), isUrgent: false, operation: operation)
    }

    private func write(
        _ bytes: [UInt8], isUrgent: Bool, operation: String
    ) async throws(DriverError) {
        if isUrgent { return try await write(bytes, operation) }
        try await sending.turn { () async throws(DriverError) in
            if reactor.now < nextSend {
                do { try await reactor.sleep(until: nextSend) } catch {
                    throw DriverError(.cancelled, instrument: instrument, operation: operation)
                }
            }
            try await write(bytes, operation)
            let gap = profile.dialect?.minGapMilliseconds ?? 0
            nextSend = reactor.now + .nanoseconds(Int64((gap * 1e6).rounded()))
        }
    }

    private func write(_ bytes: [UInt8], _ operation: String) async throws(DriverError) {
        if let failure { throw failure }
        do throws(ByteStreamError) {
            try await stream.bytes.write(bytes, timeout: Self.writeTimeout)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
    }

    // MARK: Waiting

    /// Forgets what has arrived: late replies to commands that were given up.
    func forgetArrivals() { arrivals.removeAll() }

    /// The next message, or nil at `deadline`.
    func next(
        until deadline: HostInstant, operation: String
    ) async throws(DriverError) -> ElliptecArrival? {
        while true {
            if !arrivals.isEmpty { return arrivals.removeFirst() }
            if let failure { throw failure }
            if reactor.now >= deadline { return nil }
            switch await arrived.wait(until: deadline) {
            case .woken: continue
            case .timedOut: return arrivals.isEmpty ? nil : arrivals.removeFirst()
            case .cancelled:
                throw DriverError(.cancelled, instrument: instrument, operation: operation)
            }
        }
    }

    // MARK: Receiving

    /// One step of the reading loop: reads what is there and keeps it. False at the end.
    func readOnce() async -> Bool {
        guard failure == nil else { return false }
        do throws(ByteStreamError) {
            let bytes = try await stream.bytes.read(upTo: 4096, timeout: .seconds(60))
            for arrival in unpacker.take(bytes) { receive(arrival) }
        } catch .timedOut {
            // A quiet line is the usual state.
        } catch .lineError(let what) {
            receive(.garbled(what))
        } catch {
            end(DriverError(error, instrument: instrument, operation: "read messages"))
            return false
        }
        return true
    }

    /// Ends the conversation: whoever waits gets the error.
    func end(_ error: DriverError) {
        guard failure == nil else { return }
        failure = error
        arrived.wake()
    }

    private func receive(_ arrival: ElliptecArrival) {
        if case .frame(let frame) = arrival,
            ["button_status", "button_position"].contains(wire.name(of: frame))
        {
            movedByHand.insert(frame.address)
            return
        }
        if arrivals.count >= Self.mostArrivals { arrivals.removeFirst() }
        arrivals.append(arrival)
        arrived.wake()
    }
}
