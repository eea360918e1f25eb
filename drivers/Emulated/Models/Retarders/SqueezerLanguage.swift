import DeviceProfiles

/// The receiving side of a text language without spaces: a command is letters, numbers and marks in
/// a fixed order, such as `V3,2500`.
struct SqueezerLanguage {
    /// A command as received.
    struct Received: Hashable {
        /// The line as it came, without its end.
        var text: String
        /// Its name in the profile, or nil when there is no such command.
        var name: String?
        /// The numbers in it, in order.
        var numbers: [Int]
    }

    private enum Element {
        case character(UInt8)
        case number
    }

    private static let longestCommand = 64

    private let terminators: [UInt8]
    private let patterns: [(name: String, elements: [Element])]
    private let isCaseSensitive: Bool
    private var buffer: [UInt8] = []
    private var isTooLong = false

    /// The language of `profile`.
    init(profile: DeviceProfile) throws(MissingProfileField) {
        let dialect = try profile.requireDialect()
        terminators = dialect.acceptedTerminators.compactMap(\.utf8.first)
        isCaseSensitive = dialect.letterCase == .sensitive
        var patterns: [(String, [Element])] = []
        for (name, command) in dialect.commands.entries {
            guard let template = command.template else { continue }
            var elements: [Element] = []
            var isInside = false
            for byte in template.utf8 {
                switch byte {
                case UInt8(ascii: "{"):
                    isInside = true
                    elements.append(.number)
                case UInt8(ascii: "}"): isInside = false
                default: if !isInside { elements.append(.character(byte)) }
                }
            }
            patterns.append((name, elements))
        }
        self.patterns = patterns
    }

    /// The commands that `bytes` complete, in order; empty ones are skipped.
    mutating func receive(_ bytes: [UInt8]) -> [Received] {
        var commands: [Received] = []
        for byte in bytes {
            if terminators.contains(byte) {
                if isTooLong {
                    commands.append(Received(text: "", name: nil, numbers: []))
                } else if !buffer.isEmpty {
                    commands.append(parse(buffer))
                }
                buffer.removeAll(keepingCapacity: true)
                isTooLong = false
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
        for (name, elements) in patterns {
            if let numbers = match(bytes, elements) {
                return Received(text: text, name: name, numbers: numbers)
            }
        }
        return Received(text: text, name: nil, numbers: [])
    }

    /// The numbers when the whole line fits; they may have a sign and leading zeros.
    private func match(_ bytes: [UInt8], _ elements: [Element]) -> [Int]? {
        var position = 0
        var numbers: [Int] = []
        for element in elements {
            switch element {
            case .character(let expected):
                guard position < bytes.count, folded(bytes[position]) == folded(expected) else {
                    return nil
                }
                position += 1
            case .number:
                let start = position
                if position < bytes.count, [0x2B, 0x2D].contains(bytes[position]) { position += 1 }
                while position < bytes.count, 48...57 ~= bytes[position] { position += 1 }
                let digits = String(decoding: bytes[start..<position], as: UTF8.self)
                guard digits.utf8.count <= 8, let number = Int(digits) else { return nil }
                numbers.append(number)
            }
        }
        return position == bytes.count ? numbers : nil
    }

    private func folded(_ byte: UInt8) -> UInt8 {
        !isCaseSensitive && 97...122 ~= byte ? byte - 32 : byte
    }
}
