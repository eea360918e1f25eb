import DeviceProfiles
import FirmwareProfiles
import Quantities
import TestSupport
import Testing

/// Damaged files either load or give errors that point into the file; nothing else happens.
struct ProfileMutationTests {
    private static func check(_ bytes: [UInt8], _ what: String) {
        do throws(ProfileErrors) {
            let profile = try DeviceProfile(bytes: bytes, file: "x.yaml")
            #expect(!profile.id.isEmpty)
        } catch {
            let lines = bytes.count { $0 == 10 } + 1
            #expect(!error.errors.isEmpty)
            for item in error.errors {
                let inside = (1...lines).contains(item.line) && item.column >= 1
                #expect(inside && !item.expected.isEmpty && !item.found.isEmpty, "\(what): \(item)")
            }
        }
    }

    @Test(arguments: seeds(12))
    func damagedBytes(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "profile bytes")
        for file in FirmwareProfiles.files {
            for round in 0..<12 {
                Self.check(
                    mutated(Array(file.text.utf8), using: &generator), "\(file.name) \(round)")
            }
        }
    }

    /// Whole lines are dropped, doubled, exchanged, indented or cut, and numbers are exchanged.
    @Test(arguments: seeds(12))
    func damagedLines(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "profile lines")
        for file in FirmwareProfiles.files {
            for round in 0..<12 {
                var lines = file.text.split(separator: "\n", omittingEmptySubsequences: false)
                    .map(String.init)
                for _ in 0...Int.random(in: 0..<3, using: &generator) {
                    Self.damage(&lines, using: &generator)
                }
                Self.check(
                    Array(lines.joined(separator: "\n").utf8), "\(file.name) \(round)")
            }
        }
    }

    private static func damage(_ lines: inout [String], using generator: inout SeededGenerator) {
        let line = Int.random(in: 0..<lines.count, using: &generator)
        let other = Int.random(in: 0..<lines.count, using: &generator)
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: lines.remove(at: line)
        case 1: lines.insert(lines[line], at: line)
        case 2: lines.swapAt(line, other)
        case 3: lines[line] = "  " + lines[line]
        case 4: lines[line] = String(lines[line].dropFirst(2))
        case 5: lines[line] = String(lines[line].prefix(lines[line].count / 2))
        case 6: lines[line] = lines[line].replacing(":", with: ": {")
        default:
            let number = ["-1", "0", "99999999999999999999", "0xffffffffffffffff", "1e308", "~"]
                .randomElement(using: &generator)
            if let colon = lines[line].firstIndex(of: ":") {
                lines[line] = lines[line][...colon] + " " + (number ?? "0")
            }
        }
    }

    /// Every key of every shipped file, misspelt, is an error at its own place.
    ///
    /// The error lists the keys that could stand there: the README must explain each of them.
    @Test func everyMisspeltKeyIsFoundAndEveryKeyIsDocumented() throws {
        let readme = try ShippedProfileTests.text(of: "firmware-profiles/README.md")
        let documented = Set(readme.split { !$0.isLowercase && !$0.isNumber && $0 != "_" })
        var keys: Set<String> = []
        defer {
            let missing = keys.filter { !documented.contains($0[...]) }.sorted()
            #expect(missing.isEmpty, "the README does not name \(missing)")
            #expect(keys.count > 100, "the sections were looked at: \(keys.count)")
        }
        for file in FirmwareProfiles.files {
            let lines = file.text.split(separator: "\n", omittingEmptySubsequences: false)
            for (index, line) in lines.enumerated() {
                let indentation = line.prefix { $0 == " " }.count
                guard let colon = line.firstIndex(of: ":"),
                    !line.dropFirst(indentation).hasPrefix("#"),
                    !line.dropFirst(indentation).hasPrefix("-")
                else { continue }
                let key = line[..<colon].dropFirst(indentation)
                guard key.utf8.allSatisfy({ 97...122 ~= $0 || $0 == 95 }) else { continue }
                var changed = lines.map(String.init)
                changed[index] = line[..<colon] + "X" + line[colon...]
                let errors = ExampleProfile.errors(changed.joined(separator: "\n"))
                for error in errors where error.expected.hasPrefix("one of the keys ") {
                    keys.formUnion(
                        error.expected.dropFirst(16).replacing(",", with: "").split(separator: " ")
                            .map(String.init))
                }
                #expect(
                    errors.contains { $0.line == index + 1 && $0.column == indentation + 1 },
                    "\(file.name):\(index + 1): \(key) misspelt gave \(errors)")
            }
        }
    }
}
