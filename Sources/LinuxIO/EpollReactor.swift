import CSystemShims
import Glibc
import HostIO
import Quantities
import Synchronization

/// The live reactor: one thread around one epoll set, which is the serial executor of the driver
/// actors.
///
/// It is kept apart from the shared pool because libusb and libgpiod want one thread for their
/// descriptors, and because a driver then runs in the callback of its own completion.
public final class EpollReactor: Reactor, @unchecked Sendable {
    // @unchecked: mutable state is inside the mutex; descriptors are constant.

    /// Called on the reactor's thread with the ready epoll events.
    package typealias ReadyHandler = @Sendable (_ events: UInt32) -> Void

    /// A descriptor that is watched. The number of the watch goes through epoll with its events: one
    /// that was fetched for an earlier watch of the same descriptor must not reach this handler.
    private struct Watch {
        var number: UInt32
        var handler: ReadyHandler
    }

    private struct State {
        var jobs: [UnownedJob] = []
        var timers = TimerQueue()
        var watches: [Int32: Watch] = [:]
        var watchCount: UInt32 = 0
        var isStopping = false
        var thread: pthread_t?
    }

    private let epoll: Int32
    private let wakeUp: Int32
    private let timer: Int32
    private let state = Mutex(State())

    /// Creates the descriptors and starts the thread.
    ///
    /// - Throws: `ByteStreamError.system` when the kernel refuses a descriptor or a thread.
    public init() throws(ByteStreamError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeUp = berek_eventfd_create()
        timer = berek_timerfd_create()
        guard epoll >= 0, wakeUp >= 0, timer >= 0 else {
            throw .system(code: errno, message: "can not create the reactor's descriptors")
        }
        try add(wakeUp, events: EPOLLIN.rawValue, number: 0)
        try add(timer, events: EPOLLIN.rawValue, number: 0)
        try startThread()
    }

    deinit {
        close(epoll)
        close(wakeUp)
        close(timer)
    }

    private func startThread() throws(ByteStreamError) {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let status = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<EpollReactor>.fromOpaque(context).takeRetainedValue().loop()
                return nil
            }, context)
        guard status == 0 else {
            Unmanaged<EpollReactor>.fromOpaque(context).release()
            throw .system(code: status, message: "can not start the reactor's thread")
        }
        pthread_detach(thread)
    }

    /// The system's monotonic clock.
    public var now: HostInstant { MonotonicTime.now }

    /// Queues a job of an actor that runs here.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.jobs.append(job) }
        wake()
    }

    /// This reactor as an executor of actors.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    /// Traps unless called on the reactor's thread.
    public func checkIsolated() {
        precondition(isOnReactorThread, "not on the reactor's thread")
    }

    /// Whether the caller is on the reactor's thread.
    public func isIsolatingCurrentContext() -> Bool? { isOnReactorThread }

    private var isOnReactorThread: Bool {
        state.withLock { state in
            guard let thread = state.thread else { return false }
            return pthread_equal(thread, pthread_self()) != 0
        }
    }

    /// Runs `work` on the reactor's thread, not before `instant`.
    @discardableResult
    public func schedule(
        at instant: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        let token = state.withLock { $0.timers.add(at: instant, work) }
        wake()
        return token
    }

    /// Takes scheduled work back.
    public func cancel(_ token: TimerToken) { state.withLock { $0.timers.cancel(token) } }

    /// Starts a task on the shared pool.
    @discardableResult
    public func start(_ operation: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        Task { await operation() }
    }

    /// Ends the thread after the work already queued. Timers that are not yet due are dropped.
    public func stop() {
        state.withLock { $0.isStopping = true }
        wake()
    }

    /// Calls `handler` on the reactor's thread whenever `descriptor` has one of `events`.
    package func watch(
        _ descriptor: Int32, events: UInt32, _ handler: @escaping ReadyHandler
    ) throws(ByteStreamError) {
        let number = state.withLock { state in
            state.watchCount &+= 1
            state.watches[descriptor] = Watch(number: state.watchCount, handler: handler)
            return state.watchCount
        }
        do throws(ByteStreamError) {
            try add(descriptor, events: events, number: number)
        } catch {
            state.withLock { $0.watches[descriptor] = nil }
            throw error
        }
    }

    /// Calls `handler` on the reactor's thread whenever `descriptor` can be read.
    package func watchInput(
        _ descriptor: Int32, _ handler: @escaping @Sendable () -> Void
    ) throws(ByteStreamError) {
        try watch(descriptor, events: EPOLLIN.rawValue) { _ in handler() }
    }

    /// Changes the events that `descriptor` is watched for.
    package func rewatch(_ descriptor: Int32, events: UInt32) {
        guard let number = state.withLock({ $0.watches[descriptor]?.number }) else { return }
        var event = epoll_event(events: events, data: Self.tag(descriptor, number))
        epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event)
    }

    /// Stops watching a descriptor; call it before closing the descriptor.
    package func unwatch(_ descriptor: Int32) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
        state.withLock { $0.watches[descriptor] = nil }
    }

    private static func tag(_ descriptor: Int32, _ number: UInt32) -> epoll_data_t {
        epoll_data_t(u64: UInt64(number) << 32 | UInt64(UInt32(bitPattern: descriptor)))
    }

    private func add(
        _ descriptor: Int32, events: UInt32, number: UInt32
    ) throws(ByteStreamError) {
        var event = epoll_event(events: events, data: Self.tag(descriptor, number))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
            throw .system(code: errno, message: "can not watch descriptor \(descriptor)")
        }
    }

    private func wake() {
        var one: UInt64 = 1
        // A full counter means that a wake-up is pending already.
        _ = write(wakeUp, &one, 8)
    }

    private func loop() {
        state.withLock { $0.thread = pthread_self() }
        var events = [epoll_event](repeating: epoll_event(), count: 64)
        while true {
            runReadyWork()
            if state.withLock({ $0.isStopping && $0.jobs.isEmpty }) { break }
            armTimer()
            let count = epoll_wait(epoll, &events, Int32(events.count), -1)
            guard count > 0 else { continue }
            for event in events[..<Int(count)] {
                let descriptor = Int32(truncatingIfNeeded: event.data.u64)
                let number = UInt32(event.data.u64 >> 32)
                if descriptor == wakeUp || descriptor == timer {
                    var value: UInt64 = 0
                    _ = read(descriptor, &value, 8)
                } else if let watch = state.withLock({ $0.watches[descriptor] }),
                    watch.number == number
                {
                    watch.handler(event.events)
                }
            }
        }
        state.withLock { $0.thread = nil }
    }

    /// Runs queued jobs and due timers until none is left.
    private func runReadyWork() {
        while true {
            let jobs = state.withLock { state in
                let jobs = state.jobs
                state.jobs.removeAll(keepingCapacity: true)
                return jobs
            }
            for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
            let now = MonotonicTime.now
            let due = state.withLock { $0.timers.popEarliest(dueAt: now) }
            due?.work()
            if jobs.isEmpty, due == nil { return }
        }
    }

    private func armTimer() {
        let earliest = state.withLock { $0.timers.earliest }
        // 0 would disarm: a deadline at the origin of the clock is long past anyway.
        berek_timerfd_set(timer, earliest.map { max(1, $0.nanoseconds) } ?? 0)
    }
}
