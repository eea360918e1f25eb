import DeviceProfiles
import HostIO
import Quantities

/// What a chip does with edges that nobody reads.
public enum GPIOEdgePolicy: Hashable, Sendable {
    /// Linux uAPI v1: 16 edges per line, the newest are dropped and nothing tells.
    case version1
    /// Linux uAPI v2: 16 edges per line, the oldest are dropped and sequence numbers tell.
    case version2
}

/// GPIO chips of an emulated bench, in process.
///
/// A line has an electrical level: what the host drives, else what the wired device drives, else
/// its pull resistor. Source for requests and edge buffers: Linux kernel documentation,
/// `userspace-api/gpio/` (chardev v1 and v2).
public final class EmulatedGPIOHost: GPIOHost, @unchecked Sendable {
    // @unchecked: all state is touched only under the lock of the context.
    let context: EmulationContext
    private var chipsByName: [String: Chip] = [:]

    /// A chip and its lines.
    final class Chip {
        let label: String
        let lines: [GPIOWire]
        init(label: String, lines: [GPIOWire]) {
            self.label = label
            self.lines = lines
        }
    }

    /// A host without chips.
    public init(context: EmulationContext) { self.context = context }

    // MARK: - The bench side

    /// Adds a chip; `pulls` gives the level that a line takes when nobody drives it, low where it
    /// says nothing.
    public func addChip(
        _ name: String, label: String, lineNames: [String?], pulls: [UInt32: Bool] = [:],
        policy: GPIOEdgePolicy = .version1
    ) {
        context.exclusively {
            let lines = lineNames.enumerated().map { offset, lineName in
                GPIOWire(
                    name: lineName, pull: pulls[UInt32(offset)] ?? false, policy: policy,
                    context: context)
            }
            chipsByName[name] = Chip(label: label, lines: lines)
        }
    }

    /// Takes a chip away; lines in use report `closed`.
    public func removeChip(_ name: String) {
        context.exclusively {
            for line in chipsByName[name]?.lines ?? [] { line.disconnect() }
            chipsByName[name] = nil
        }
    }

    /// Makes a fault of a line happen: `stuckLine` holds its present level, or that of the least
    /// bit of `detail`; `lostEdges` drops that many edges. Returns false for other kinds.
    @discardableResult
    public func inject(_ fault: EmulatedFault, line: GPIOLineID) -> Bool {
        context.exclusively {
            guard let wire = wire(line) else { return false }
            switch fault.kind {
            case .stuckLine:
                wire.hold(fault.detail.map { $0 & 1 != 0 } ?? wire.level)
                if let duration = fault.duration {
                    context.schedule(at: context.now + duration) { wire.hold(nil) }
                }
            case .lostEdges: wire.edgesToLose += max(1, fault.detail ?? 1)
            default: return false
            }
            return true
        }
    }

    /// The electrical level of a line; nil when there is no such line.
    public func electricalLevel(_ line: GPIOLineID) -> Bool? {
        context.exclusively { wire(line)?.level }
    }

    /// Drives a line from the bench side, or lets go of it with nil.
    public func drive(_ line: GPIOLineID, _ level: Bool?) {
        context.exclusively { wire(line)?.driveFromDevice(level) }
    }

    /// The line, for a model wired to it.
    func wire(_ line: GPIOLineID) -> GPIOWire? {
        guard let chip = chipsByName[line.chip], Int(line.offset) < chip.lines.count else {
            return nil
        }
        return chip.lines[Int(line.offset)]
    }

    // MARK: - GPIOHost

    /// The chips present, ordered by name.
    public func chips() async throws(GPIOError) -> [GPIOChipSummary] {
        context.exclusively {
            chipsByName.sorted { $0.key < $1.key }.map { name, chip in
                GPIOChipSummary(
                    name: name, label: chip.label, lineNames: chip.lines.map(\.name),
                    consumers: chip.lines.map(\.consumer), isEmulated: true)
            }
        }
    }

    /// Asks for an output line.
    public func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        try context.exclusively { () throws(GPIOError) in
            let wire = try request(line, options)
            let output = EmulatedGPIOOutput(
                line: line, wire: wire, context: context, safeLevel: safeLevel,
                isActiveLow: options.isActiveLow)
            wire.driveFromHost(safeLevel != options.isActiveLow)
            return output
        }
    }

    /// Asks for an input line.
    public func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        try context.exclusively { () throws(GPIOError) in
            let wire = try request(line, options)
            let input = EmulatedGPIOInput(
                line: line, wire: wire, context: context, isActiveLow: options.isActiveLow)
            wire.startReporting(to: input)
            return input
        }
    }

    private func request(
        _ line: GPIOLineID, _ options: GPIOLineOptions
    ) throws(GPIOError) -> GPIOWire {
        guard let wire = wire(line) else { throw .notFound("line \(line)") }
        if let consumer = wire.consumer { throw .busy(line, consumer: consumer) }
        wire.consumer = options.consumer
        return wire
    }
}

/// One line: who drives it, who watches it.
final class GPIOWire: @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    let name: String?
    private let pull: Bool
    private let policy: GPIOEdgePolicy
    private let context: EmulationContext
    private var hostDrive: Bool?
    private var deviceDrive: Bool?
    private var held: Bool?
    private weak var reader: EmulatedGPIOInput?
    private var watchers: [(Bool) -> Void] = []
    private var requestWatchers: [(Bool) -> Void] = []
    private(set) var isGone = false

    /// Edges to be dropped, by a fault.
    var edgesToLose = 0
    /// The electrical level.
    private(set) var level: Bool
    /// Who has asked for the line.
    var consumer: String? {
        didSet { for watcher in requestWatchers { watcher(consumer != nil) } }
    }

    init(name: String?, pull: Bool, policy: GPIOEdgePolicy, context: EmulationContext) {
        self.name = name
        self.pull = pull
        self.policy = policy
        self.context = context
        level = pull
    }

    func driveFromHost(_ level: Bool?) {
        hostDrive = level
        update()
    }

    func driveFromDevice(_ level: Bool?) {
        deviceDrive = level
        update()
    }

    /// Holds the line at a level whatever drives it.
    func hold(_ level: Bool?) {
        held = level
        update()
    }

    /// Calls `watcher` with each new electrical level.
    func watch(_ watcher: @escaping (Bool) -> Void) { watchers.append(watcher) }

    /// Calls `watcher` when a consumer asks for the line and when it gives it back.
    func watchRequests(_ watcher: @escaping (Bool) -> Void) { requestWatchers.append(watcher) }

    func startReporting(to input: EmulatedGPIOInput) { reader = input }

    func disconnect() {
        isGone = true
        reader?.shut()
    }

    func release() {
        reader = nil
        consumer = nil
        driveFromHost(nil)
    }

    private func update() {
        let new = held ?? hostDrive ?? deviceDrive ?? pull
        guard new != level else { return }
        level = new
        if edgesToLose > 0 {
            edgesToLose -= 1
        } else {
            reader?.electricalEdge(to: new, at: context.now, policy: policy)
        }
        for watcher in watchers { watcher(new) }
    }
}

/// An output line in the host's hands.
final class EmulatedGPIOOutput: GPIOOutput, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    let line: GPIOLineID
    private let wire: GPIOWire
    private let context: EmulationContext
    private let safeLevel: Bool
    private let isActiveLow: Bool
    private var isReleased = false

    init(
        line: GPIOLineID, wire: GPIOWire, context: EmulationContext, safeLevel: Bool,
        isActiveLow: Bool
    ) {
        self.line = line
        self.wire = wire
        self.context = context
        self.safeLevel = safeLevel
        self.isActiveLow = isActiveLow
    }

    func set(_ level: Bool) async throws(GPIOError) {
        try context.exclusively { () throws(GPIOError) in
            if isReleased || wire.isGone { throw .closed(line) }
            wire.driveFromHost(level != isActiveLow)
        }
    }

    func release() async {
        context.exclusively {
            guard !isReleased else { return }
            isReleased = true
            wire.driveFromHost(safeLevel != isActiveLow)
            wire.release()
        }
    }
}

/// An input line in the host's hands, with the edge buffer of the kernel.
final class EmulatedGPIOInput: GPIOInput, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    let line: GPIOLineID
    private let wire: GPIOWire
    private let context: EmulationContext
    private let isActiveLow: Bool
    private var isReleased = false
    private var edges: [GPIOEdge] = []
    private var wasFull = false
    private var waiting:
        [(id: UInt64, continuation: CheckedContinuation<Result<GPIOEdge, GPIOError>, Never>)] = []
    private var nextWaiter: UInt64 = 0

    /// Edges the kernel keeps for a line that nobody reads.
    private static let bufferSize = 16

    init(line: GPIOLineID, wire: GPIOWire, context: EmulationContext, isActiveLow: Bool) {
        self.line = line
        self.wire = wire
        self.context = context
        self.isActiveLow = isActiveLow
    }

    func electricalEdge(to level: Bool, at now: HostInstant, policy: GPIOEdgePolicy) {
        var edge = GPIOEdge(time: now, isRising: level != isActiveLow, lossPossible: false)
        if !waiting.isEmpty {
            edge.lossPossible = wasFull
            wasFull = false
            waiting.removeFirst().continuation.resume(returning: .success(edge))
            return
        }
        switch policy {
        case .version1:
            guard edges.count < Self.bufferSize else { return }
            edge.lossPossible = wasFull
            wasFull = false
            edges.append(edge)
            if edges.count == Self.bufferSize { wasFull = true }
        case .version2:
            edges.append(edge)
            guard edges.count > Self.bufferSize else { return }
            edges.removeFirst()
            edges[0].lossPossible = true
        }
    }

    func level() async throws(GPIOError) -> Bool {
        try context.exclusively { () throws(GPIOError) in
            if isReleased || wire.isGone { throw .closed(line) }
            return wire.level != isActiveLow
        }
    }

    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        let id = context.exclusively {
            nextWaiter += 1
            return nextWaiter
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<GPIOEdge, GPIOError>, Never>) in
                context.exclusively {
                    if isReleased || wire.isGone || Task.isCancelled {
                        continuation.resume(returning: .failure(.closed(line)))
                    } else if edges.isEmpty {
                        waiting.append((id, continuation))
                    } else {
                        continuation.resume(returning: .success(edges.removeFirst()))
                    }
                }
            }
        } onCancel: {
            context.exclusively {
                guard let index = waiting.firstIndex(where: { $0.id == id }) else { return }
                waiting.remove(at: index).continuation.resume(returning: .failure(.closed(line)))
            }
        }
        return try result.get()
    }

    func release() async {
        context.exclusively {
            guard !isReleased else { return }
            isReleased = true
            wire.release()
            shut()
        }
    }

    func shut() {
        for waiter in waiting { waiter.continuation.resume(returning: .failure(.closed(line))) }
        waiting = []
    }
}
