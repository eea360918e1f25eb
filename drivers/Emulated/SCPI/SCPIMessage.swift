/// One command of a program message, with its header as it was written.
struct SCPIUnit: Hashable {
    /// The keywords in capitals, without colons, asterisk and question mark.
    var keywords: [String]
    /// Whether it begins with an asterisk.
    var isCommon = false
    /// Whether it begins at the root of the tree whatever came before.
    var isRooted = false
    /// Whether it asks.
    var isQuery = false
    /// The parameters, without the white space around them.
    var parameters: [String] = []
}

/// Cuts a program message into commands (IEEE 488.2-1992, sections 7.3 to 7.6).
enum SCPIMessage {
    /// The commands as texts; semicolons inside quotes do not separate. The line end is optional:
    /// the end of the message on the bus means the same.
    static func units(_ message: [UInt8]) -> [[UInt8]] {
        var message = message[...]
        while let last = message.last, isSpace(last) { message.removeLast() }
        guard !message.isEmpty else { return [] }
        return split(message, at: UInt8(ascii: ";")).map { Array($0) }
    }

    /// One command. Keywords longer than `longestKeyword` are an error, where there is a limit.
    static func parse(_ text: [UInt8], longestKeyword: Int?) throws(SCPIFault) -> SCPIUnit {
        var text = text[...]
        while let first = text.first, isSpace(first) { text.removeFirst() }
        guard !text.isEmpty else { throw .syntax }
        guard text.allSatisfy({ $0 >= 0x09 && $0 < 0x7F }) else { throw .invalidCharacter }
        let end = text.firstIndex(where: isSpace) ?? text.endIndex
        var unit = try header(text[..<end], longestKeyword: longestKeyword)
        let rest = trimmed(text[end...])
        if !rest.isEmpty {
            unit.parameters = split(rest, at: UInt8(ascii: ",")).map {
                String(decoding: trimmed($0), as: UTF8.self)
            }
            if unit.parameters.contains("") { throw .syntax }
        }
        return unit
    }

    private static func header(
        _ text: ArraySlice<UInt8>, longestKeyword: Int?
    ) throws(SCPIFault) -> SCPIUnit {
        var text = text
        var unit = SCPIUnit(keywords: [])
        if text.last == UInt8(ascii: "?") {
            unit.isQuery = true
            text.removeLast()
        }
        if text.first == UInt8(ascii: "*") {
            unit.isCommon = true
            text.removeFirst()
        } else if text.first == UInt8(ascii: ":") {
            unit.isRooted = true
            text.removeFirst()
        }
        for part in text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
            guard let first = part.first else { throw .syntax }
            guard isLetter(first), part.allSatisfy({ isLetter($0) || isDigit($0) || $0 == 0x5F })
            else { throw .invalidCharacter }
            if let longestKeyword, part.count > longestKeyword { throw .mnemonicTooLong }
            unit.keywords.append(String(decoding: part, as: UTF8.self).uppercased())
        }
        if unit.isCommon, unit.keywords.count != 1 { throw .syntax }
        return unit
    }

    /// Pieces between separators that are outside single and double quotes.
    private static func split(
        _ text: ArraySlice<UInt8>, at separator: UInt8
    ) -> [ArraySlice<UInt8>] {
        var pieces: [ArraySlice<UInt8>] = []
        var start = text.startIndex
        var quote: UInt8?
        for index in text.indices {
            let byte = text[index]
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == 0x22 || byte == 0x27 {
                quote = byte
            } else if byte == separator {
                pieces.append(text[start..<index])
                start = index + 1
            }
        }
        return pieces + [text[start...]]
    }

    private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var text = text
        while let first = text.first, isSpace(first) { text.removeFirst() }
        while let last = text.last, isSpace(last) { text.removeLast() }
        return text
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte <= 0x20 }
    private static func isDigit(_ byte: UInt8) -> Bool { 48...57 ~= byte }
    private static func isLetter(_ byte: UInt8) -> Bool {
        65...90 ~= byte || 97...122 ~= byte
    }
}
