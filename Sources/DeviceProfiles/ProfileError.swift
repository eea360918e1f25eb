/// One thing wrong in a profile file: where, what was expected, what was found.
public struct ProfileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name of the file as given to the reader.
    public let file: String
    /// The line, counted from one.
    public let line: Int
    /// The column in characters, counted from one.
    public let column: Int
    /// The dotted path of the field, such as `usb.vendor_id`; empty for the file as a whole.
    public let path: String
    /// What the schema asks for.
    public let expected: String
    /// What the file has.
    public let found: String

    /// One line: `file:line:column: path: expected …, found …`.
    public var description: String {
        let place = "\(file):\(line):\(column): "
        return place + (path.isEmpty ? "" : "\(path): ") + "expected \(expected), found \(found)"
    }
}

/// Everything wrong in the files that were read, ordered by file, line and column; never empty.
public struct ProfileErrors: Error, Sendable, CustomStringConvertible {
    /// The errors in reading order.
    public let errors: [ProfileError]

    /// Orders `errors`, which must not be empty.
    public init(_ errors: [ProfileError]) {
        precondition(!errors.isEmpty, "a failure names at least one error")
        self.errors = errors.sorted {
            ($0.file, $0.line, $0.column, $0.path, $0.expected)
                < ($1.file, $1.line, $1.column, $1.path, $1.expected)
        }
    }

    /// One line per error.
    public var description: String { errors.map(\.description).joined(separator: "\n") }
}

/// A driver or an emulator asked a profile for a fact that it does not state.
public struct MissingProfileField: Error, Hashable, Sendable, CustomStringConvertible {
    /// The `identity.id` of the profile.
    public let profile: String
    /// The dotted path of the field, such as `dialect.commands.send_dac`.
    public let path: String

    /// Says that `profile` lacks the field at `path`.
    public init(profile: String, path: String) {
        self.profile = profile
        self.path = path
    }

    /// Names the profile and the field to add.
    public var description: String {
        "profile \(profile) has no \(path); add it to the profile or choose another driver"
    }
}

/// A profile was to be used where guesses are forbidden, and some of its fields are guesses.
public struct UncertifiedProfile: Error, Hashable, Sendable, CustomStringConvertible {
    /// The `identity.id` of the profile.
    public let profile: String
    /// The dotted paths of the fields marked `assumed`, in file order; never empty.
    public let assumedFields: [String]

    /// Names the profile and the fields.
    public var description: String {
        "profile \(profile) cannot be used in certified mode: "
            + "\(assumedFields.count) assumed field(s): \(assumedFields.joined(separator: ", "))"
    }
}
