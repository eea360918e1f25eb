import EventPipeline
import FirmwareProfiles
import Foundation
import Glibc
import HostIO
import LinkService
import LinuxIO
import Quantities
import Synchronization
import Testing

/// A bench served on this machine: fronts and the control socket.
struct BenchServerTests {
    /// No assertion: other tests may keep the threads busy for a while.
    private static let limit = Duration.seconds(300)

    /// A server with its reactor, in a folder of its own.
    private struct Running {
        let server: BenchServer
        let reactor: EpollReactor
        let folder: String
        let lines: Lines
        let end: Task<Void, Never>

        var socket: String { folder + "/control" }
        var client: BenchControlClient { BenchControlClient(path: socket, reactor: reactor) }

        func stop() async {
            server.stop()
            await end.value
            reactor.stop()
            try? FileManager.default.removeItem(atPath: folder)
        }
    }

    /// What a server announced.
    private final class Lines: Sendable {
        private let state = Mutex<[String]>([])
        var all: [String] { state.withLock { $0 } }
        func add(_ line: String) { state.withLock { $0.append(line) } }
    }

    private static func serve(
        clock: BenchClock = .virtual, _ adjust: (inout BenchFronts, String) -> Void = { _, _ in }
    ) async throws -> Running {
        // Socket paths are short.
        let folder = "/tmp/berek-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false)
        let reactor = try EpollReactor()
        let catalog = try FirmwareProfiles.catalog()
        var fronts = BenchFronts()
        fronts.control = folder + "/control"
        adjust(&fronts, folder)
        let lines = Lines()
        let server = try BenchServer(
            file: try .bb84(catalog: catalog), catalog: catalog, clock: clock, fronts: fronts,
            reactor: reactor, announce: { lines.add($0) })
        let end = reactor.start { await server.run() }
        return Running(server: server, reactor: reactor, folder: folder, lines: lines, end: end)
    }

    private static func during(
        clock: BenchClock = .virtual, _ adjust: (inout BenchFronts, String) -> Void = { _, _ in },
        _ body: (Running) async throws -> Void
    ) async throws {
        let running = try await serve(clock: clock, adjust)
        do { try await body(running) } catch {
            await running.stop()
            throw error
        }
        await running.stop()
    }

    // MARK: - Control socket

    /// Sends raw bytes and returns the lines that come back until `count` or the end.
    private static func exchange(
        _ running: Running, _ bytes: [UInt8], lines count: Int
    ) async throws -> [String] {
        let stream = try UnixSocket.connect(to: running.socket, reactor: running.reactor)
        try await stream.write(bytes, timeout: limit)
        var answer: [UInt8] = []
        while answer.count(where: { $0 == 10 }) < count {
            guard let more = try? await stream.read(upTo: 4096, timeout: limit) else { break }
            answer += more
        }
        await stream.close()
        return String(decoding: answer, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func whatIsNoRequestIsRefusedAndTheConnectionLives() async throws {
        try await Self.during { running in
            let requests = [
                "hello", "[1]", "{\"version\":2,\"command\":\"status\"}",
                "{\"version\":1,\"id\":\"a\",\"command\":\"dance\"}",
                "{\"version\":1,\"id\":7,\"command\":\"plug\"}",
                "{\"version\":1,\"id\":8,\"command\":\"status\",\"colour\":1}",
                "{\"version\":1,\"id\":9,\"command\":\"plug\",\"device\":\"nobody\"}",
                "{\"version\":1,\"id\":10,\"command\":\"unplug\",\"device\":\"detector-d\"}",
                "{\"version\":1,\"id\":11,\"command\":\"inject\",\"device\":\"SPD-0001\","
                    + "\"kind\":\"stuck_line\"}",
                "{\"version\":1,\"id\":12,\"command\":\"advance\",\"seconds\":-1}",
                "{\"version\":1,\"id\":13,\"command\":\"cancel\",\"fault\":5}",
                "{\"version\":1,\"id\":14,\"command\":\"inject\",\"optics\":\"blinding\"}",
                "{\"version\":1,\"id\":15,\"command\":\"faults\"}",
            ]
            let bytes = Array((requests.joined(separator: "\n") + "\n").utf8)
            let answers = try await Self.exchange(running, bytes, lines: requests.count)
            let codes = answers.map { line in
                line.firstMatch(of: /BRK-BEN-00\d/).map { String($0.output) } ?? "none"
            }
            #expect(
                codes.map { $0.suffix(3) } == [
                    "001", "001", "002", "003", "004", "004", "005", "006", "006", "004", "005",
                    "004", "one",
                ])
            #expect(answers[3].contains("\"id\":\"a\"") && answers[4].contains("\"id\":7"))
            #expect(answers.last == "{\"version\":1,\"id\":15,\"ok\":true,\"result\":[]}")
        }
    }

    @Test func aLineThatIsTooLongEndsTheConnection() async throws {
        try await Self.during { running in
            let line = [UInt8](repeating: 65, count: BenchControl.longestLine + 2)
            let answers = try await Self.exchange(running, line, lines: 2)
            #expect(answers.count == 1 && answers[0].contains("BRK-BEN-007"))
            // Exactly the longest is read, and is no JSON.
            let longest = [UInt8](repeating: 65, count: BenchControl.longestLine) + [10]
            #expect(
                try await Self.exchange(running, longest, lines: 1)[0].contains("BRK-BEN-001"))
        }
    }

    @Test func clientsBeyondTheLimitAreTurnedAway() async throws {
        try await Self.during { running in
            var streams: [any ByteStream] = []
            for _ in 0..<BenchControl.clients {
                let stream = try UnixSocket.connect(to: running.socket, reactor: running.reactor)
                try await stream.write(
                    Array("{\"version\":1,\"command\":\"faults\"}\n".utf8), timeout: Self.limit)
                let answer = try await stream.read(upTo: 4096, timeout: Self.limit)
                #expect(String(decoding: answer, as: UTF8.self).contains("\"ok\":true"))
                streams.append(stream)
            }
            let answers = try await Self.exchange(running, [], lines: 1)
            #expect(answers.first?.contains("BRK-BEN-008") == true)
            for stream in streams { await stream.close() }
        }
    }

    @Test func theSocketIsForThisUserAndCanNotBeTakenTwice() async throws {
        try await Self.during { running in
            let attributes = try FileManager.default.attributesOfItem(atPath: running.socket)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            #expect(throws: ByteStreamError.busy(running.socket)) {
                _ = try UnixListener(path: running.socket, reactor: running.reactor)
            }
            // A file that is no socket is not removed.
            let file = running.folder + "/file"
            try Data("keep".utf8).write(to: URL(filePath: file))
            #expect(throws: ByteStreamError.busy(file)) {
                _ = try UnixListener(path: file, reactor: running.reactor)
            }
            #expect(FileManager.default.fileExists(atPath: file))
        }
    }

    // MARK: - Time and truth

    /// The truth of a bench advanced in the given steps, and what it said on the way.
    private static func truth(after steps: [Double]) async throws -> JSONValue {
        var result = JSONValue.null
        try await during { running in
            for seconds in steps {
                _ = try await running.client.ask(
                    "advance", [("seconds", .number(seconds))], timeout: .seconds(300))
            }
            result = try await running.client.ask("truth", timeout: .seconds(300))
        }
        return result
    }

    @Test func virtualTimeStandsAndAdvancesTheSameWay() async throws {
        let once = try await Self.truth(after: [0.25])
        let inSteps = try await Self.truth(after: [0.1, 0.0005, 0.1495])
        #expect(once == inSteps)
        #expect(once["time_s"] == .number(0.25) && once["seed"] == .integer(1))
        let still = try await Self.truth(after: [])
        #expect(still["time_ps"] == .integer(0))
        #expect(once["fibre_rotation"] != still["fibre_rotation"])
        #expect(once["plate_angles_deg"] == still["plate_angles_deg"])
    }

    @Test func aRealClockRefusesToBeAdvanced() async throws {
        try await Self.during(clock: .real) { running in
            let client = running.client
            let error = await #expect(throws: BenchControlFailure.self) {
                _ = try await client.ask("advance", [("seconds", .number(1))])
            }
            guard case .refused("BRK-BEN-006", let expected, _)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(expected.contains("--clock virtual"))
        }
    }

    @Test func faultsArePlannedListedTakenBackAndStrike() async throws {
        try await Self.during { running in
            let client = running.client
            func plan(_ after: Double) async throws -> JSONValue {
                try await client.ask(
                    "inject",
                    [
                        ("optics", .string("blinding")), ("detector", .string("V")),
                        ("after_s", .number(after)),
                    ])
            }
            #expect(try await plan(0.01)["fault"] == .integer(1))
            #expect(try await plan(0.02)["fault"] == .integer(2))
            let listed = try await client.ask("faults")
            guard case .array(let faults) = listed, faults.count == 2 else {
                Issue.record("\(listed)")
                return
            }
            #expect(faults[0]["what"] == .string("blinding of detector V"))
            _ = try await client.ask("cancel", [("fault", .count(1))])
            func blinded() async throws -> JSONValue? {
                let truth = try await client.ask("truth", timeout: .seconds(300))
                guard case .array(let detectors)? = truth["detectors"] else { return nil }
                return detectors[1]["blinded"]
            }
            _ = try await client.ask("advance", [("seconds", .number(0.015))])
            #expect(try await blinded() == .bool(false))
            _ = try await client.ask("advance", [("seconds", .number(0.01))])
            #expect(try await blinded() == .bool(true))
            #expect(try await client.ask("faults") == .array([]))
        }
    }

    // MARK: - Fronts

    /// Reads from `stream` until `isComplete`.
    private static func read(
        _ stream: any ByteStream, until isComplete: ([UInt8]) -> Bool
    ) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while !isComplete(bytes) { bytes += try await stream.read(upTo: 256, timeout: limit) }
        return bytes
    }

    @Test func anInstrumentOnTCPAnswersOneClientAtATime() async throws {
        try await Self.during(clock: .real) { fronts, _ in
            fronts.tcp = [("SPD-0001", 0)]
            fronts.usbip = 0
        } _: { running in
            guard case .array(let devices) = try await running.client.ask("devices"),
                let device = devices.first(where: { $0["name"] == .string("SPD-0001") }),
                case .integer(let number)? = device["tcp"], let port = UInt16(exactly: number)
            else {
                Issue.record("no TCP port")
                return
            }
            // One cable: it is not on the bus, the others are.
            #expect(device["usb_port"] == .null)
            #expect(devices.count { $0["usb_port"] != .null } == 4)
            func connect() async throws -> any ByteStream {
                try await TCP.connect(
                    to: "127.0.0.1", port: port, timeout: Self.limit, reactor: running.reactor)
            }
            let first = try await connect()
            try await first.write(Array("hvolt?;".utf8), timeout: Self.limit)
            let answer = try await Self.read(first) { $0.contains(10) }
            #expect(String(decoding: answer, as: UTF8.self) == "0.00\r\n")
            let second = try await connect()
            await #expect(throws: ByteStreamError.closed) {
                _ = try await second.read(upTo: 1, timeout: Self.limit)
            }
            _ = try await running.client.ask("unplug", [("device", .string("SPD-0001"))])
            await #expect(throws: ByteStreamError.closed) {
                _ = try await first.read(upTo: 1, timeout: Self.limit)
            }
            _ = try await running.client.ask("plug", [("device", .string("SPD-0001"))])
            // The listener notices at its next look that the line is free again.
            var reply: [UInt8] = []
            for _ in 0..<50 where reply.isEmpty {
                let again = try await connect()
                try? await again.write(Array("hvolt?;".utf8), timeout: Self.limit)
                reply = (try? await Self.read(again) { $0.contains(10) }) ?? []
                await again.close()
            }
            #expect(String(decoding: reply, as: UTF8.self) == "0.00\r\n")
        }
    }

    @Test func serialInstrumentsArePseudoTerminalsWithLinks() async throws {
        try await Self.during(clock: .real) { fronts, folder in
            fronts.ptyFolder = folder + "/pty"
        } _: { running in
            let names = try FileManager.default.contentsOfDirectory(
                atPath: running.folder + "/pty")
            #expect(names.sorted() == ["38000001", "SPD-0001", "SPD-0002", "TDC1-0019"])
            let host = LinuxSerialHost(reactor: running.reactor)
            let port = try await host.open(
                path: running.folder + "/pty/TDC1-0019", settings: SerialSettings(baud: 115_200))
            try await port.write(Array("*IDN?;mode?\r\n".utf8), timeout: Self.limit)
            let reply = try await Self.read(port) { $0.count { $0 == 10 } == 2 }
            #expect(String(decoding: reply, as: UTF8.self) == "TDC1 emulated\r\n0\r\n")
            await port.close()
        }
    }

    @Test func usbInstrumentsAreListedOverUSBIP() async throws {
        try await Self.during(clock: .real) { fronts, _ in
            fronts.usbip = 0
        } _: { running in
            _ = try await running.client.ask("status")
            let line = try #require(running.lines.all.first { $0.hasPrefix("CQT-1 usbip ") })
            let port = try #require(line.firstMatch(of: /:(\d+) 1-1$/).flatMap { UInt16($0.1) })
            let devices = try await USBIPClient.devices(
                at: "127.0.0.1", port: port, timeout: Self.limit, reactor: running.reactor)
            #expect(devices.map(\.busID) == ["1-1", "1-2", "1-3", "1-4", "1-5"])
            _ = try await running.client.ask("unplug", [("device", .string("TDC1-0019"))])
            let left = try await USBIPClient.devices(
                at: "127.0.0.1", port: port, timeout: Self.limit, reactor: running.reactor)
            #expect(left.map(\.busID) == ["1-1", "1-3", "1-4", "1-5"])
        }
    }

    @Test func frontsThatDoNotFitAreRefused() async throws {
        let error = await #expect(throws: BenchServeError.self) {
            _ = try await Self.serve { fronts, _ in fronts.tcp = [("CQT-1", 0)] }
        }
        #expect(error?.description.contains("found 'CQT-1'") == true)
        let attach = await #expect(throws: BenchServeError.self) {
            _ = try await Self.serve { fronts, _ in fronts.attach = true }
        }
        #expect(attach?.found == "--clock virtual")
    }
}

/// Instruments alone on a pseudo-terminal, as a client of the system sees them.
struct PtyInstrumentTests {
    private static func exchange(
        _ device: String, _ request: [UInt8], isComplete: @escaping @Sendable ([UInt8]) -> Bool
    ) async throws -> [UInt8] {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let (paths, continuation) = AsyncStream.makeStream(of: String.self)
        let isDone = Mutex(false)
        let instrument = try PtyInstrument(device, catalog: try FirmwareProfiles.catalog())
        async let serving: Void = instrument.serve(
            link: nil, seed: 1, seconds: 60, onReady: { continuation.yield($0) },
            isStopped: { isDone.withLock { $0 } })
        var reply: [UInt8] = []
        for await path in paths {
            let port = try await LinuxSerialHost(reactor: reactor).open(
                path: path, settings: SerialSettings(baud: 115_200))
            try await port.write(request, timeout: .seconds(10))
            while !isComplete(reply) {
                reply += try await port.read(upTo: 256, timeout: .seconds(20))
            }
            await port.close()
            break
        }
        isDone.withLock { $0 = true }
        try await serving
        return reply
    }

    @Test(arguments: ["spd", "s15-spd"]) func aDetectorAnswers(name: String) async throws {
        let reply = try await Self.exchange(name, Array("hvolt?;".utf8)) { $0.contains(10) }
        #expect(String(decoding: reply, as: UTF8.self) == "0.00\r\n")
    }

    @Test func paddlesAnswerInRawBytesNoneOfThemTranslated() async throws {
        let request: [UInt8] = [0x05, 0, 0, 0, 0x50, 0x01, 0x11, 0x02, 0x02, 0, 0x50, 0x01]
        let reply = try await Self.exchange("mpc320", request) { $0.count >= 97 }
        #expect(reply.prefix(6) == [0x06, 0x00, 0x54, 0x00, 0x81, 0x50])
        #expect(reply.suffix(7) == [0x12, 0x02, 0x02, 0x02, 0x01, 0x50, 0x00])
    }

    @Test func everyShortNameIsASerialInstrument() throws {
        let catalog = try FirmwareProfiles.catalog()
        for (name, _) in PtyInstrument.shortNames { _ = try PtyInstrument(name, catalog: catalog) }
        #expect(throws: BenchServeError.self) {
            _ = try PtyInstrument("ttl-gated-spad", catalog: catalog)
        }
    }

    @Test func aLinkThatCanNotBeMadeIsAnErrorWithTheSystemsReason() async throws {
        let instrument = try PtyInstrument("spd", catalog: try FirmwareProfiles.catalog())
        await #expect(throws: ByteStreamError.self) {
            try await instrument.serve(
                link: "/nonexistent/link", seed: 1, seconds: 1, onReady: { _ in },
                isStopped: { true })
        }
    }
}
