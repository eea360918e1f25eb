/// A small pattern over text, matched as a whole: `#` is one decimal digit, `?` any one character,
/// `*` any run of characters, `\` makes the next character literal, everything else is itself.
///
/// Serial numbers, product names and identification replies need no more than this. A regular
/// expression from a user's file could take exponential time on a string sent by a device; this
/// matcher needs at most `pattern × text` steps.
public struct TextPattern: Hashable, Sendable, CustomStringConvertible {
    enum Element: Hashable, Sendable {
        case literal(Character)
        case digit
        case any
        case run
    }

    /// The pattern as written in the profile.
    public let description: String
    let elements: [Element]

    /// Reads a pattern; nil when it is empty or ends in a lone backslash.
    public init?(_ text: String) {
        var elements: [Element] = []
        var escaped = false
        for character in text {
            switch character {
            case _ where escaped:
                elements.append(.literal(character))
                escaped = false
            case "\\": escaped = true
            case "#": elements.append(.digit)
            case "?": elements.append(.any)
            case "*":
                if elements.last != .run { elements.append(.run) }
            default: elements.append(.literal(character))
            }
        }
        guard !escaped, !elements.isEmpty else { return nil }
        description = text
        self.elements = elements
    }

    /// The only text that fits, or nil when the pattern has room for several.
    public var literal: String? {
        var text = ""
        for element in elements {
            guard case .literal(let character) = element else { return nil }
            text.append(character)
        }
        return text
    }

    /// The pattern in the language of fnmatch(3), as udev rules use it. Characters that udev can not
    /// quote stand as `?`, so it may fit more texts than this pattern, never fewer.
    public var shellPattern: String {
        elements.map { element in
            switch element {
            case .digit: "[0-9]"
            case .any: "?"
            case .run: "*"
            case .literal(let character):
                switch character {
                case "*", "?", "[": "[\(character)]"
                case "|", "\"", "\\": "?"
                default: String(character)
                }
            }
        }.joined()
    }

    /// Whether the whole of `text` fits the pattern.
    public func matches(_ text: String) -> Bool {
        let characters = Array(text)
        var element = 0
        var position = 0
        // Where to resume when the text after the last run does not fit: one more character is
        // given to that run. Earlier runs never need to be reconsidered.
        var resume: (element: Int, position: Int)?
        while position < characters.count {
            if element < elements.count, elements[element] == .run {
                element += 1
                resume = (element, position)
            } else if element < elements.count, fits(elements[element], characters[position]) {
                element += 1
                position += 1
            } else if let last = resume {
                element = last.element
                position = last.position + 1
                resume = (last.element, position)
            } else {
                return false
            }
        }
        while element < elements.count, elements[element] == .run { element += 1 }
        return element == elements.count
    }

    private func fits(_ element: Element, _ character: Character) -> Bool {
        switch element {
        case .literal(let expected): character == expected
        case .digit: character >= "0" && character <= "9" && character.isASCII
        case .any: true
        case .run: false
        }
    }
}

/// A firmware version: up to four numbers between dots, compared number by number.
public struct FirmwareVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The numbers, most significant first; a missing trailing number counts as zero.
    public let parts: [Int]

    /// Reads `2.010` as 2, 10; nil unless it is one to four runs of up to nine digits between dots.
    public init?(_ text: String) {
        let pieces = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...4).contains(pieces.count) else { return nil }
        var parts: [Int] = []
        for piece in pieces {
            guard (1...9).contains(piece.utf8.count), piece.utf8.allSatisfy({ 48...57 ~= $0 }),
                let number = Int(piece)
            else { return nil }
            parts.append(number)
        }
        while parts.count > 1, parts.last == 0 { parts.removeLast() }
        self.parts = parts
    }

    /// Orders by the first number that differs.
    public static func < (left: Self, right: Self) -> Bool {
        left.parts.lexicographicallyPrecedes(right.parts)
    }
    /// The numbers between dots, without trailing zeros.
    public var description: String { parts.map(String.init).joined(separator: ".") }
}
