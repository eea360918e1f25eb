import CLibGPIOD
import CSystemShims
import Glibc
import HostIO
import Quantities

/// The GPIO chips of this machine through libgpiod 1.6 (the character device's uAPI v1).
///
/// That interface keeps 16 edges a line and silently drops the newest when more happen before they
/// are read, so a full read marks the following edge with `lossPossible` and the level is to be
/// read again. Edges faster than the kernel's interrupt thread are merged before they are counted;
/// what tells is an edge like the one before, which is marked too. A burst that is merged into an
/// edge of the other kind leaves no trace.
public actor LinuxGPIOHost: GPIOHost {
    private let reactor: EpollReactor

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// The chips of this machine; edges are read on `reactor`.
    public init(reactor: EpollReactor) { self.reactor = reactor }

    /// The chips present, ordered by name.
    public func chips() async throws(GPIOError) -> [GPIOChipSummary] {
        let names = Sysfs.entries("/dev").filter { $0.hasPrefix("gpiochip") }.sorted()
        var result: [GPIOChipSummary] = []
        for name in names {
            let chip = try ChipHandle(name: name)
            result.append(chip.summary(name: name))
        }
        return result
    }

    /// Asks for an output line and drives it to its safe level at once.
    public func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        let request = try LineRequest(line, options: options) { pointer in
            gpiod_line_request_output_flags(
                pointer, options.consumer, Self.flags(options), safeLevel ? 1 : 0)
        }
        return LinuxGPIOOutput(request: request, safeLevel: safeLevel, reactor: reactor)
    }

    /// Asks for an input line with both edges.
    public func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        let request = try LineRequest(line, options: options) { pointer in
            gpiod_line_request_both_edges_events_flags(
                pointer, options.consumer, Self.flags(options))
        }
        let input = LinuxGPIOInput(request: request, reactor: reactor)
        try await input.start()
        return input
    }

    private static func flags(_ options: GPIOLineOptions) -> Int32 {
        options.isActiveLow ? Int32(GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW) : 0
    }
}

/// An open chip; closing it releases its lines.
private struct ChipHandle: ~Copyable {
    let pointer: OpaquePointer

    init(name: String) throws(GPIOError) {
        guard let pointer = gpiod_chip_open_by_name(name) else {
            switch errno {
            case EACCES, EPERM: throw .accessDenied("/dev/\(name)")
            case ENOENT, ENODEV: throw .notFound("GPIO chip \(name)")
            default: throw GPIOError.lastSystemError("/dev/\(name)")
            }
        }
        self.pointer = pointer
    }

    func summary(name: String) -> GPIOChipSummary {
        var lineNames: [String?] = []
        var consumers: [String?] = []
        for offset in 0..<gpiod_chip_num_lines(pointer) {
            let line = gpiod_chip_get_line(pointer, offset)
            lineNames.append(gpiod_line_name(line).map { String(cString: $0) })
            consumers.append(gpiod_line_consumer(line).map { String(cString: $0) })
        }
        return GPIOChipSummary(
            name: name, label: gpiod_chip_label(pointer).map { String(cString: $0) } ?? "",
            lineNames: lineNames, consumers: consumers, isEmulated: false)
    }

    deinit { gpiod_chip_close(pointer) }
}

/// One requested line, with the chip it came from.
private struct LineRequest: ~Copyable, @unchecked Sendable {
    // @unchecked: libgpiod's handles are used by the one owner, on the reactor.
    let id: GPIOLineID
    let line: OpaquePointer
    private let chip: ChipHandle

    init(
        _ id: GPIOLineID, options: GPIOLineOptions, request: (OpaquePointer) -> Int32
    ) throws(GPIOError) {
        let chip = try ChipHandle(name: id.chip)
        guard let line = gpiod_chip_get_line(chip.pointer, id.offset) else {
            throw .notFound("GPIO line \(id)")
        }
        guard request(line) == 0 else {
            if errno == EBUSY {
                let holder = gpiod_line_consumer(line).map { String(cString: $0) }
                throw .busy(id, consumer: holder ?? "the kernel")
            }
            throw GPIOError.lastSystemError("line \(id)")
        }
        self.id = id
        self.line = line
        self.chip = chip
    }

    deinit { gpiod_line_release(line) }
}

extension GPIOError {
    /// The error of the last system call.
    fileprivate static func lastSystemError(_ subject: String) -> GPIOError {
        let code = errno
        return .system(code: code, message: "\(subject): \(String(cString: strerror(code)))")
    }
}

private actor LinuxGPIOOutput: GPIOOutput {
    nonisolated let line: GPIOLineID
    private var request: LineRequest?
    private let safeLevel: Bool
    private let reactor: EpollReactor

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    init(request: consuming LineRequest, safeLevel: Bool, reactor: EpollReactor) {
        line = request.id
        self.request = consume request
        self.safeLevel = safeLevel
        self.reactor = reactor
    }

    func set(_ level: Bool) async throws(GPIOError) {
        guard let pointer = request?.line else { throw .closed(line) }
        guard gpiod_line_set_value(pointer, level ? 1 : 0) == 0 else {
            throw .lastSystemError("line \(line)")
        }
    }

    func release() async {
        guard let taken = request.take() else { return }
        gpiod_line_set_value(taken.line, safeLevel ? 1 : 0)
    }

    isolated deinit {
        if let pointer = request?.line { gpiod_line_set_value(pointer, safeLevel ? 1 : 0) }
    }
}

private actor LinuxGPIOInput: GPIOInput {
    /// What uAPI v1 keeps for one line (linux/drivers/gpio/gpiolib-cdev.c, lineevent_state).
    private static let kernelBuffer = 16
    /// Edges kept for a reader that is slow; then the oldest give way, and loss is marked.
    private static let capacity = 1024

    nonisolated let line: GPIOLineID
    private var request: LineRequest?
    private let reactor: EpollReactor
    private var descriptor: Int32 = -1
    private var edges: [GPIOEdge] = []
    private var lossPossible = false
    /// Whether the last edge seen was a rising one; at first, whether the line was active.
    private var wasRising = false
    private var waiter: CheckedContinuation<Void, Never>?

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    init(request: consuming LineRequest, reactor: EpollReactor) {
        line = request.id
        self.request = consume request
        self.reactor = reactor
    }

    func start() async throws(GPIOError) {
        guard let pointer = request?.line else { throw .closed(line) }
        wasRising = gpiod_line_get_value(pointer) == 1
        descriptor = gpiod_line_event_get_fd(pointer)
        guard descriptor >= 0 else { throw .lastSystemError("line \(line)") }
        do throws(ByteStreamError) {
            try reactor.watch(descriptor, events: EPOLLIN.rawValue) { [weak self] _ in
                self?.assumeIsolated { $0.drain() }
            }
        } catch {
            throw .lastSystemError("line \(line)")
        }
    }

    private func drain() {
        guard let pointer = request?.line else { return }
        var events = [gpiod_line_event](repeating: gpiod_line_event(), count: Self.kernelBuffer)
        let count = Int(
            gpiod_line_event_read_multiple(pointer, &events, UInt32(Self.kernelBuffer)))
        guard count > 0 else { return }
        for event in events[..<count] {
            let isRising = event.event_type == GPIOD_LINE_EVENT_RISING_EDGE
            // Edges faster than the interrupt thread are merged: then two alike follow each other.
            if isRising == wasRising { lossPossible = true }
            wasRising = isRising
            edges.append(
                GPIOEdge(
                    time: HostInstant(
                        nanoseconds: Int64(event.ts.tv_sec) * 1_000_000_000
                            + Int64(event.ts.tv_nsec)),
                    isRising: isRising, lossPossible: lossPossible))
            lossPossible = false
        }
        if count == Self.kernelBuffer { lossPossible = true }
        if edges.count > Self.capacity {
            edges.removeFirst(edges.count - Self.capacity)
            edges[0].lossPossible = true
        }
        waiter?.resume()
        waiter = nil
    }

    func level() async throws(GPIOError) -> Bool {
        guard let pointer = request?.line else { throw .closed(line) }
        let value = gpiod_line_get_value(pointer)
        guard value >= 0 else { throw .lastSystemError("line \(line)") }
        return value == 1
    }

    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        while edges.isEmpty {
            guard request != nil else { throw .closed(line) }
            precondition(waiter == nil, "one reader at a time on line \(line)")
            await withCheckedContinuation { waiter = $0 }
        }
        return edges.removeFirst()
    }

    func release() async {
        guard request != nil else { return }
        if descriptor >= 0 { reactor.unwatch(descriptor) }
        request = nil
        waiter?.resume()
        waiter = nil
    }

    isolated deinit {
        if request != nil, descriptor >= 0 { reactor.unwatch(descriptor) }
    }
}
