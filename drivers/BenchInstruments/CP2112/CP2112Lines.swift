import DeviceProfiles
import HostIO
import Instruments
import Quantities
import Synchronization

/// The lines of a CP2112 as a GPIO host with one chip. Levels follow the requests of other users of
/// the bus by a few milliseconds.
final class CP2112Lines: GPIOHost {
    private let driver: CP2112Driver

    init(_ driver: CP2112Driver) { self.driver = driver }

    /// The chip; none while the adapter is closed.
    func chips() async throws(GPIOError) -> [GPIOChipSummary] { await driver.chips() }

    func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        try await driver.requestOutput(line, safeLevel: safeLevel, options: options)
    }

    func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        try await driver.requestInput(line, options: options)
    }
}

/// An output line of a CP2112.
final class CP2112Output: GPIOOutput {
    let line: GPIOLineID
    private let driver: CP2112Driver
    private let safeLevel: Bool
    private let isActiveLow: Bool

    init(line: GPIOLineID, driver: CP2112Driver, safeLevel: Bool, options: GPIOLineOptions) {
        self.line = line
        self.driver = driver
        self.safeLevel = safeLevel
        isActiveLow = options.isActiveLow
    }

    /// The safe level on the wire.
    var safeElectricalLevel: Bool { safeLevel != isActiveLow }

    func set(_ level: Bool) async throws(GPIOError) {
        try await driver.drive(self, level != isActiveLow)
    }

    func release() async { await driver.release(self) }
}

/// An input line of a CP2112, with the edges that the polls have found and nobody has read.
final class CP2112Input: GPIOInput {
    private struct State {
        var level: Bool
        var edges: [GPIOEdge] = []
        var isShut = false
    }

    let line: GPIOLineID
    private let driver: CP2112Driver
    private let isActiveLow: Bool
    private let state: Mutex<State>
    private let arrived: WakeUp
    /// Edges kept for somebody who does not read them; then the oldest is dropped.
    private static let capacity = 64

    init(
        line: GPIOLineID, driver: CP2112Driver, levels: UInt8, options: GPIOLineOptions,
        reactor: any Reactor
    ) {
        self.line = line
        self.driver = driver
        isActiveLow = options.isActiveLow
        state = Mutex(State(level: Self.level(levels, line) != options.isActiveLow))
        arrived = WakeUp(on: reactor)
    }

    private static func level(_ levels: UInt8, _ line: GPIOLineID) -> Bool {
        levels >> UInt8(line.offset) & 1 == 1
    }

    /// Takes note of the levels of a poll.
    func observe(_ levels: UInt8, at now: HostInstant) {
        let level = Self.level(levels, line) != isActiveLow
        let isEdge = state.withLock { state in
            guard level != state.level, !state.isShut else { return false }
            state.level = level
            // Between two polls a line may have come and gone.
            state.edges.append(GPIOEdge(time: now, isRising: level, lossPossible: true))
            if state.edges.count > Self.capacity { state.edges.removeFirst() }
            return true
        }
        if isEdge { arrived.wake() }
    }

    /// Ends the waiting for edges.
    func shut() {
        state.withLock { $0.isShut = true }
        arrived.wake()
    }

    func level() async throws(GPIOError) -> Bool {
        Self.level(try await driver.levels(self), line) != isActiveLow
    }

    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        while true {
            let (edge, isShut) = state.withLock { state in
                (state.edges.isEmpty ? nil : state.edges.removeFirst(), state.isShut)
            }
            if isShut { throw .closed(line) }
            if let edge { return edge }
            if await arrived.wait() == .cancelled { throw .closed(line) }
        }
    }

    func release() async { await driver.release(self) }
}

// What the lines ask of the driver.
extension CP2112Driver {
    /// The inputs in use, in an order that does not change from run to run.
    var orderedInputs: [CP2112Input] { inputs.sorted { $0.key < $1.key }.map(\.value) }

    func chips() -> [GPIOChipSummary] {
        guard device != nil else { return [] }
        return [
            GPIOChipSummary(
                name: chip, label: "cp2112_gpio", lineNames: profile.lines.map(\.role),
                consumers: profile.lines.indices.map { consumers[UInt32($0)] },
                isEmulated: summary.isEmulated)
        ]
    }

    /// Notes who uses a line, before the first wait, so that two can not have it.
    private func reserve(_ line: GPIOLineID, for consumer: String) throws(GPIOError) {
        guard device != nil else { throw .notFound("chip \(chip) of a closed adapter") }
        guard line.chip == chip, line.offset < profile.lines.count, line.offset < 8 else {
            throw .notFound("line \(line)")
        }
        if let consumer = consumers[line.offset] { throw .busy(line, consumer: consumer) }
        consumers[line.offset] = consumer
    }

    func requestOutput(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> CP2112Output {
        try reserve(line, for: options.consumer)
        let output = CP2112Output(
            line: line, driver: self, safeLevel: safeLevel, options: options)
        let bit = UInt8(1) << UInt8(line.offset)
        let operation = "drive line \(line.offset)"
        do throws(DriverError) {
            try await commands.turn { () async throws(DriverError) in
                var wanted = config
                wanted[0] |= bit
                wanted[1] &= ~bit
                try await configure(wanted, operation: operation)
                try await setLevel(
                    line.offset, output.safeElectricalLevel, operation: operation)
                wanted[1] |= bit
                try await configure(wanted, operation: operation)
            }
        } catch {
            consumers[line.offset] = nil
            throw GPIOError(failed(error), line: line)
        }
        outputs[line.offset] = output
        return output
    }

    func requestInput(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> CP2112Input {
        try reserve(line, for: options.consumer)
        let bit = UInt8(1) << UInt8(line.offset)
        let operation = "read line \(line.offset)"
        let levels: UInt8
        do throws(DriverError) {
            levels = try await commands.turn { () async throws(DriverError) -> UInt8 in
                var wanted = config
                wanted[0] &= ~bit
                wanted[1] &= ~bit
                try await configure(wanted, operation: operation)
                return try await readLevels(operation: operation)
            }
        } catch {
            consumers[line.offset] = nil
            throw GPIOError(failed(error), line: line)
        }
        let input = CP2112Input(
            line: line, driver: self, levels: levels, options: options, reactor: reactor)
        inputs[line.offset] = input
        startPolling()
        return input
    }

    func drive(_ output: CP2112Output, _ level: Bool) async throws(GPIOError) {
        let line = output.line
        guard outputs[line.offset] === output else { throw .closed(line) }
        do throws(DriverError) {
            try await commands.turn { () async throws(DriverError) in
                try await setLevel(line.offset, level, operation: "drive line \(line.offset)")
            }
        } catch { throw GPIOError(failed(error), line: line) }
    }

    func levels(_ input: CP2112Input) async throws(GPIOError) -> UInt8 {
        let line = input.line
        guard inputs[line.offset] === input else { throw .closed(line) }
        do throws(DriverError) {
            return try await commands.turn { () async throws(DriverError) -> UInt8 in
                try await readLevels(operation: "read line \(line.offset)")
            }
        } catch { throw GPIOError(failed(error), line: line) }
    }

    func release(_ output: CP2112Output) async {
        let line = output.line
        guard outputs[line.offset] === output else { return }
        outputs[line.offset] = nil
        try? await commands.turn { () async throws(DriverError) in
            try await setLevel(
                line.offset, output.safeElectricalLevel, operation: "release line \(line.offset)")
        }
        // Only now may somebody else have it, unless closing has forgotten it already.
        if device != nil { consumers[line.offset] = nil }
    }

    func release(_ input: CP2112Input) {
        let line = input.line
        input.shut()
        guard inputs[line.offset] === input else { return }
        inputs[line.offset] = nil
        consumers[line.offset] = nil
    }

    /// Draws the conclusions of a failed report: lines of an adapter that is gone are closed.
    private func failed(_ error: DriverError) -> DriverError {
        if error.code == .disconnected, device != nil {
            health = .failed(error.description)
            for input in orderedInputs { input.shut() }
        }
        return error
    }

    // MARK: Polling

    /// Polls after so many failures in a row are given up.
    private static let mostFailedPolls = 5

    private func startPolling() {
        guard !isPolling else { return }
        isPolling = true
        failedPolls = 0
        let (reactor, interval) = (reactor, pollInterval)
        reactor.start { [weak self] in
            while (try? await reactor.sleep(for: interval)) != nil {
                guard let goesOn = await self?.poll(), goesOn else { return }
            }
        }
    }

    /// One poll: false when there is nobody to poll for.
    private func poll() async -> Bool {
        guard device != nil, !inputs.isEmpty else {
            isPolling = false
            return false
        }
        do throws(DriverError) {
            _ = try await commands.turn { () async throws(DriverError) -> UInt8 in
                try await readLevels(operation: "poll the lines")
            }
            failedPolls = 0
            if case .degraded = health { health = .good }
            return true
        } catch {
            failedPolls += 1
            guard device != nil else {
                isPolling = false
                return false
            }
            if error.code == .disconnected || failedPolls >= Self.mostFailedPolls {
                health = .failed(error.description)
                for input in orderedInputs { input.shut() }
                inputs = [:]
                isPolling = false
                return false
            }
            health = .degraded(error.description)
            return true
        }
    }
}
