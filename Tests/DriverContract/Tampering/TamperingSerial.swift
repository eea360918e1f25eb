import HostIO
import Quantities
import Synchronization

/// A serial host that a script stands behind.
final class TamperingSerialHost: SerialHost {
    private let host: any SerialHost
    private let place: TamperPlace

    init(_ host: any SerialHost, _ place: TamperPlace) {
        self.host = host
        self.place = place
    }

    func ports() async -> [SerialPortSummary] { await host.ports() }

    func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort {
        TamperingSerialPort(try await host.open(path: path, settings: settings), place)
    }
}

/// What the hosts in between need: a script, time, and a hand on the plug.
struct TamperPlace: Sendable {
    let script: TamperScript
    let reactor: any Reactor
    let unplug: @Sendable () -> Void

    func pause(_ duration: Duration) async { try? await reactor.sleep(for: duration) }
}

private final class TamperingSerialPort: SerialPort {
    private let port: any SerialPort
    private let place: TamperPlace
    /// What was received and has not been passed on.
    private let held = Mutex<[UInt8]>([])

    init(_ port: any SerialPort, _ place: TamperPlace) {
        self.port = port
        self.place = place
    }

    var isEmulated: Bool { port.isEmulated }

    func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        guard let tamper = place.script.next(.toDevice) else {
            return try await port.write(bytes, timeout: timeout)
        }
        switch tamper {
        case .split(let position):
            let position = bytes.isEmpty ? 0 : position % bytes.count
            try await port.write(Array(bytes[..<position]), timeout: timeout)
            await place.pause(Tamper.splitGap)
            try await port.write(Array(bytes[position...]), timeout: timeout)
        case .delay(let milliseconds):
            await place.pause(.milliseconds(milliseconds))
            try await port.write(bytes, timeout: timeout)
        case .stall:
            await place.pause(timeout)
            throw .timedOut
        case .disconnect:
            place.unplug()
            try await port.write(bytes, timeout: timeout)
        default: try await port.write(tamper.changed(bytes) ?? bytes, timeout: timeout)
        }
    }

    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        let end = place.reactor.now + min(timeout, .seconds(315_360_000))
        while true {
            let early = take(count)
            if !early.isEmpty { return early }
            let left = max(.zero, end - place.reactor.now)
            let bytes = try await port.read(upTo: count, timeout: min(left, timeout))
            let tamper = place.script.next(.toHost)
            switch tamper {
            case nil: hold(bytes)
            case .split(let position):
                hold(Array(bytes[..<(position % bytes.count)]))
                let first = take(count)
                hold(Array(bytes[(position % bytes.count)...]))
                if !first.isEmpty { return first }
            case .delay(let milliseconds):
                // Later than its reader waits, it is there for the next one.
                hold(bytes)
                await place.pause(min(.milliseconds(milliseconds), left))
                if place.reactor.now >= end { throw .timedOut }
            case .stall:
                hold(bytes)
                await place.pause(min(left, .seconds(30)))
                throw .timedOut
            case .disconnect: place.unplug()
            case .some(let tamper): hold(tamper.changed(bytes) ?? bytes)
            }
        }
    }

    private func hold(_ bytes: [UInt8]) { held.withLock { $0 += bytes } }

    private func take(_ count: Int) -> [UInt8] {
        held.withLock { held in
            defer { held.removeFirst(min(count, held.count)) }
            return Array(held.prefix(count))
        }
    }

    func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        try await port.configure(settings)
    }

    func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try await port.setModemLines(dtr: dtr, rts: rts)
    }

    func discardBuffers() async throws(ByteStreamError) {
        held.withLock { $0.removeAll() }
        try await port.discardBuffers()
    }

    func close() async { await port.close() }
}
