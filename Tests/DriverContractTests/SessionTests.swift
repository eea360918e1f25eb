import DeviceProfiles
import DriverContract
import Emulated
import Foundation
import HostIO
import Instruments
import Quantities
import Registry
import Testing

/// Recorded sessions beside the drivers, and the recording of new ones.
struct SessionTests {
    /// The session of each family that has one, beside its driver:
    /// `drivers/KIND/Sessions/PROFILE.session`.
    static let files: [URL] = {
        let files = FileManager.default.enumerator(
            at: SessionFiles.drivers, includingPropertiesForKeys: nil)
        return (files?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "session" }
            .sorted { $0.path() < $1.path() }
    }()

    @Test("every recorded session is replayed to its driver", arguments: files)
    func replay(file: URL) throws {
        let text = try String(contentsOf: file, encoding: .utf8)
        do {
            let session = try Session(text: text)
            #expect(session.text == text, "\(file.lastPathComponent) is not as it is written")
            let reactor = VirtualReactor()
            try reactor.run {
                let done: Void? = try await within(Contract.limit, reactor) {
                    try await SessionScript.replay(session, reactor: reactor)
                }
                #expect(done != nil, "\(file.lastPathComponent): still busy")
            }
        } catch {
            Issue.record("\(file.lastPathComponent): \(error)")
        }
    }

    @Test func everyFamilyHasASession() throws {
        let catalog = try shippedCatalog.get()
        let recorded = Self.files.map { $0.deletingPathExtension().lastPathComponent }
        for factory in BuiltInDrivers.registry().factories {
            let profiles = catalog.profiles.filter { factory.drives($0) }.map(\.id)
            #expect(
                profiles.contains { recorded.contains($0) },
                "\(factory.family): no session of \(profiles)")
        }
    }

    /// A driver that does something else than when it was recorded is told where.
    @Test func theFirstDifferenceIsNamed() throws {
        let reactor = VirtualReactor()
        var session = try SessionFiles.recordEmulated("mpd-psd")
        let place = try #require(session.events.firstIndex { $0.sent != nil })
        session.events[place].sent? += [0x21]
        let changed = session
        let error = #expect(throws: SessionDifference.self) {
            try reactor.run { try await SessionScript.replay(changed, reactor: reactor) }
        }
        let line = changed.text.split(separator: "\n", omittingEmptySubsequences: false)[
            (error?.line ?? 1) - 1]
        #expect(line.contains(" 21 |"), "\(line)")
        #expect(error?.expected.contains(" 21 |") == true)
        #expect(error?.found.contains("port write") == true)
        #expect(error?.found.contains(" 21 |") == false)
    }

    /// What a driver leaves out is a difference too, and so is what it adds.
    @Test func moreAndLessAreDifferences() throws {
        let recorded = try SessionFiles.recordEmulated("mpd-psd")
        var longer = recorded
        var extra = try #require(longer.events.last)
        extra.operation = "discard"
        longer.events.append(extra)
        var shorter = recorded
        shorter.events.removeLast()
        for session in [longer, shorter] {
            let reactor = VirtualReactor()
            let error = #expect(throws: SessionDifference.self) {
                try reactor.run { try await SessionScript.replay(session, reactor: reactor) }
            }
            #expect(
                error?.found == (session == longer ? "the end" : "'port close'"), "\(error!)")
        }
    }

    @Test func mistakesHaveALine() throws {
        let text = try SessionFiles.recordEmulated("mpd-psd").text
        let changes: [(String, String, Int)] = [
            ("session 1", "session 2", 1), ("profile:", "device:", 2),
            ("emulated: yes", "emulated: maybe", 4), ("serial: ", "firmware: ", 6),
            ("0.000000000 port open", "0.0 port open", 10),
        ]
        for (old, new, _) in changes {
            let changed = text.replacing(old, with: new, maxReplacements: 1)
            #expect(changed != text)
            #expect(throws: SessionTextError.self, "\(new)") { try Session(text: changed) }
        }
    }

    /// `BEREK_RECORD_SESSION=PROFILE` records a session of the emulated device, `all` one of each
    /// family.
    @Test(
        .enabled(if: SessionFiles.wanted != nil && HardwareBench.file == nil, "nothing to record"))
    func record() throws {
        for profile in try SessionFiles.wantedProfiles() {
            try SessionFiles.write(try SessionFiles.recordEmulated(profile))
        }
    }
}

/// Where sessions are kept, and how they are recorded.
enum SessionFiles {
    /// The repository: this file is Tests/DriverContractTests/SessionTests.swift in it.
    static let drivers = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "drivers")

    /// What is to be recorded, if anything.
    static let wanted = ProcessInfo.processInfo.environment["BEREK_RECORD_SESSION"]

    /// The profiles that `wanted` names.
    static func wantedProfiles() throws -> [String] {
        guard wanted == "all" else { return wanted.map { [$0] } ?? [] }
        let catalog = try shippedCatalog.get()
        return BuiltInDrivers.registry().factories.compactMap { factory in
            catalog.profiles.filter { factory.drives($0) }.map(\.id).sorted().first
        }
    }

    /// A session of the emulated device of a profile: on a line where it has a serial port, because
    /// that is what every route to a real one has in common.
    static func recordEmulated(_ profile: String) throws -> Session {
        let reactor = VirtualReactor()
        return try reactor.run {
            // Slow enough for a session that can be read.
            let bench = try ContractBench(
                profile: profile, seed: 1, reactor: reactor, cable: .line,
                period: Picoseconds(20_000_000_000))
            return try await SessionScript.record(
                profile: profile,
                source: "the emulated device of profile \(profile), not hardware",
                serial: bench.name, addresses: bench.addresses,
                lines: bench.wiring.lines.first?.lines ?? [:],
                bias: bench.profile.identity.kind == .singlePhotonDetector ? Volts(160) : nil,
                ports: bench.ports
            ) { try await bench.make(through: $0) }
        }
    }

    /// Writes a session to its place.
    static func write(_ session: Session) throws {
        let profile = try #require(try shippedCatalog.get()[session.profile])
        let kind =
            switch profile.identity.kind {
            case .timeTagger: "TimeTaggers"
            case .polarizationController: "PolarizationControllers"
            case .singlePhotonDetector: "SinglePhotonDetectors"
            default: "BenchInstruments"
            }
        let folder = drivers.appending(path: kind).appending(path: "Sessions")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try session.text.write(
            to: folder.appending(path: "\(session.profile).session"), atomically: true,
            encoding: .utf8)
    }
}
