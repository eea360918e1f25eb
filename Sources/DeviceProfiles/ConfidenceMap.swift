/// How sure a field of a profile is.
public enum Confidence: String, CaseIterable, Hashable, Comparable, Sendable {
    /// Read in a primary source named under `provenance`, or measured.
    case seen
    /// General knowledge, not checked against a primary source.
    case memory
    /// A guess that lets an emulator work; never to be blessed by a test of the real thing.
    case assumed

    /// Orders the surer before the less sure.
    public static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }
    private var rank: Int {
        switch self {
        case .seen: 0
        case .memory: 1
        case .assumed: 2
        }
    }
}

/// How sure each field of a profile is: a default, and exceptions by dotted path.
///
/// An exception covers everything below its path, the longest one wins, and `*` stands for any one
/// name or index: `topology.channels.*.dead_time_ps`.
public struct ConfidenceMap: Sendable {
    /// The confidence of fields no exception covers.
    public let standard: Confidence
    /// The exceptions in file order.
    public let exceptions: [(path: String, confidence: Confidence)]
    /// Every value the file states, as a dotted path, in file order.
    public let statedFields: [String]

    /// The confidence of the field at `path`, whether the file states it or not.
    public func confidence(of path: String) -> Confidence {
        exception(for: path)?.confidence ?? standard
    }

    /// The exception that decides about the field at `path`; nil when the default does.
    func exception(for path: String) -> (path: String, confidence: Confidence)? {
        let segments = path.split(separator: ".")
        var best: (length: Int, exact: Int, path: String, confidence: Confidence)?
        for exception in exceptions {
            let pattern = exception.path.split(separator: ".")
            guard Self.covers(pattern, segments) else { continue }
            let exact = pattern.count { $0 != "*" }
            if let best, (best.length, best.exact) >= (pattern.count, exact) { continue }
            best = (pattern.count, exact, exception.path, exception.confidence)
        }
        return best.map { ($0.path, $0.confidence) }
    }

    static func covers(_ pattern: [Substring], _ path: [Substring]) -> Bool {
        guard pattern.count <= path.count else { return false }
        for (pattern, segment) in zip(pattern, path) where pattern != "*" && pattern != segment {
            return false
        }
        return true
    }
}

extension DeviceProfile {
    /// The confidence of the field at a dotted path, such as `usb.vendor_id` or
    /// `topology.channels.0.dead_time_ps`. A quirk's own confidence wins for `quirks.NAME`.
    public func confidence(of path: String) -> Confidence {
        let segments = path.split(separator: ".")
        if segments.count >= 2, segments[0] == "quirks", let quirk = quirks[String(segments[1])] {
            return quirk.confidence
        }
        return confidence.confidence(of: path)
    }

    /// The dotted paths of all stated fields that are only assumed, in file order.
    public var assumedFields: [String] {
        confidence.statedFields.filter { confidence(of: $0) == .assumed }
    }

    /// The assumed fields by what says so: the path of an exception, a quirk, or, where the default
    /// of the profile does, a section; in file order, with the number of fields.
    public var assumedParts: [(path: String, fields: Int)] {
        var parts: [(path: String, fields: Int)] = []
        for field in assumedFields {
            let segments = field.split(separator: ".")
            let path: String
            if segments.count >= 2, segments[0] == "quirks" {
                path = "quirks.\(segments[1])"
            } else {
                path = confidence.exception(for: field)?.path ?? String(segments[0])
            }
            if let known = parts.firstIndex(where: { $0.path == path }) {
                parts[known].fields += 1
            } else {
                parts.append((path, 1))
            }
        }
        return parts
    }

    /// How many stated fields have each confidence.
    public var fieldsByConfidence: [Confidence: Int] {
        confidence.statedFields.reduce(into: [:]) { $0[confidence(of: $1), default: 0] += 1 }
    }

    /// Where the value of a stated field stands in the file, counted from 1.
    public func place(of path: String) -> (line: Int, column: Int)? {
        marks[path].map { ($0.line, $0.column) }
    }

    /// Refuses a profile that contains guesses.
    ///
    /// - Parameter excluding: sections that do not matter to the caller, such as `emulation` for a
    ///   driver or for an emulated device without USB.
    /// - Throws: `UncertifiedProfile` with the assumed fields outside those sections.
    public func certified(excluding: [String] = []) throws(UncertifiedProfile) {
        let fields = assumedFields.filter { field in
            !excluding.contains { field == $0 || field.hasPrefix($0 + ".") }
        }
        guard fields.isEmpty else {
            throw UncertifiedProfile(profile: id, assumedFields: fields)
        }
    }
}

/// Where the facts of a profile come from.
public struct ProfileProvenance: Sendable {
    /// The day the facts were last checked, as `YYYY-MM-DD`.
    public let date: String
    /// The sources.
    public let sources: [ProfileReference]
    /// Known pairs of input and output.
    public let vectors: NamedTable<TestVector>
}

/// One source of facts.
public struct ProfileReference: Hashable, Sendable {
    /// What it is: a repository, a document with its issue, a package with its version.
    public let what: String
    /// The files or sections that were used.
    public let location: String
}

/// A byte string with its meaning.
public struct TestVector: Hashable, Sendable {
    /// The bytes as the wire has them.
    public let bytes: [UInt8]
    /// What they mean.
    public let meaning: String
    /// How sure it is that a real device produces or takes them.
    public let confidence: Confidence
}
