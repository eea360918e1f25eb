import HostIO
import Quantities
import Synchronization

/// A serial line whose other end is a closure.
package final class ScriptedStream: SerialPort {
    private struct State {
        var received: [UInt8] = []
        var written: [UInt8] = []
        var failure: ByteStreamError?
        var isOpen = true
        var modemLines: [(dtr: Bool, rts: Bool)] = []
        var discards = 0
        var device: (@Sendable ([UInt8]) -> Void)?
    }
    private let state = Mutex(State())
    private let arrived: WakeUp
    private let reactor: any Reactor
    package let isEmulated: Bool

    package init(reactor: any Reactor, isEmulated: Bool = false) {
        self.reactor = reactor
        self.isEmulated = isEmulated
        arrived = WakeUp(on: reactor)
    }

    /// What the device does with every write; it answers with `send`.
    package func onWrite(_ device: @escaping @Sendable ([UInt8]) -> Void) {
        state.withLock { $0.device = device }
    }
    /// The device sends bytes, at once or later.
    package func send(_ bytes: [UInt8], after delay: Duration = .zero) {
        if delay > .zero {
            reactor.schedule(at: reactor.now + delay) { [self] in send(bytes) }
            return
        }
        state.withLock { $0.received += bytes }
        arrived.wake()
    }
    package func send(_ text: String, after delay: Duration = .zero) {
        send(Array(text.utf8), after: delay)
    }
    package func fail(_ error: ByteStreamError) {
        state.withLock { $0.failure = error }
        arrived.wake()
    }
    package var written: [UInt8] { state.withLock { $0.written } }
    package var writtenText: String { String(decoding: written, as: UTF8.self) }
    package func forgetWritten() { state.withLock { $0.written = [] } }
    package var isOpen: Bool { state.withLock { $0.isOpen } }
    package var modemLines: [(dtr: Bool, rts: Bool)] { state.withLock { $0.modemLines } }
    package var discards: Int { state.withLock { $0.discards } }
    package var unread: Int { state.withLock { $0.received.count } }

    package func read(
        upTo count: Int, timeout: Duration
    ) async throws(ByteStreamError) -> [UInt8] {
        let deadline = reactor.now + timeout
        while true {
            let (bytes, failure) = state.withLock { state -> ([UInt8], ByteStreamError?) in
                let bytes = Array(state.received.prefix(count))
                state.received.removeFirst(bytes.count)
                return (bytes, state.failure)
            }
            if !bytes.isEmpty { return bytes }
            if let failure { throw failure }
            switch await arrived.wait(until: deadline) {
            case .woken: continue
            case .timedOut: throw .timedOut
            case .cancelled: throw .usb(.cancelled)
            }
        }
    }
    package func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        let (failure, device) = state.withLock { state in
            state.written += bytes
            return (state.failure, state.device)
        }
        if let failure { throw failure }
        device?(bytes)
    }
    package func close() async {
        state.withLock { $0.isOpen = false }
        fail(.closed)
    }
    package func configure(_ settings: SerialSettings) async throws(ByteStreamError) {}
    package func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        state.withLock { $0.modemLines.append((dtr, rts)) }
    }
    package func discardBuffers() async throws(ByteStreamError) {
        state.withLock { $0.discards += 1 }
    }
}

/// GPIO lines a test drives and reads by logical level.
package final class ScriptedGPIO: GPIOHost {
    private struct State {
        var levels: [GPIOLineID: Bool] = [:]
        var drives: [(line: GPIOLineID, level: Bool, at: HostInstant)] = []
        var inputs: [GPIOLineID: ScriptedInput] = [:]
        var options: [GPIOLineID: GPIOLineOptions] = [:]
        var failingOutputs: Set<GPIOLineID> = []
    }
    private let state = Mutex(State())
    private let reactor: any Reactor

    package init(reactor: any Reactor) { self.reactor = reactor }

    package func level(_ line: GPIOLineID) -> Bool? { state.withLock { $0.levels[line] } }
    package var drives: [(line: GPIOLineID, level: Bool, at: HostInstant)] {
        state.withLock { $0.drives }
    }
    package func options(_ line: GPIOLineID) -> GPIOLineOptions? {
        state.withLock { $0.options[line] }
    }
    package func failOutput(_ line: GPIOLineID) {
        state.withLock { _ = $0.failingOutputs.insert(line) }
    }

    /// Sets an input without an edge, as before the line was asked for.
    package func preset(_ line: GPIOLineID, _ level: Bool) {
        state.withLock { $0.levels[line] = level }
    }
    /// Changes an input and reports the edge, or loses it.
    package func change(
        _ line: GPIOLineID, to level: Bool, lossPossible: Bool = false, isLost: Bool = false
    ) {
        let input = state.withLock { state -> ScriptedInput? in
            state.levels[line] = level
            return state.inputs[line]
        }
        guard !isLost else { return }
        input?.report(GPIOEdge(time: reactor.now, isRising: level, lossPossible: lossPossible))
    }
    /// Reports an edge whatever the level is.
    package func report(_ line: GPIOLineID, _ edge: GPIOEdge) {
        state.withLock { $0.inputs[line] }?.report(edge)
    }
    package func breakInput(_ line: GPIOLineID) { state.withLock { $0.inputs[line] }?.finish() }

    package func chips() async throws(GPIOError) -> [GPIOChipSummary] { [] }
    package func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        state.withLock { $0.options[line] = options }
        drive(line, safeLevel)
        return ScriptedOutput(line: line, safeLevel: safeLevel, host: self)
    }
    package func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        let input = ScriptedInput(line: line, host: self, reactor: reactor)
        state.withLock { state in
            state.options[line] = options
            state.inputs[line] = input
        }
        return input
    }
    fileprivate func drive(_ line: GPIOLineID, _ level: Bool) {
        let now = reactor.now
        state.withLock { state in
            state.levels[line] = level
            state.drives.append((line, level, now))
        }
    }
    fileprivate func isFailing(_ line: GPIOLineID) -> Bool {
        state.withLock { $0.failingOutputs.contains(line) }
    }
}

private final class ScriptedOutput: GPIOOutput {
    let line: GPIOLineID
    let safeLevel: Bool
    let host: ScriptedGPIO
    init(line: GPIOLineID, safeLevel: Bool, host: ScriptedGPIO) {
        self.line = line
        self.safeLevel = safeLevel
        self.host = host
    }
    func set(_ level: Bool) async throws(GPIOError) {
        if host.isFailing(line) { throw .system(code: 5, message: "input/output error") }
        host.drive(line, level)
    }
    func release() async { host.drive(line, safeLevel) }
}

private final class ScriptedInput: GPIOInput {
    let line: GPIOLineID
    private let host: ScriptedGPIO
    private let arrived: WakeUp
    private let state = Mutex((edges: [GPIOEdge](), isFinished: false))
    init(line: GPIOLineID, host: ScriptedGPIO, reactor: any Reactor) {
        self.line = line
        self.host = host
        arrived = WakeUp(on: reactor)
    }
    func report(_ edge: GPIOEdge) {
        state.withLock { $0.edges.append(edge) }
        arrived.wake()
    }
    func finish() {
        state.withLock { $0.isFinished = true }
        arrived.wake()
    }
    func level() async throws(GPIOError) -> Bool {
        if state.withLock({ $0.isFinished }) { throw .closed(line) }
        return host.level(line) ?? false
    }
    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        while true {
            let edge = state.withLock { $0.edges.isEmpty ? nil : $0.edges.removeFirst() }
            if let edge { return edge }
            if state.withLock({ $0.isFinished }) { throw .closed(line) }
            if await arrived.wait() == .cancelled { throw .closed(line) }
        }
    }
    func release() async { finish() }
}
