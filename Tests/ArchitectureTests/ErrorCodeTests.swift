import Foundation
import Testing

/// Every error code in the sources has a row in `docs/errors.md`, and every row is of a code that
/// exists.
struct ErrorCodeTests {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func codes(in text: String) -> Set<String> {
        Set(text.matches(of: /BRK-[A-Z]+-\d{3}/).map { String($0.output) })
    }

    @Test func documentAndSourcesAgree() throws {
        var used: Set<String> = []
        for folder in ["Sources", "drivers", "calibration"] {
            let base = Self.root.appending(path: folder)
            let files = try #require(FileManager.default.enumerator(atPath: base.path()))
            for case let file as String in files where file.hasSuffix(".swift") {
                used.formUnion(
                    Self.codes(
                        in: try String(contentsOf: base.appending(path: file), encoding: .utf8)))
            }
        }
        let document = try String(
            contentsOf: Self.root.appending(path: "docs/errors.md"), encoding: .utf8)
        let rows = document.split(separator: "\n").filter { $0.hasPrefix("| BRK-") }
        let documented = Self.codes(in: rows.joined(separator: "\n"))
        #expect(used.count > 30)
        #expect(used.subtracting(documented).isEmpty, "without a row")
        #expect(documented.subtracting(used).isEmpty, "rows of codes that do not exist")
        #expect(rows.count == documented.count, "one row a code")
        for row in rows {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            #expect(cells.count == 4 && cells.allSatisfy { !$0.isEmpty }, "\(row)")
        }
    }
}
