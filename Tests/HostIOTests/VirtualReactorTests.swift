import HostIO
import Quantities
import Synchronization
import TestSupport
import Testing

/// An actor on a given reactor that writes down when it was called.
private actor Diary {
    private let reactor: any Reactor
    private(set) var entries: [Int64] = []
    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }
    init(reactor: any Reactor) { self.reactor = reactor }
    func write() { entries.append(reactor.now.nanoseconds) }
    func write(_ entry: Int64) { entries.append(entry) }
}

struct VirtualReactorTests {
    @Test func timersRunInOrderAndMoveTheClock() throws {
        let reactor = VirtualReactor()
        let diary = Diary(reactor: reactor)
        let entries = try reactor.run {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for delay in [30, 10, 20, 10] {
                    group.addTask {
                        try await reactor.sleep(for: .nanoseconds(delay))
                        await diary.write()
                    }
                }
                try await group.waitForAll()
            }
            return await diary.entries
        }
        #expect(entries == [10, 10, 20, 30])
        #expect(reactor.now == HostInstant(nanoseconds: 30))
    }

    @Test(arguments: seeds(5)) func sameProgramSameOrder(seed: UInt64) throws {
        func digest() throws -> [Int64] {
            let reactor = VirtualReactor()
            let diary = Diary(reactor: reactor)
            return try reactor.run {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for task in 0..<20 {
                        group.addTask {
                            var generator = SeededGenerator(seed: seed, label: "\(task)")
                            for _ in 0..<20 {
                                let delay = Int64(generator.next() % 1000)
                                try await reactor.sleep(for: .nanoseconds(delay))
                                await diary.write(Int64(task))
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                return await diary.entries
            }
        }
        #expect(try digest() == digest())
    }

    @Test func cancellationEndsASleepAtOnce() throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let task = Task(executorPreference: reactor) {
                try await reactor.sleep(for: .seconds(1000))
            }
            try await reactor.sleep(for: .seconds(1))
            task.cancel()
            let result = await task.result
            #expect(throws: CancellationError.self) { try result.get() }
        }
        #expect(reactor.now.seconds == 1)
    }

    @Test func waitingForNothingIsADeadlock() {
        let reactor = VirtualReactor()
        #expect(throws: VirtualTimeDeadlock.self) {
            try reactor.run {
                let stream = AsyncStream<Int> { _ in }
                for await _ in stream {}
            }
        }
    }

    @Test func takenBackTimersDoNotRun() throws {
        let reactor = VirtualReactor()
        let runs = Mutex(0)
        try reactor.run {
            let token = reactor.schedule(at: HostInstant(nanoseconds: 5)) {
                runs.withLock { $0 += 1 }
            }
            reactor.cancel(token)
            try await reactor.sleep(for: .nanoseconds(10))
            reactor.cancel(token)
        }
        #expect(runs.withLock { $0 } == 0)
    }
}
