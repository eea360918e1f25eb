import DeviceProfiles

/// The receiving side of a text language whose commands are letters with a number right behind
/// them, such as `T25000`: cuts bytes into commands and finds out which command of the profile each
/// one is.
struct CompactDialect {
    /// A command as received.
    struct Received: Hashable {
        /// All of it, without the terminator.
        var text: String
        /// Its name in the profile, or nil when there is no such command.
        var name: String?
        /// The number behind its letters, when the command has one.
        var argument: Double?
    }

    /// A command longer than this is dropped, as no instrument's buffer is endless.
    private static let longestCommand = 64

    private let terminators: [UInt8]
    /// Commands without a number, by their text.
    private let plain: [String: String]
    /// Commands with a number, by their letters; the longest come first.
    private let numbered: [(letters: String, name: String)]
    private var buffer: [UInt8] = []
    private var isTooLong = false

    /// The language of `profile`.
    init(profile: DeviceProfile) throws(MissingProfileField) {
        let dialect = try profile.requireDialect()
        terminators = dialect.acceptedTerminators.compactMap(\.utf8.first)
        var plain: [String: String] = [:]
        var numbered: [(letters: String, name: String)] = []
        for (name, command) in dialect.commands.entries {
            guard let template = command.template else { continue }
            if let place = template.firstIndex(of: "{") {
                numbered.append((String(template[..<place]), name))
            } else {
                plain[template] = name
            }
        }
        self.plain = plain
        self.numbered = numbered.sorted { $0.letters.utf8.count > $1.letters.utf8.count }
    }

    /// The commands that `bytes` complete, in order. White space around a command, as a line feed
    /// after the terminator of the previous one, is skipped.
    mutating func receive(_ bytes: [UInt8]) -> [Received] {
        var commands: [Received] = []
        for byte in bytes {
            if terminators.contains(byte) {
                if !isTooLong, !buffer.isEmpty { commands.append(parse(buffer)) }
                buffer.removeAll(keepingCapacity: true)
                isTooLong = false
            } else if buffer.isEmpty, byte == 0x0A || byte == 0x0D || byte == 0x20 {
                continue
            } else if buffer.count < Self.longestCommand {
                buffer.append(byte)
            } else {
                isTooLong = true
            }
        }
        return commands
    }

    private func parse(_ bytes: [UInt8]) -> Received {
        let text = String(decoding: bytes, as: UTF8.self)
        if let name = plain[text] { return Received(text: text, name: name, argument: nil) }
        for (letters, name) in numbered where text.hasPrefix(letters) {
            let digits = text.dropFirst(letters.count)
            // Double alone would also read "nan", "inf" and hexadecimal.
            if digits.utf8.allSatisfy({ 0x30...0x39 ~= $0 || "+-.".utf8.contains($0) }),
                let value = Double(digits)
            {
                return Received(text: text, name: name, argument: value)
            }
        }
        return Received(text: text, name: nil, argument: nil)
    }
}
