import Foundation
import Testing

/// The executable as a user meets it: output, errors and exit codes.
///
/// `BEREK_BINARY` names the executable; `scripts/test` sets it. Without it the product in the build
/// folder of these tests is used.
struct CommandLineTests {
    private struct Outcome {
        var status: Int32
        var output: String
        var error: String
    }

    private static let binary: URL = {
        if let path = ProcessInfo.processInfo.environment["BEREK_BINARY"] {
            return URL(filePath: path)
        }
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return root.appending(path: ".build/release/berek")
    }()

    private func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

    private func run(_ arguments: [String]) throws -> Outcome {
        let process = Process()
        process.executableURL = Self.binary
        process.arguments = arguments
        let (output, error) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        process.standardInput = FileHandle.nullDevice
        try process.run()
        // Both fit the pipes' buffers or are read to the end one after the other.
        let outputData = output.fileHandleForReading.readDataToEndOfFile()
        let errorData = error.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus, output: String(decoding: outputData, as: UTF8.self),
            error: String(decoding: errorData, as: UTF8.self))
    }

    private func temporaryFile(_ name: String, _ content: Data) throws -> URL {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "berek-cli-\(ProcessInfo.processInfo.processIdentifier)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let url = folder.appending(path: name)
        try content.write(to: url)
        return url
    }

    @Test(arguments: [
        ["--help"], ["demo", "--help"], ["devices", "--help"],
        ["devices", "load-firmware", "--help"], ["profiles", "--help"],
        ["profiles", "check", "--help"], ["profiles", "table", "--help"],
        ["profiles", "udev", "--help"], ["calibrate", "--help"], ["run", "--help"],
        ["inspect", "--help"], ["convert", "--help"], ["bench", "--help"],
        ["bench", "pty", "--help"], ["bench", "serve", "--help"], ["bench", "attach", "--help"],
        ["bench", "inject", "--help"],
    ])
    func helpIsHelp(arguments: [String]) throws {
        let process = Process()
        process.executableURL = Self.binary
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(text.contains("OVERVIEW:") && text.contains("USAGE:"))
    }

    @Test func wrongUsageIsExitCode2() throws {
        for arguments in [["fly"], ["demo", "--seed", "minus one"], ["inspect"]] {
            let process = Process()
            process.executableURL = Self.binary
            process.arguments = arguments
            process.standardError = Pipe()
            process.standardOutput = Pipe()
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 2, "\(arguments)")
        }
        #expect(try run("demo", "--minutes", "0").status == 2)
        #expect(try run("convert", "a", "b", "--to", "nothing").status == 2)
    }

    @Test func certifiedCheckNamesEveryGuess() throws {
        let profiles = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../firmware-profiles/profiles")
        func path(_ id: String) -> String { profiles.appending(path: "\(id).yaml").path() }
        let good = try run("profiles", "check", "--certified", path("cqt-timestamp-usb"))
        #expect(good.status == 0 && good.output.contains("ok, cqt-timestamp-usb"))
        let bad = try run("profiles", "check", "--certified", path("thorlabs-mpc320"))
        #expect(bad.status == 1)
        let place = /thorlabs-mpc320\.yaml:\d+:\d+: emulation\.firmware: expected a fact/
        #expect(bad.error.contains(place), "\(bad.error)")
        #expect(bad.error.hasSuffix("1 error(s)\n"))
        #expect(try run("profiles", "check", path("thorlabs-mpc320")).status == 0)
    }

    @Test func rulesForUdevAreInstalledOnceAndRemoved() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")
        let folder = try temporaryFile("none", Data()).deletingLastPathComponent()
            .appending(path: "rules-\(UUID().uuidString)")
        let file = folder.appending(path: "60-berek.rules")
        defer { try? FileManager.default.removeItem(at: folder) }
        func install(_ arguments: String...) throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = root.appending(path: "scripts/install-udev")
            process.arguments = arguments
            process.environment = ProcessInfo.processInfo.environment.merging(
                ["BEREK_UDEV_FOLDER": folder.path(), "BEREK_BINARY": Self.binary.path()]
            ) { $1 }
            let output = Pipe()
            process.standardOutput = output
            process.standardError = FileHandle.nullDevice
            try process.run()
            let data = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: data, as: UTF8.self))
        }
        func exists() -> Bool { FileManager.default.fileExists(atPath: file.path()) }

        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let dry = try install("--dry-run")
        #expect(dry.status == 0 && dry.output.contains("would write") && !exists())
        #expect(try install().output.contains("installed"))
        let rules = try String(contentsOf: file, encoding: .utf8)
        #expect(rules == (try run("profiles", "udev").output))
        #expect(try install().output.contains("is up to date"))
        #expect(try install("--uninstall").status == 0)
        #expect(!exists())
        let again = try install("--uninstall")
        #expect(again.status == 0 && again.output.contains("not installed"))
        #expect(try install("--sideways").status == 2)
    }

    @Test func profilesAreListedAndChecked() throws {
        let list = try run("profiles", "list")
        #expect(list.status == 0)
        for id in ["cqt-timestamp-usb", "s15-tdc1", "thorlabs-mpc320", "s15-spd", "ttl-gated-spad"]
        {
            #expect(list.output.contains(id))
        }
        let json = try run("profiles", "list", "--json")
        let document = try JSONSerialization.jsonObject(with: Data(json.output.utf8))
        // One entry for each file of the folder.
        let files = try FileManager.default.contentsOfDirectory(
            atPath: URL(filePath: #filePath).deletingLastPathComponent()
                .appending(path: "../../firmware-profiles/profiles").path)
        #expect((document as? [[String: Any]])?.count == files.count { $0.hasSuffix(".yaml") })

        let wrong = try temporaryFile(
            "wrong.yaml", Data("schema: 1\nidentity:\n  id: x\n  colour: red\n".utf8))
        let check = try run("profiles", "check", wrong.path())
        #expect(check.status == 1)
        #expect(check.error.contains("wrong.yaml:"))
        #expect(check.error.contains("expected"))
        #expect(try run("profiles", "check", "/no/such/file.yaml").status == 1)
    }

    @Test func devicesOfTheEmulatedBenchAreListed() throws {
        let outcome = try run("devices", "--emulated", "--json")
        #expect(outcome.status == 0)
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [[String: Any]])
        #expect(document.count == 7)
        #expect(document.allSatisfy { $0["emulated"] as? Bool == true })
        #expect(document.allSatisfy { $0["ready"] as? Bool == true })
        #expect(document.contains { $0["serial"] as? String == "38000001" })
    }

    @Test func calibrationPrintsItsRecords() throws {
        let outcome = try run("calibrate", "delays", "--seed", "4", "--json")
        #expect(outcome.status == 0, "\(outcome.error)")
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [[String: Any]])
        #expect(document.map { $0["procedure"] as? String } == ["clock", "channel-delays"])
        #expect(document.allSatisfy { $0["verified"] as? Bool == true })
    }

    @Test func aNodeFileWithAMistakeNamesThePlace() throws {
        let file = try temporaryFile(
            "node.yaml", Data("node: alice\npeer: 127.0.0.1:7400\nbench: {kind: real}\n".utf8))
        let outcome = try run("run", file.path())
        #expect(outcome.status == 1)
        #expect(outcome.error.contains("node.yaml:3:"))
        #expect(outcome.error.contains("expected emulated, found 'real'"))
    }

    @Test func inspectAndConvertAgree() throws {
        // Three clicks of a 1/256 ns tagger: 1 µs apart, detectors 1, 2 and 1+3.
        var bytes = Data()
        for (index, pattern) in [1, 2, 5].enumerated() {
            let word = UInt64(256_000 * (index + 1)) << 10 | UInt64(pattern)
            withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
        }
        let input = try temporaryFile("clicks.ts", bytes)
        let output = input.deletingLastPathComponent().appending(path: "clicks.csv")
        let inspected = try run("inspect", input.path(), "--format", "a1-54", "--json")
        #expect(inspected.status == 0, "\(inspected.error)")
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(inspected.output.utf8)) as? [String: Any])
        #expect(document["events"] as? Int == 3)
        #expect(document["clicks"] as? Int == 4)
        let converted = try run(
            "convert", input.path(), output.path(), "--to", "csv", "--format", "a1-54")
        #expect(converted.status == 0, "\(converted.error)")
        let lines = try String(contentsOf: output, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 5)
        #expect(try run("inspect", "/no/such/recording").status == 1)
    }

    /// The recordings that the project is judged by.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["BEREK_RECORDINGS"] != nil,
            "skipped: no recordings"))
    func realRecordingsAreUnderstood() throws {
        let folder = try #require(ProcessInfo.processInfo.environment["BEREK_RECORDINGS"])
        let outcome = try run(
            "inspect", "\(folder)/picoquant-sample-data_hydraharp_v20_t2.ptu", "--json")
        #expect(outcome.status == 0)
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
        #expect(document["records"] as? Int == 435_319)
        #expect(document["events"] as? Int == 305_565)
        #expect(abs((document["duration_s"] as? Double ?? 0) - 5) < 0.01)
    }

    /// The bare chip of a bench is loaded, and what stands in the way has a place and an exit code.
    @Test func firmwareIsLoadedIntoABareChip() throws {
        let image = try temporaryFile(
            "own.ihx",
            Data(
                """
                :03000000020000FB
                :123E000012010002FFFFFF40B404041001000000000190
                :00000001FF

                """.utf8))
        let bench = try temporaryFile(
            "cold.yaml",
            Data(
                """
                schema: 1
                name: cold
                devices:
                  - {name: t, profile: umass-timetag-fpga, cold: true}

                """.utf8))
        let listed = try run("devices", "--emulated", "--bench", bench.path())
        #expect(listed.status == 4 && listed.output.contains("berek devices load-firmware"))
        let arguments = ["devices", "load-firmware", "--emulated", "--bench", bench.path()]
        func load(_ more: String...) throws -> Outcome { try run(arguments + more) }
        let loaded = try load("--image", image.path())
        #expect(loaded.status == 0, "\(loaded.error)")
        #expect(loaded.output.contains("21 bytes loaded; it is now UMass Goldner Lab FPGA timetag"))
        let json = try load("--image", image.path(), "--json")
        #expect(json.status == 0 && json.output.contains("umass-timetag-fpga"))
        let elsewhere = try load("--image", image.path(), "--device", "1-7")
        #expect(elsewhere.status == 4 && elsewhere.error.contains("a bare chip at port 1-7"))
        let missing = try load("--image", "/nonexistent/x.ihx")
        #expect(missing.status == 1 && missing.error.contains("/nonexistent/x.ihx: No such file"))
        let damaged = try temporaryFile("bad.ihx", Data(":00000001FE\n".utf8))
        let refused = try load("--image", damaged.path())
        #expect(refused.status == 1 && refused.error.contains("BRK-FWI-001"))
        #expect(refused.error.contains("bad.ihx:1:"))
        #expect(try load().status == 2)
    }
}
