import HostIO
import Quantities
import Synchronization

/// A host with the chips that the lines of a recorded instrument are on.
final class ReplayGPIOHost: GPIOHost {
    private let player: SessionPlayer
    private let lines: [GPIOLineID]
    private let isEmulated: Bool
    private let reactor: any Reactor

    init(
        _ player: SessionPlayer, lines: [GPIOLineID], isEmulated: Bool, reactor: any Reactor
    ) {
        self.player = player
        self.lines = lines
        self.isEmulated = isEmulated
        self.reactor = reactor
    }

    func chips() async throws(GPIOError) -> [GPIOChipSummary] {
        Set(lines.map(\.chip)).sorted().map { chip in
            let count = lines.filter { $0.chip == chip }.map { Int($0.offset) + 1 }.max() ?? 0
            let unknown = [String?](repeating: nil, count: count)
            return GPIOChipSummary(
                name: chip, label: "recorded session", lineNames: unknown, consumers: unknown,
                isEmulated: isEmulated)
        }
    }

    func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        _ = try await player.request(line, options.sessionText(safeLevel: safeLevel))
        return ReplayLine(player, line, reactor: reactor)
    }

    func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        _ = try await player.request(line, options.sessionText(safeLevel: nil))
        return ReplayLine(player, line, reactor: reactor)
    }
}

extension SessionPlayer {
    /// What came of a request for a line.
    fileprivate func request(
        _ line: GPIOLineID, _ operation: String
    ) async throws(GPIOError) -> [UInt8] {
        guard let event = await request(line.description, operation) else {
            throw .system(code: 0, message: "the session differs: \(difference?.description ?? "")")
        }
        guard let failure = event.failure else { return event.received ?? [] }
        throw .system(code: 0, message: failure)
    }
}

private final class ReplayLine: GPIOOutput, GPIOInput {
    private let player: SessionPlayer
    private let reactor: any Reactor
    private let isReleased = Mutex(false)
    let line: GPIOLineID

    init(_ player: SessionPlayer, _ line: GPIOLineID, reactor: any Reactor) {
        self.player = player
        self.line = line
        self.reactor = reactor
    }

    func set(_ level: Bool) async throws(GPIOError) {
        _ = try await player.request(line, "set \(level ? 1 : 0)")
    }

    func level() async throws(GPIOError) -> Bool {
        try await player.request(line, "level").first == 1
    }

    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        let arrival = await player.arrival(
            line.description, until: nil, isClosed: { isReleased.withLock { $0 } })
        guard case .success(let event) = arrival, let byte = event.received?.first else {
            throw .closed(line)
        }
        return GPIOEdge(
            time: reactor.now, isRising: byte & 1 != 0, lossPossible: byte & 2 != 0)
    }

    func release() async {
        _ = await player.request(line.description, "release")
        isReleased.withLock { $0 = true }
        player.wake(line.description)
    }
}
