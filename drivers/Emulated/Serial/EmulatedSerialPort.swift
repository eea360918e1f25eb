import DeviceProfiles
import HostIO
import Quantities

/// A serial port in this process with an emulated instrument at its other end.
public final class EmulatedSerialPort: SerialPort, @unchecked Sendable {
    // @unchecked: all state is touched only under the lock of the context.
    private struct Reader {
        let id: UInt64
        let limit: Int
        let continuation: CheckedContinuation<Result<[UInt8], ByteStreamError>, Never>
        var timeout: TimerToken?
    }

    private let context: EmulationContext
    private let line: SerialLine
    private var timer: WakeTimer?
    private var readers: [Reader] = []
    private var nextReader: UInt64 = 0
    private var isClosed = false

    /// A port to `device`, whose line runs at `baud`; without `baud` bytes take no time.
    public init(context: EmulationContext, device: any EmulatedSerialDevice, baud: Int?) {
        self.context = context
        line = SerialLine(device: device, baud: baud)
        timer = WakeTimer(context: context) { [weak self] in self?.service() }
        context.exclusively { service() }
    }

    /// Always: the other end is a model.
    public var isEmulated: Bool { true }

    /// Makes a fault happen in the line or the instrument. Returns false for an unknown kind.
    @discardableResult
    public func inject(_ fault: EmulatedFault) -> Bool {
        context.exclusively {
            defer { service() }
            switch fault.kind {
            case .byteSlip: line.slipByte()
            case .disconnect: shut()
            default: return line.device.inject(fault, at: context.now)
            }
            return true
        }
    }

    /// Pulls the cable; pending reads end with `closed`, and so does everything until `plugIn`.
    public func unplug() { context.exclusively { shut() } }

    /// Connects the cable again. What was on the line is gone.
    public func plugIn() {
        context.exclusively {
            guard isClosed else { return }
            isClosed = false
            line.advance(to: context.now)
            line.discardToHost()
            line.discardToDevice()
            service()
        }
    }

    /// Whether the cable is connected.
    public var isPluggedIn: Bool { context.exclusively { !isClosed } }

    /// Lets the instrument catch up with the present.
    public func keepPace() { context.exclusively { service() } }

    /// Between 1 and `count` bytes, as soon as any are there.
    public func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        let id = context.exclusively {
            nextReader += 1
            return nextReader
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<[UInt8], ByteStreamError>, Never>) in
                context.exclusively {
                    wait(
                        Reader(id: id, limit: max(1, count), continuation: continuation),
                        timeout: timeout)
                }
            }
        } onCancel: {
            context.exclusively { end(id, .failure(.closed)) }
        }
        return try result.get()
    }

    private func wait(_ reader: Reader, timeout: Duration) {
        guard !isClosed, !Task.isCancelled else {
            reader.continuation.resume(returning: .failure(.closed))
            return
        }
        var reader = reader
        if let deadline = context.deadline(after: timeout) {
            let id = reader.id
            reader.timeout = context.schedule(at: deadline) { [weak self] in
                self?.end(id, .failure(.timedOut))
            }
        }
        readers.append(reader)
        service()
    }

    private func end(_ id: UInt64, _ result: Result<[UInt8], ByteStreamError>) {
        guard let index = readers.firstIndex(where: { $0.id == id }) else { return }
        let reader = readers.remove(at: index)
        if let timeout = reader.timeout { context.reactor.cancel(timeout) }
        reader.continuation.resume(returning: result)
    }

    /// Sends all of `bytes`; returns once the line has taken them.
    public func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        try context.exclusively { () throws(ByteStreamError) in
            if isClosed { throw .closed }
            line.hostWrite(bytes, at: context.now)
            service()
        }
    }

    /// Applies line settings; a rate far from the instrument's garbles every character.
    public func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        try context.exclusively { () throws(ByteStreamError) in
            if isClosed { throw .closed }
            line.advance(to: context.now)
            line.setHostBaud(Double(settings.baud))
        }
    }

    /// Drives the DTR and RTS lines.
    public func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try context.exclusively { () throws(ByteStreamError) in
            if isClosed { throw .closed }
            line.device.modemLinesChanged(dtr: dtr, rts: rts, at: context.now)
            service()
        }
    }

    /// Discards bytes received but not read, and bytes written but not sent.
    public func discardBuffers() async throws(ByteStreamError) {
        try context.exclusively { () throws(ByteStreamError) in
            if isClosed { throw .closed }
            line.advance(to: context.now)
            line.discardToHost()
            line.discardToDevice()
        }
    }

    /// Ends pending reads with `closed` and leaves the cable in, as closing one file on a port does.
    package func endReads() {
        context.exclusively {
            for reader in readers { end(reader.id, .failure(.closed)) }
        }
    }

    /// Closes the port; pending reads end with `closed`.
    public func close() async {
        context.exclusively { shut() }
    }

    private func shut() {
        isClosed = true
        timer?.set(nil)
        for reader in readers { end(reader.id, .failure(.closed)) }
    }

    private func service() {
        guard !isClosed else { return }
        let now = context.now
        line.advance(to: now)
        while let reader = readers.first, line.toHost.available(at: now) > 0 {
            end(reader.id, .success(line.hostRead(upTo: reader.limit, at: now)))
        }
        let arrival = readers.isEmpty ? nil : line.toHost.arrival(of: 1)
        let next = [line.nextWake(after: now), arrival].compactMap { $0 }.min()
        timer?.set(next.map { max($0, HostInstant(nanoseconds: now.nanoseconds + 1)) })
    }
}
