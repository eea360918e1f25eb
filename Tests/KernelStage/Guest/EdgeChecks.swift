import CSystemShims
import Emulated
import Glibc
import HostIO
import Instruments
import LinkService
import LinuxIO
import Quantities

/// What the kernel does with edges, as LinuxGPIOHost shows it.
struct EdgeChecks {
    let checklist: Checklist
    let bench: GPIOBench
    let host: LinuxGPIOHost
    let reactor: EpollReactor
    let benchReactor: EpollReactor

    /// A line wired to nothing.
    private static let free = 16

    func run() async {
        await pulsePerSecond()
        await checklist.check("edges: a slow reader") { try await slowReader() }
        await checklist.check("edges: a burst") { try await burst() }
    }

    private func pulsePerSecond() async {
        await checklist.check("edges: pulse per second") {
            guard let line = bench.wirings[1].lines[.pulsePerSecond] else { return "" }
            let input = try await host.input(line, options: GPIOLineOptions(consumer: "pps"))
            let crowd = try Crowd(Self.crowdSize)
            crowdPulses(crowd)
            var offsets: [Int64] = []
            var previous: GPIOEdge?
            while offsets.count < Self.pulses {
                let edge = try await input.nextEdge()
                try require(previous?.isRising != edge.isRising, "edges do not alternate")
                try require(!edge.lossPossible, "a loss where there is none")
                previous = edge
                guard edge.isRising else { continue }
                let time = bench.bench.context.benchTime(at: edge.time)
                offsets.append(time.rawValue % 1_000_000_000_000 / 1000)
            }
            await input.release()
            crowd.leave()
            try require(
                offsets.allSatisfy { $0 < 1_000_000 },
                "pulses are more than 1 ms late: \(offsets) ns after the second")
            return "rising edges \(offsets) ns after the second"
        }
    }

    private static let pulses = 3
    private static let crowdSize = 8

    /// Has other threads at work when each of the next pulses comes, which mark whole seconds of
    /// the bench.
    private func crowdPulses(_ crowd: Crowd) {
        let context = bench.bench.context
        let second = Int64(1_000_000_000_000)
        let next = context.benchTime(at: reactor.now).rawValue / second + 1
        for index in 0..<Int64(Self.pulses) {
            let pulse = context.hostInstant(at: Picoseconds((next + index) * second))
            crowd.work(around: pulse)
        }
    }

    /// The line as the test sees it: requested, with its edges.
    private func requestFreeLine() async throws -> any GPIOInput {
        guard let chip = bench.wirings[0].lines[.gateEnable]?.chip else {
            throw CheckFailure("no chip")
        }
        return try await host.input(
            GPIOLineID(chip: chip, offset: UInt32(Self.free)),
            options: GPIOLineOptions(consumer: "edges"))
    }

    /// Toggles the line `count` times on the thread of the bench, `interval` apart.
    private func toggle(_ count: Int, every interval: Duration) {
        let line = bench.benchLine(Self.free)
        let gpio = bench.bench.gpio
        let start = benchReactor.now + interval
        for index in 0..<count {
            benchReactor.schedule(at: start + interval * index) {
                gpio.drive(line, index % 2 == 0)
            }
        }
    }

    /// Nobody reads while 40 edges come: the kernel keeps 16 and drops the newest, silently.
    private func slowReader() async throws -> String {
        let input = try await requestFreeLine()
        toggle(40, every: .milliseconds(1))
        reactor.schedule(at: reactor.now) {
            // The thread of the drivers is busy with something else for 60 ms.
            berek_wait_for_io(-1, 0, 60_000_000)
        }
        try await reactor.sleep(for: .milliseconds(1))
        var edges: [GPIOEdge] = []
        for _ in 0..<16 { edges.append(try await input.nextEdge()) }
        try requireEqual(
            edges.map(\.isRising), (0..<16).map { $0 % 2 == 0 }, "the first 16 edges")
        try require(edges.allSatisfy { !$0.lossPossible }, "a loss among the first 16 edges")
        toggle(2, every: .milliseconds(1))
        let next = try await input.nextEdge()
        try requireEqual(next.lossPossible, true, "loss mark of the edge after a full buffer")
        let last = try await input.nextEdge()
        try requireEqual(last.lossPossible, false, "loss mark of the edge after that")
        await input.release()
        return "40 edges, 16 kept, the next one marked"
    }

    /// Edges of the free line in one call of the kernel: no thread runs in between.
    private static func writeBurst(_ count: Int) throws {
        let descriptor = open(KernelGPIOAttachment.defaultPath, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CheckFailure("no \(KernelGPIOAttachment.defaultPath)") }
        defer { close(descriptor) }
        var records: [UInt32] = []
        for index in 0..<count { records += [0, 0, UInt32(free), index % 2 == 0 ? 1 : 0] }
        let written = records.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        try requireEqual(written, count * 16, "bytes written")
    }

    /// Edges faster than the interrupt thread: the kernel merges them before its buffer.
    private func burst() async throws -> String {
        let input = try await requestFreeLine()
        try Self.writeBurst(64)
        try await reactor.sleep(for: .milliseconds(10))
        let level = try await input.level()
        try requireEqual(level, false, "level after the burst")
        // One more pair, to know when everything of the burst has been read.
        let end = reactor.now
        toggle(2, every: .milliseconds(1))
        var seen: [GPIOEdge] = []
        while true {
            let edge = try await input.nextEdge()
            if edge.time > end { break }
            seen.append(edge)
        }
        await input.release()
        let shown = seen.map { ($0.isRising ? "R" : "F") + ($0.lossPossible ? "!" : "") }
        try require(
            seen.count < 64, "every edge of a burst arrived: this kernel does not merge them")
        return "64 edges at once, seen: \(shown.joined(separator: " "))"
    }
}
