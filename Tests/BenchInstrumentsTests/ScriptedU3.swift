import HostIO
import Quantities
import Synchronization

/// A USB device whose answers a test computes: replies to bulk packets and to control requests.
final class ScriptedReplyDevice: USBDevice {
    private struct State {
        var replies: [[UInt8]] = []
        var written: [[UInt8]] = []
        var requests: [USBControlRequest] = []
        var error: USBTransferError?
        var isClosed = false
    }

    let summary: USBDeviceSummary
    private let reactor: any Reactor
    private let onWrite: @Sendable ([UInt8]) -> [[UInt8]]
    private let onControl:
        @Sendable (USBControlRequest, [UInt8]) -> Result<[UInt8], USBTransferError>
    private let state = Mutex(State())

    init(
        _ summary: USBDeviceSummary, reactor: any Reactor,
        onWrite: @escaping @Sendable ([UInt8]) -> [[UInt8]] = { _ in [] },
        onControl:
            @escaping @Sendable (USBControlRequest, [UInt8]) -> Result<
                [UInt8], USBTransferError
            > = { _, _ in .failure(.stall) }
    ) {
        self.summary = summary
        self.reactor = reactor
        self.onWrite = onWrite
        self.onControl = onControl
    }

    /// The packets written, in order.
    var written: [[UInt8]] { state.withLock { $0.written } }
    /// The control requests, in order.
    var requests: [USBControlRequest] { state.withLock { $0.requests } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    /// Lets every further transfer fail.
    func fail(_ error: USBTransferError?) { state.withLock { $0.error = error } }
    /// Something the device says without being asked.
    func supply(_ bytes: [UInt8]) { state.withLock { $0.replies.append(bytes) } }

    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        state.withLock { $0.isClosed = false }
    }
    func release(interface: UInt8) async {}
    func clearHalt(endpoint: UInt8) async throws(USBTransferError) {}
    func close() async { state.withLock { $0.isClosed = true } }

    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        _ = try perform(request, data)
    }
    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        Array(try perform(request, []).prefix(length))
    }
    private func perform(
        _ request: USBControlRequest, _ data: [UInt8]
    ) throws(USBTransferError) -> [UInt8] {
        let error = state.withLock { state in
            state.requests.append(request)
            return state.error
        }
        if let error { throw error }
        return try onControl(request, data).get()
    }

    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        let error = state.withLock { state in
            state.written.append(bytes)
            return state.error
        }
        if let error { throw error }
        let replies = onWrite(bytes)
        state.withLock { $0.replies += replies }
    }
    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let (error, reply) = state.withLock { state in
            (state.error, state.replies.isEmpty ? nil : state.replies.removeFirst())
        }
        if let error { throw error }
        if let reply { return reply }
        do { try await reactor.sleep(for: timeout) } catch { throw .cancelled }
        throw .timedOut(transferred: 0)
    }
    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue { throw .notFound("a queue") }
}

/// A USB host with one such device.
final class ScriptedReplyHost: USBHost {
    private let device: ScriptedReplyDevice
    init(_ device: ScriptedReplyDevice) { self.device = device }
    func devices() async throws(USBTransferError) -> [USBDeviceSummary] { [device.summary] }
    func events() -> AsyncStream<USBHostEvent> { AsyncStream { $0.finish() } }
    func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice { device }
}

/// The part of a U3 that a driver needs, written from LabJackPython 2.3.0 and the user's guide.
final class ScriptedU3: Sendable {
    struct State {
        var outputs: [Int] = [0x8000, 0x4000]
        var powerUp: [UInt8] = [0, 0]
        var watchdog: [UInt8] = [0, 0, 0]
        var fioAnalog: UInt8 = 0x0F
        var eioAnalog: UInt8 = 0
        var inputCodes: [UInt8: Int] = [30: 0x5C60]
        var product: UInt8 = 3
        var hardware: [UInt8] = [30, 1]
        var firmware: [UInt8] = [26, 1]
        var versionInfo: UInt8 = 18
        var calibration = ScriptedU3.nominal
        /// Replies to damage, by what is done to them.
        var damage: [@Sendable ([UInt8]) -> [[UInt8]]] = []
        /// Commands that are refused, by number and error.
        var refusals: [UInt8: UInt8] = [:]
    }

    let state = Mutex(State())
    var calibration: [[UInt8]] { state.withLock { $0.calibration } }

    /// Nominal constants of exodriver's examples/U3/u3.c, as fixed point.
    static let nominal: [[UInt8]] = {
        let numbers: [Double] =
            [0.000037231, 0, 0.000074463, -2.44, 51.717, 0, 51.717, 0, 0.013021, 2.44, 3.66, 3.3]
            + [0.000314, 0.000314, 0.000314, 0.000314, -10.3, -10.3, -10.3, -10.3]
        return stride(from: 0, to: 20, by: 4).map { start in
            numbers[start..<start + 4].flatMap { number -> [UInt8] in
                var whole = Int32(number.rounded(.down))
                var fraction = UInt32((number - Double(whole)) * 4_294_967_296)
                return withUnsafeBytes(of: &fraction) { Array($0) }
                    + withUnsafeBytes(of: &whole) { Array($0) }
            }
        }
    }()

    static func seal(_ number: UInt8, _ data: [UInt8]) -> [UInt8] {
        let data = data.count % 2 == 0 ? data : data + [0]
        let total = data.reduce(0) { $0 + Int($1) }
        let head: [UInt8] = [
            0xF8, UInt8(data.count / 2), number, UInt8(total % 256), UInt8(total / 256),
        ]
        var sum = head.reduce(0) { $0 + Int($1) }
        sum = sum / 256 + sum % 256
        sum = sum / 256 + sum % 256
        return [UInt8(sum)] + head + data
    }

    func answer(_ packet: [UInt8]) -> [[UInt8]] {
        state.withLock { state in
            let data = Array(packet.dropFirst(6))
            let reply: [UInt8]
            if let error = state.refusals[packet[3]] {
                reply = Self.seal(packet[3], [error, 1, data[0], 0])
            } else {
                reply = Self.seal(packet[3], Self.perform(packet[3], data, &state))
            }
            guard !state.damage.isEmpty else { return [reply] }
            return state.damage.removeFirst()(reply)
        }
    }

    private static func perform(_ number: UInt8, _ data: [UInt8], _ state: inout State) -> [UInt8] {
        switch number {
        case 0x08:
            if data[0] & 4 != 0 { state.powerUp = [data[13], data[14]] }
            return [0, 0, 0] + state.firmware + [0, 0] + state.hardware
                + [0x39, 0x30, 0x13, 0x13, state.product, 0, 1, 0x40]
                + [0x0F, 0, 0, 0, 0, 0, 0, 0, 1] + state.powerUp + [2, 0, 0, state.versionInfo]
        case 0x0B:
            if data[0] & 4 != 0 { state.fioAnalog = data[4] }
            if data[0] & 8 != 0 { state.eioAnalog = data[5] }
            return [0, 0, 0x40, 1, state.fioAnalog, state.eioAnalog]
        case 0x2D: return [0, 0] + state.calibration[Int(data[1])]
        case 0x09:
            if data[0] & 1 != 0 { state.watchdog = Array(data[1..<4]) }
            return [0] + state.watchdog + [0, 0, 0, 0, 0, 0]
        case 0x00: return feedback(data, &state)
        default: return [5, 0]
        }
    }

    private static func feedback(_ data: [UInt8], _ state: inout State) -> [UInt8] {
        var result: [UInt8] = [0, 0, data[0]]
        var index = 1
        while index < data.count {
            switch data[index] {
            case 38, 39:
                state.outputs[Int(data[index]) - 38] =
                    Int(data[index + 1]) | Int(data[index + 2]) << 8
                index += 3
            case 1:
                let code = state.inputCodes[data[index + 1]] ?? 0x8000
                result += [UInt8(code & 255), UInt8(code >> 8)]
                index += 3
            default: index += 1
            }
        }
        return result
    }
}
