/// Against what a driver or an emulated model was checked.
public enum ProofKind: String, CaseIterable, Hashable, Sendable {
    /// A real unit.
    case hardware
    /// An unmodified program of somebody else that works with it.
    case client
    /// Another program that makes the same bytes.
    case encoder
    /// Data that a real unit produced.
    case recording
    /// Bytes worked out in, or from, a document or published source.
    case document
    /// Nothing outside this repository: tests that follow our own reading of the sources.
    case own
}

/// One check and the test that does it.
public struct ProofEntry: Hashable, Sendable {
    /// Against what.
    public let kind: ProofKind
    /// The client with its version, or the source of the bytes; nil for `own`.
    public let by: String?
    /// The test suite that does it, as `Target.Suite`; `conformance`; or `kernel/SCRIPT`, a script that
    /// runs in the kernel stage.
    public let test: String

    /// The script of the kernel stage that does it; nil for other tests.
    public var kernelScript: String? {
        test.hasPrefix(Self.kernelPrefix) ? String(test.dropFirst(Self.kernelPrefix.count)) : nil
    }

    private static let kernelPrefix = "kernel/"

    /// Whether `test` has one of the three forms.
    fileprivate static func isTest(_ test: String) -> Bool {
        if test == "conformance" { return true }
        if test.hasPrefix(kernelPrefix) {
            let script = test.dropFirst(kernelPrefix.count)
            let name = script.prefix { $0 != "." }
            return ["py", "sh"].contains(script.dropFirst(name.count + 1)) && !name.isEmpty
                && name.utf8.allSatisfy {
                    (97...122).contains($0) || (48...57).contains($0) || $0 == 95
                }
        }
        let parts = test.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 2
            && parts.allSatisfy { $0.first?.isLetter ?? false && !$0.contains("/") }
    }
}

/// What shows that the driver and the emulated model of a profile do what the real device does.
public struct ProfileProof: Hashable, Sendable {
    /// Checks of the driver; empty when there is no driver.
    public let driver: [ProofEntry]
    /// Checks of the emulated model; empty when there is none.
    public let model: [ProofEntry]
}

// MARK: - Reading

extension ProfileProof {
    init(_ reader: SectionReader) {
        driver = reader.sections("driver", 1...16, ProofEntry.init)
        model = reader.sections("model", 1...16, ProofEntry.init)
        if !reader.has("driver"), !reader.has("model") {
            reader.sink.report(
                reader.path, at: reader.position, expected: "`driver` or `model`", found: "neither")
        }
    }
}

extension ProofEntry {
    init(_ reader: SectionReader) {
        let stated = reader.required("kind")?.choice(ProofKind.self)
        kind = stated ?? .own
        by = reader.optionalText("by")
        test = reader.text("test", max: 80)
        if !test.isEmpty, !Self.isTest(test) {
            reader.sink.report(
                reader.join("test"),
                expected: "`Target.Suite`, `conformance` or `kernel/SCRIPT` (.py or .sh)",
                found: "\"\(test)\"")
        }
        guard let stated else { return }
        if stated == .own, by != nil {
            reader.sink.report(
                reader.join("by"), expected: "no `by` for `own`, which has no outside source",
                found: "one")
        }
        if stated != .own, by == nil {
            reader.sink.report(
                reader.path, at: reader.position, expected: "the key `by` for `\(stated.rawValue)`",
                found: "none")
        }
    }
}
