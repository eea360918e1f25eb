import HostIO
import Instruments
import Quantities
import Synchronization

/// Writes down what passes between a driver and its instrument.
///
/// `ports(over:)` gives the ports to record through. Requests stand in the order in which they were
/// made, each with the time at which it ended; what arrives stands where the driver took it.
package final class SessionRecorder: Sendable {
    private struct State {
        var start: HostInstant?
        var events: [Session.Event] = []
        var device: USBDeviceSummary?
    }
    private let state = Mutex(State())
    private let reactor: any Reactor

    /// A recorder on the time of `reactor`.
    package init(reactor: any Reactor) { self.reactor = reactor }

    /// The same ports, with this recorder listening.
    package func ports(over ports: HostPorts) -> HostPorts {
        HostPorts(
            usb: ports.usb.map { RecordingUSBHost($0, self) },
            serial: ports.serial.map { RecordingSerialHost($0, self) },
            gpio: ports.gpio.map { RecordingGPIOHost($0, self) }, reactor: ports.reactor)
    }

    /// What was recorded. The bytes that a serial line brings one by one stand together, at the time of
    /// the last: nothing that the host did lies between them.
    package var events: [Session.Event] {
        var result: [Session.Event] = []
        for event in state.withLock({ $0.events }) {
            if let last = result.last, Self.belongTogether(last, event) {
                result[result.count - 1].time = event.time
                result[result.count - 1].received? += event.received ?? []
            } else {
                result.append(event)
            }
        }
        return result
    }

    private static func belongTogether(_ first: Session.Event, _ second: Session.Event) -> Bool {
        first.channel == "port" && second.channel == "port" && first.isArrival && second.isArrival
            && first.failure == nil && second.failure == nil
            && second.time - first.time < 2_000_000
    }

    /// The USB device that was opened, if one was.
    package var device: USBDeviceSummary? { state.withLock { $0.device } }

    func note(_ device: USBDeviceSummary) { state.withLock { $0.device = device } }

    private static func time(_ state: inout State, _ now: HostInstant) -> Int64 {
        let start = state.start ?? now
        state.start = start
        return now.nanoseconds - start.nanoseconds
    }

    /// A request that begins; `end` tells what came of it.
    func begin(_ channel: String, _ operation: String, sent: [UInt8]? = nil) -> Int {
        let now = reactor.now
        return state.withLock { state in
            state.events.append(
                Session.Event(
                    time: Self.time(&state, now), channel: channel, operation: operation,
                    sent: sent))
            return state.events.count - 1
        }
    }

    func end(_ number: Int, received: [UInt8]? = nil, failure: String? = nil) {
        let now = reactor.now
        state.withLock { state in
            state.events[number].time = Self.time(&state, now)
            state.events[number].received = received
            state.events[number].failure = failure
        }
    }

    /// Something that arrived without being asked for by name.
    func arrival(_ channel: String, received: [UInt8]? = nil, failure: String? = nil) {
        let now = reactor.now
        state.withLock { state in
            state.events.append(
                Session.Event(
                    time: Self.time(&state, now), channel: channel, operation: "",
                    received: received, failure: failure))
        }
    }
}

// MARK: - Serial ports

private final class RecordingSerialHost: SerialHost {
    private let host: any SerialHost
    private let recorder: SessionRecorder

    init(_ host: any SerialHost, _ recorder: SessionRecorder) {
        self.host = host
        self.recorder = recorder
    }

    func ports() async -> [SerialPortSummary] { await host.ports() }

    func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort {
        let number = recorder.begin("port", "open \(settings.sessionText)")
        do throws(ByteStreamError) {
            let port = try await host.open(path: path, settings: settings)
            recorder.end(number)
            return RecordingSerialPort(port, recorder)
        } catch {
            recorder.end(number, failure: error.sessionText)
            throw error
        }
    }
}

extension SerialSettings {
    /// The settings as they stand in a session.
    var sessionText: String { "\(baud) \(flowControl.rawValue)" }
}

private final class RecordingSerialPort: SerialPort {
    private let port: any SerialPort
    private let recorder: SessionRecorder

    init(_ port: any SerialPort, _ recorder: SessionRecorder) {
        self.port = port
        self.recorder = recorder
    }

    var isEmulated: Bool { port.isEmulated }

    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        do throws(ByteStreamError) {
            let bytes = try await port.read(upTo: count, timeout: timeout)
            recorder.arrival("port", received: bytes)
            return bytes
        } catch {
            // Silence and the driver's own closing come about by themselves in a replay.
            if error != .timedOut, error != .closed, error != .usb(.cancelled) {
                recorder.arrival("port", failure: error.sessionText)
            }
            throw error
        }
    }

    private func record(
        _ operation: String, sent: [UInt8]? = nil,
        _ body: () async throws(ByteStreamError) -> Void
    ) async throws(ByteStreamError) {
        let number = recorder.begin("port", operation, sent: sent)
        do throws(ByteStreamError) {
            try await body()
            recorder.end(number)
        } catch {
            recorder.end(number, failure: error.sessionText)
            throw error
        }
    }

    func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        try await record("write", sent: bytes) { () async throws(ByteStreamError) in
            try await port.write(bytes, timeout: timeout)
        }
    }

    func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        try await record("configure \(settings.sessionText)") {
            () async throws(ByteStreamError) in try await port.configure(settings)
        }
    }

    func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try await record("lines dtr=\(dtr ? 1 : 0) rts=\(rts ? 1 : 0)") {
            () async throws(ByteStreamError) in try await port.setModemLines(dtr: dtr, rts: rts)
        }
    }

    func discardBuffers() async throws(ByteStreamError) {
        try await record("discard") {
            () async throws(ByteStreamError) in try await port.discardBuffers()
        }
    }

    func close() async {
        let number = recorder.begin("port", "close")
        await port.close()
        recorder.end(number)
    }
}
