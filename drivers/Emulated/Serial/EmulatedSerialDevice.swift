import HostIO
import Quantities

/// An instrument with a serial port, as bytes in and bytes out.
///
/// The same model stands behind an FTDI bridge, a communications-class port, an in-process stream
/// or a pseudo-terminal. Calls come in time order.
public protocol EmulatedSerialDevice: FaultTarget {
    /// Bytes from the host, complete at `now`.
    func receive(_ bytes: [UInt8], at now: HostInstant)

    /// Lets inner life that is due happen.
    func advance(to now: HostInstant)

    /// The next instant after `now` at which the device does something by itself.
    func nextWake(after now: HostInstant) -> HostInstant?

    /// Up to `limit` of the bytes that wait to be sent; the rest stays with the device.
    func takeOutput(upTo limit: Int) -> [UInt8]

    /// The port was opened or closed, as far as the modem lines tell.
    func modemLinesChanged(dtr: Bool, rts: Bool, at now: HostInstant)
}

extension EmulatedSerialDevice {
    /// Most instruments do not look at the modem lines.
    public func modemLinesChanged(dtr: Bool, rts: Bool, at now: HostInstant) {}
}

/// One direction of a serial line: bytes that take time.
struct SerialWire {
    /// Nanoseconds per byte; zero for ports without a line.
    private(set) var byteTime: Int64
    private var bytes: [UInt8] = []
    private var head = 0
    private var runs: [(start: Int64, count: Int)] = []
    private var freeAt: Int64 = .min

    /// A line at `baud` with ten bits per byte, or one without delay.
    init(baud: Int?) { byteTime = Self.byteTime(baud) }

    private static func byteTime(_ baud: Int?) -> Int64 {
        baud.map { 10_000_000_000 / Int64(max(1, $0)) } ?? 0
    }

    /// Changes the rate of bytes pushed from now on.
    mutating func setBaud(_ baud: Int?) { byteTime = Self.byteTime(baud) }

    /// The bytes on the line, arrived or not.
    var backlog: Int { bytes.count - head }

    mutating func push(_ new: [UInt8], at now: HostInstant) {
        guard !new.isEmpty else { return }
        let start = max(freeAt, now.nanoseconds)
        runs.append((start, new.count))
        freeAt = start + Int64(new.count) * byteTime
        bytes += new
    }

    /// How many bytes have arrived by `now`.
    func available(at now: HostInstant) -> Int {
        var total = 0
        for run in runs {
            let elapsed = now.nanoseconds - run.start
            guard elapsed >= 0 else { break }
            let arrived = byteTime == 0 ? run.count : min(run.count, Int(elapsed / byteTime))
            total += arrived
            if arrived < run.count { break }
        }
        return total
    }

    /// When `count` bytes will have arrived; nil when there are not so many on the line.
    func arrival(of count: Int) -> HostInstant? {
        var rest = count
        for run in runs {
            if rest <= run.count {
                return HostInstant(nanoseconds: run.start + Int64(rest) * byteTime)
            }
            rest -= run.count
        }
        return nil
    }

    /// Takes up to `limit` of the bytes that have arrived.
    mutating func take(upTo limit: Int, at now: HostInstant) -> [UInt8] {
        let count = min(limit, available(at: now))
        guard count > 0 else { return [] }
        let taken = Array(bytes[head..<head + count])
        head += count
        var rest = count
        while rest > 0 {
            let used = min(rest, runs[0].count)
            runs[0].start += Int64(used) * byteTime
            runs[0].count -= used
            rest -= used
            if runs[0].count == 0 { runs.removeFirst() }
        }
        if head == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 65_536 {
            bytes.removeFirst(head)
            head = 0
        }
        return taken
    }

    mutating func removeAll() {
        bytes = []
        head = 0
        runs = []
        freeAt = .min
    }

    /// Loses one byte of those not taken yet.
    mutating func dropOne() {
        guard backlog > 0 else { return }
        bytes.remove(at: head)
        runs[0].count -= 1
        if runs[0].count == 0 { runs.removeFirst() }
    }
}

/// A serial device and both directions of the line to it.
final class SerialLine {
    let device: any EmulatedSerialDevice
    private let deviceBaud: Int?
    private var toDevice: SerialWire
    private(set) var toHost: SerialWire
    private var clock = HostInstant(nanoseconds: .min)
    private var isGarbled = false
    private var slipPending = false
    private static let portBuffer = 2048
    /// Whether the device may send; it honours its clear-to-send input.
    var isClearToSend = true
    /// Characters that arrived broken since the flag was last read.
    private(set) var hasFramingError = false

    /// A line to `device`, which runs at `baud`, or has no line at all.
    init(device: any EmulatedSerialDevice, baud: Int?) {
        self.device = device
        deviceBaud = baud
        toDevice = SerialWire(baud: baud)
        toHost = SerialWire(baud: baud)
    }

    /// Sets the host's rate; more than 3 % off, characters are garbled in both directions.
    func setHostBaud(_ baud: Double) {
        guard let deviceBaud else { return }
        isGarbled = abs(baud / Double(deviceBaud) - 1) > 0.03
        toDevice.setBaud(Int(baud))
    }

    func takeFramingError() -> Bool {
        defer { hasFramingError = false }
        return hasFramingError
    }

    /// Loses the next byte from the device.
    func slipByte() { slipPending = true }

    var hostBacklog: Int { toDevice.backlog }

    func hostWrite(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        toDevice.push(isGarbled ? bytes.map(Self.garble) : bytes, at: now)
        step(to: now)
    }

    func hostRead(upTo limit: Int, at now: HostInstant) -> [UInt8] {
        let bytes = toHost.take(upTo: limit, at: now)
        if !bytes.isEmpty { collect(at: now) }
        return bytes
    }

    func discardToHost() { toHost.removeAll() }
    func discardToDevice() { toDevice.removeAll() }

    /// Lets everything up to `now` happen, in order.
    func advance(to now: HostInstant) {
        guard now > clock else { return }
        while let due = nextWake(after: clock), due > clock, due <= now { step(to: due) }
        step(to: now)
    }

    /// The next instant at which the device or the line does something.
    func nextWake(after now: HostInstant) -> HostInstant? {
        let inner = device.nextWake(after: now)
        guard let arrival = toDevice.arrival(of: toDevice.backlog), toDevice.backlog > 0 else {
            return inner
        }
        let due = max(arrival, HostInstant(nanoseconds: now.nanoseconds &+ 1))
        return inner.map { min($0, due) } ?? due
    }

    private func step(to now: HostInstant) {
        clock = max(clock, now)
        device.advance(to: now)
        let arrived = toDevice.take(upTo: .max, at: now)
        if !arrived.isEmpty { device.receive(arrived, at: now) }
        collect(at: now)
    }

    /// Fetches what the device wants to send. A port without a line holds four packets, like the
    /// buffers of an FX2; on a real line the device sends as fast as the line takes it.
    private func collect(at now: HostInstant) {
        let room = deviceBaud == nil ? Self.portBuffer - toHost.backlog : Int.max
        guard isClearToSend, room > 0 else { return }
        var output = device.takeOutput(upTo: room)
        if slipPending, !output.isEmpty {
            output.remove(at: output.count / 2)
            slipPending = false
        }
        if isGarbled, !output.isEmpty {
            hasFramingError = true
            output = output.map(Self.garble)
        }
        toHost.push(output, at: now)
    }

    /// What a character looks like to a receiver at the wrong rate.
    private static func garble(_ byte: UInt8) -> UInt8 { (byte &* 0x6D ^ 0xA5) | 0x80 }
}
