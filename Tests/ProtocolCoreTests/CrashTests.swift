import LinkTypes
import ProtocolCore
import Quantities
import TestSupport
import Testing

/// Two nodes killed at every write and on a network that does what it likes: no pad is used twice,
/// no key is released at one end only, and keys are made again once the faults stop.
@Suite struct CrashTests {
    /// The writes of one block at each end, with nothing in the way.
    static let writes = (alice: 4, bob: 5)

    struct Point: Hashable, CustomStringConvertible {
        var role: Role
        var write: Int
        var takesEffect: Bool
        var description: String {
            "\(role) dies \(takesEffect ? "after" : "before") write \(write)"
        }
    }

    static let points: [Point] = [(Role.alice, writes.alice), (.bob, writes.bob)].flatMap {
        role, count in
        (0..<count).flatMap { write in
            [false, true].map { Point(role: role, write: write, takesEffect: $0) }
        }
    }

    @Test func aBlockWritesAsOftenAsTheTableSays() throws {
        let seed: UInt64 = 0xC4A5
        let nodes = TwoNodeSimulation(seed: seed)
        try nodes.run(untilBobReleased: 1)
        nodes.checkRest()
        #expect(nodes.violations.isEmpty, "seed \(seed)")
        #expect(nodes.alice.writes == Self.writes.alice)
        #expect(nodes.bob.writes == Self.writes.bob)
    }

    @Test(arguments: points) func aCrashAtAnyWriteLosesNothingButTime(_ point: Point) throws {
        let seed: UInt64 = 0xC4A6
        let nodes = TwoNodeSimulation(seed: seed)
        let disk = point.role == .alice ? nodes.alice : nodes.bob
        disk.restart(crash: .init(write: point.write, takesEffect: point.takesEffect))
        try nodes.run(untilBobReleased: 2)
        nodes.checkRest()
        #expect(nodes.crashes == 1, "seed \(seed)")
        #expect(nodes.violations.isEmpty, "seed \(seed)")
        #expect(nodes.bob.state.order.count >= 2, "seed \(seed)")
    }

    /// Alice released and died before she could say so, or Bob before he heard it.
    @Test(arguments: [
        Point(role: .alice, write: 2, takesEffect: true),
        Point(role: .alice, write: 3, takesEffect: false),
        Point(role: .bob, write: 3, takesEffect: false),
        Point(role: .bob, write: 4, takesEffect: false),
    ]) func aKeyReleasedByAliceIsRecoveredByBob(_ point: Point) throws {
        let seed: UInt64 = 0xC4A7
        let nodes = TwoNodeSimulation(seed: seed)
        let disk = point.role == .alice ? nodes.alice : nodes.bob
        disk.restart(crash: .init(write: point.write, takesEffect: point.takesEffect))
        try nodes.run(untilBobReleased: 2)
        #expect(nodes.recovered == [try #require(nodes.alice.state.order.first)], "seed \(seed)")
        #expect(nodes.violations.isEmpty, "seed \(seed)")
    }

    @Test(arguments: seeds(12, from: 0xFA_0100)) func keysAreMadeOnceTheFaultsStop(
        seed: UInt64
    ) throws {
        let nodes = TwoNodeSimulation(seed: seed)
        nodes.faults = .init(lost: 8, repeated: 4, swapped: 4, forged: 8, killed: 8)
        try nodes.run(untilBobReleased: 100, epochs: 40)
        for (disk, write) in [(nodes.alice, Int(seed % 4)), (nodes.bob, Int(seed % 5))] {
            disk.restart(crash: .init(write: write, takesEffect: seed & 8 == 0))
        }
        try nodes.run(untilBobReleased: 100, epochs: 20)
        nodes.faults = .none
        let before = nodes.bob.state.order.count
        try nodes.run(untilBobReleased: before + 2)
        nodes.checkRest()
        #expect(nodes.violations.isEmpty, "seed \(seed)")
        #expect(nodes.bob.state.order.count >= before + 2, "seed \(seed)")
        #expect(nodes.sessions > 3, "seed \(seed)")
    }
}
