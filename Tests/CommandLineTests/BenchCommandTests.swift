import Foundation
import Testing

/// The bench commands of the executable: one process serves, others are its clients.
struct BenchCommandTests {
    private struct Outcome {
        var status: Int32
        var output: String
        var error: String
    }

    private static func process(_ arguments: [String]) -> Process {
        let process = Process()
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        process.executableURL =
            ProcessInfo.processInfo.environment["BEREK_BINARY"].map { URL(filePath: $0) }
            ?? root.appending(path: ".build/release/berek")
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        return process
    }

    private static func run(_ arguments: String...) throws -> Outcome {
        let process = process(arguments)
        let (output, error) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        try process.run()
        let outputData = output.fileHandleForReading.readDataToEndOfFile()
        let errorData = error.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus, output: String(decoding: outputData, as: UTF8.self),
            error: String(decoding: errorData, as: UTF8.self))
    }

    /// A served bench; the folder holds its control socket and its file.
    private static func served(
        _ arguments: [String], _ body: (String, [String]) throws -> Void
    ) throws {
        let folder = "/tmp/berek-cli-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let server = process(
            ["bench", "serve", "--control", folder + "/c", "--seconds", "300"] + arguments)
        let output = Pipe()
        server.standardOutput = output
        server.standardError = FileHandle.nullDevice
        try server.run()
        defer {
            server.terminate()
            server.waitUntilExit()
        }
        var text = ""
        while !text.hasSuffix("ready\n") {
            let data = output.fileHandleForReading.availableData
            try #require(!data.isEmpty, "the server ended: \(text)")
            text += String(decoding: data, as: UTF8.self)
        }
        try body(folder + "/c", text.split(separator: "\n").map(String.init))
    }

    @Test func clientsOfAServedBench() throws {
        try Self.served(["--clock", "virtual", "--usbip", "0", "--seed", "9"]) { socket, lines in
            #expect(lines.contains { $0.hasPrefix("SPD-0001 usbip 127.0.0.1:") })
            func ask(_ arguments: String...) throws -> Outcome {
                let process = Self.process(["bench"] + arguments + ["--control", socket])
                let (output, error) = (Pipe(), Pipe())
                process.standardOutput = output
                process.standardError = error
                try process.run()
                let data = output.fileHandleForReading.readDataToEndOfFile()
                let errorData = error.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                return Outcome(
                    status: process.terminationStatus,
                    output: String(decoding: data, as: UTF8.self),
                    error: String(decoding: errorData, as: UTF8.self))
            }
            #expect(try ask("advance", "0.02").output == "bench time 0.020000 s\n")
            let truth = try ask("truth", "--json")
            let document = try #require(
                try JSONSerialization.jsonObject(with: Data(truth.output.utf8)) as? [String: Any])
            #expect(document["time_ps"] as? Int == 20_000_000_000)
            #expect(document["seed"] as? Int == 9)
            #expect(try ask("truth").output.contains("plate angles"))
            let planned = try ask("inject", "SPD-0001", "reboot", "--after", "5")
            #expect(planned.output == "planned as fault 1\n", "\(planned.error)")
            #expect(try ask("faults").output.contains("reboot of SPD-0001"))
            #expect(try ask("faults", "--cancel", "1").status == 0)
            #expect(try ask("inject", "optics", "fibre_jump").output.hasPrefix("done at 0.02"))
            let missing = try ask("inject", "nobody", "reboot")
            #expect(missing.status == 1 && missing.error.contains("BRK-BEN-005"))
            #expect(try ask("unplug", "TDC1-0019").output == "TDC1-0019 is unplugged\n")
            let list = try ask("list")
            #expect(list.status == 0 && list.output.contains("unplugged"), "\(list.error)")
            #expect(try ask("stop").status == 0)
        }
    }

    @Test func withoutABenchTheExitCodeIs4() throws {
        let outcome = try Self.run("bench", "truth", "--control", "/tmp/berek-no-such-socket")
        #expect(outcome.status == 4 && outcome.error.contains("berek bench serve"))
        #expect(try Self.run("bench", "serve").status == 2)
        #expect(try Self.run("bench", "serve", "--tcp", "a:b:c").status == 2)
    }

    @Test(
        .enabled(
            if: !FileManager.default.fileExists(atPath: "/sys/devices/platform/vhci_hcd.0"),
            "skipped: this machine has the virtual host controller"))
    func withoutTheKernelModuleNothingIsAttached() throws {
        for command in ["attach", "detach"] {
            let outcome = try Self.run("bench", command, "1-1", "--port", "1")
            #expect(outcome.status == 4 && outcome.error.contains("modprobe vhci-hcd"))
        }
    }

    @Test func aBenchFileReplacesTheShippedOne() throws {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "berek-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "two.yaml")
        try Data(
            """
            schema: 1
            name: two
            devices:
              - {name: SPD-7, profile: s15-spd, wired_to: detector_v}
              - {name: T, profile: s15-tdc1}

            """.utf8
        ).write(to: file)
        let list = try Self.run("bench", "list", file.path(), "--json")
        #expect(list.status == 0 && list.output.contains("detector_v"), "\(list.error)")
        let devices = try Self.run("devices", "--emulated", "--bench", file.path(), "--json")
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(devices.output.utf8)) as? [[String: Any]])
        #expect(document.compactMap { $0["serial"] as? String } == ["SPD-7", "T"])
        // The demonstration says what it misses.
        let demo = try Self.run("demo", "--bench", file.path())
        #expect(demo.status == 1 && demo.error.contains("wired to receiver_inputs"))
        try Data("schema: 1\nname: x\ndevices: []\n".utf8).write(to: file)
        let wrong = try Self.run("calibrate", "--bench", file.path())
        #expect(wrong.status == 1 && wrong.error.contains("two.yaml:3:10: expected a list"))
    }

    /// The shipped bench, named or not, gives the same report.
    @Test func theShippedFileGivesTheSameBytes() throws {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let file = root.appending(path: "benches/bb84.yaml").path()
        let named = try Self.run("calibrate", "clock", "--seed", "4", "--json", "--bench", file)
        let plain = try Self.run("calibrate", "clock", "--seed", "4", "--json")
        #expect(named.status == 0 && named.output == plain.output)
    }

    @Test(
        .enabled(
            if: FileManager.default.fileExists(atPath: "/dev/full"), "skipped: no /dev/full"))
    func aFullDiskIsAnErrorWithAReason() throws {
        var bytes = Data()
        for index in 1...3 {
            withUnsafeBytes(of: (UInt64(256_000 * index) << 10 | 1).littleEndian) {
                bytes.append(contentsOf: $0)
            }
        }
        let input = FileManager.default.temporaryDirectory
            .appending(path: "berek-full-\(UUID().uuidString).ts")
        try bytes.write(to: input)
        defer { try? FileManager.default.removeItem(at: input) }
        let converted = try Self.run(
            "convert", input.path(), "/dev/full", "--to", "csv", "--format", "a1-54")
        #expect(converted.status == 1)
        #expect(converted.error.contains("BRK-REC-003"))
        #expect(converted.error.contains("/dev/full after 0 bytes: No space left on device"))
        // A report that nobody got is no success either.
        let list = Self.process(["profiles", "list"])
        let error = Pipe()
        list.standardOutput = try FileHandle(
            forWritingTo: URL(filePath: "/dev/full"))
        list.standardError = error
        try list.run()
        let text = String(
            decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        list.waitUntilExit()
        #expect(list.terminationStatus == 1 && text.contains("No space left on device"), "\(text)")
    }
}
