import Foundation
import TestSupport
import Testing

/// The arrows of `docs/architecture.md`, checked on the import lines of every source file.
///
/// A target may import what the manifest declares for it and nothing else: SwiftPM itself lets an
/// undeclared import of a transitive dependency pass. On top of that, some arrows are forbidden
/// outright, even if someone declares them.
struct ArchitectureTests {
    /// Modules that come with the toolchain or the system, by the targets that may import them.
    /// `nil` means any target.
    private static let systemModules: [String: Set<String>?] = [
        "Swift": nil, "Synchronization": nil, "_StringProcessing": nil, "RegexBuilder": nil,
        "Testing": nil, "XCTest": nil,
        "Glibc": [
            "Quantities", "HostIO", "LinuxIO", "EventPipeline", "Emulated", "LinkService", "berek",
            "EmbedProfilesTool", "kernel-stage-guest", "benchmark-core",
        ],
        "Musl": ["Quantities", "EventPipeline"],
        // The build plugin runs inside SwiftPM and lists a folder; it is no part of the product.
        "Foundation": ["LinkService", "berek", "EmbedProfiles"],
        "PackagePlugin": ["EmbedProfiles"],
        "FoundationEssentials": ["LinkService", "berek"],
    ]

    /// Targets whose imports must stay inside a closed list, whatever the manifest says.
    private static let closed: [String: Set<String>] = [
        "Quantities": [],
        "LinkTypes": ["Quantities", "CSystemShims"],
        "HostIO": ["Quantities"],
        "DeviceProfiles": ["Quantities", "Yams"],
        "Instruments": ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles"],
        "OpticalBench": ["Quantities", "LinkTypes"],
        "ProtocolCore": ["Quantities", "LinkTypes", "CKernels"],
        "EventPipeline": ["Quantities", "LinkTypes"],
        "Calibration": ["Quantities", "LinkTypes", "Instruments"],
        "TimeTaggers": ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments"],
        "PolarizationControllers": [
            "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments",
        ],
        "SinglePhotonDetectors": [
            "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments",
        ],
        "BenchInstruments": [
            "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments",
        ],
        "Emulated": [
            "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "OpticalBench", "CSystemShims",
        ],
    ]

    /// Modules that only the named targets may import.
    private static let restricted: [String: Set<String>] = [
        "CLibUSB": ["LinuxIO"],
        "CLibGPIOD": ["LinuxIO"],
        "Emulated": ["LinkService", "kernel-stage-guest", "DriverContract"],
        "Yams": ["DeviceProfiles", "LinkService"],
        "ArgumentParser": ["berek"],
    ]

    private struct Target: Decodable {
        var name: String
        var type: String
        var path: String
        var sources: [String]
        var targetDependencies: [String]?
        var productDependencies: [String]?

        enum CodingKeys: String, CodingKey {
            case name, type, path, sources
            case targetDependencies = "target_dependencies"
            case productDependencies = "product_dependencies"
        }
    }

    private struct PackageDescription: Decodable {
        var targets: [Target]
    }

    /// The repository: this file is Tests/ArchitectureTests/ArchitectureTests.swift in it.
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func describePackage() throws -> PackageDescription {
        // A scratch path of its own: describing the package must not wait for the lock that a
        // build in the usual place may hold.
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        let scratch = FileManager.default.temporaryDirectory
            .appending(path: "berek-architecture-\(ProcessInfo.processInfo.processIdentifier)")
        defer { try? FileManager.default.removeItem(at: scratch) }
        process.arguments = [
            "swift", "package", "--package-path", root.path(), "--scratch-path", scratch.path(),
            "describe", "--type", "json",
        ]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "swift package describe failed")
        return try JSONDecoder().decode(PackageDescription.self, from: data)
    }

    /// The modules imported by a source file, with the line of each import.
    static func imports(in text: String) -> [(module: String, line: Int)] {
        var result: [(module: String, line: Int)] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            var words = line.split(whereSeparator: \.isWhitespace)
            while let first = words.first,
                first.hasPrefix("@") || accessLevels.contains(String(first))
            {
                words.removeFirst()
            }
            guard words.first == "import", words.count > 1 else { continue }
            let kinds: Set<Substring> = [
                "struct", "class", "enum", "protocol", "func", "let", "var",
            ]
            let name = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
            result.append((String(name.prefix { $0 != "." && $0 != ";" }), index + 1))
        }
        return result
    }

    private static let accessLevels: Set<String> = [
        "public", "package", "internal", "private", "fileprivate",
    ]

    private static func violations(of target: Target, file: String, text: String) -> [String] {
        let declared = Set((target.targetDependencies ?? []) + (target.productDependencies ?? []))
        let isTest = target.type == "test" || target.name == "TestSupport"
        return imports(in: text).compactMap { module, line in
            let place = "\(target.path)/\(file):\(line): \(target.name) imports \(module)"
            if let allowed = systemModules[module] {
                guard let allowed, !isTest else { return nil }
                return allowed.contains(target.name)
                    ? nil : "\(place), which is not for this target"
            }
            if !isTest, let allowed = closed[target.name], !allowed.contains(module) {
                return "\(place), which the architecture forbids"
            }
            if !isTest, let allowed = restricted[module], !allowed.contains(target.name) {
                return "\(place), which only \(allowed.sorted()) may"
            }
            return declared.contains(module) || isTest
                ? nil : "\(place), which the manifest does not declare"
        }
    }

    @Test func importsFollowTheArrows() throws {
        let package = try Self.describePackage()
        var checked = 0
        var found: [String] = []
        for target in package.targets where target.type != "system-target" {
            for file in target.sources where file.hasSuffix(".swift") {
                let url = Self.root.appending(path: target.path).appending(path: file)
                let text = try String(contentsOf: url, encoding: .utf8)
                found += Self.violations(of: target, file: file, text: text)
                checked += 1
            }
        }
        #expect(checked > 50, "the package has many more source files than \(checked)")
        #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
    }

    /// The check itself must be able to fail.
    @Test func forbiddenImportsAreFound() {
        let core = Target(
            name: "ProtocolCore", type: "library", path: "Sources/ProtocolCore", sources: [],
            targetDependencies: ["Quantities", "Calibration"], productDependencies: nil)
        for line in [
            "import Foundation", "import Calibration", "@testable import struct Emulated.Bench",
        ] {
            #expect(!Self.violations(of: core, file: "x.swift", text: line).isEmpty, "\(line)")
        }
        #expect(Self.violations(of: core, file: "x.swift", text: "import Quantities").isEmpty)
        let driver = Target(
            name: "TimeTaggers", type: "library", path: "drivers/TimeTaggers", sources: [],
            targetDependencies: ["HostIO"], productDependencies: nil)
        #expect(!Self.violations(of: driver, file: "x.swift", text: "import LinuxIO").isEmpty)
        #expect(!Self.violations(of: driver, file: "x.swift", text: "import Quantities").isEmpty)
    }

    /// Things that make a run depend on more than its seed, outside the live edge.
    @Test func nondeterminismStaysAtTheEdge() throws {
        let banned = [
            "Task.sleep", "Task.detached", "DispatchQueue", "SystemRandomNumberGenerator", "Date()",
            "ContinuousClock(", "SuspendingClock(",
        ]
        var found: [String] = []
        for folder in ["Sources", "drivers", "calibration", "firmware-profiles"] {
            let base = Self.root.appending(path: folder)
            let files = try #require(FileManager.default.enumerator(atPath: base.path()))
            for case let file as String in files where file.hasSuffix(".swift") {
                if file.hasPrefix("LinuxIO/") || file.hasPrefix("berek/") { continue }
                let text = try String(contentsOf: base.appending(path: file), encoding: .utf8)
                for word in banned where text.contains(word) {
                    found.append("\(folder)/\(file): \(word)")
                }
            }
        }
        #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
    }
}
