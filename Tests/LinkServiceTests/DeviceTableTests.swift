import DeviceProfiles
import FirmwareProfiles
import Foundation
import LinkService
import Testing

/// The table of devices agrees with the profiles, and the document with the table.
struct DeviceTableTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    @Test func theDocumentIsUpToDate() throws {
        let document = try String(
            contentsOf: Self.root.appending(path: "docs/devices.md"), encoding: .utf8)
        let table = DeviceTable(try FirmwareProfiles.catalog())
        let expected = try #require(table.written(into: document), "the two marks are missing")
        #expect(
            document == expected,
            "docs/devices.md is out of date; run: berek profiles table --into docs/devices.md")
    }

    @Test func everyShippedModelHasDriverAndProof() throws {
        let catalog = try FirmwareProfiles.catalog()
        let rows = DeviceTable(catalog).text.split(separator: "\n").filter { $0.hasPrefix("| `") }
        #expect(rows.count == catalog.profiles.count)
        for (row, profile) in zip(rows, catalog.profiles) {
            let cells = row.split(separator: " | ").map(String.init)
            try #require(cells.count == 10, "\(row)")
            #expect(cells[0] == "| `\(profile.id)`")
            #expect(cells[4] != "none", "\(profile.id) has no driver")
            #expect(cells[6] != "nothing", "\(profile.id): its driver was checked by nothing")
            #expect((cells[5] == "none") == (cells[7] == "nothing"), "\(profile.id)")
            let counts = cells[8].split(separator: ", ").compactMap { Int($0) }
            #expect(counts.count == 3)
            #expect(counts.reduce(0, +) == profile.confidence.statedFields.count)
            #expect(counts.last == profile.assumedFields.count)
            #expect((cells[9] == "yes |") == profile.assumedFields.isEmpty)
        }
    }

    @Test func guessesAreCountedWhereTheyAreDeclared() throws {
        let catalog = try FirmwareProfiles.catalog()
        for profile in catalog.profiles {
            let sum = profile.assumedParts.reduce(0) { $0 + $1.fields }
            #expect(sum == profile.assumedFields.count, "\(profile.id)")
            #expect(Set(profile.assumedParts.map(\.path)).count == profile.assumedParts.count)
        }
        let tagger = try #require(catalog["s15-tdc1"])
        #expect(tagger.assumedParts.contains { $0 == ("emulation", 7) })
    }

    @Test func aDocumentWithoutMarksIsLeftAlone() throws {
        let table = DeviceTable(try FirmwareProfiles.catalog())
        #expect(table.written(into: "# Devices\n") == nil)
        #expect(table.written(into: "\(DeviceTable.end)\n\(DeviceTable.begin)\n") == nil)
        let document = "a\n\(DeviceTable.begin)\nold\n\(DeviceTable.end)\nb\n"
        let written = try #require(table.written(into: document))
        #expect(written.hasPrefix("a\n\(DeviceTable.begin)\n| profile |"))
        #expect(written.hasSuffix("\n\(DeviceTable.end)\nb\n"))
        #expect(table.written(into: written) == written)
    }
}
