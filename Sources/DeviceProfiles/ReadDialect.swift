/// Reading the command language and the sequences made of it.

extension Dialect {
    private static let milliseconds = 0.001...3_600_000.0

    init(_ reader: SectionReader) {
        style = reader.choice("style", default: .textLines)
        commandTerminator = reader.optionalText("command_terminator", max: 8)
        queryTerminator = reader.optionalText("query_terminator", max: 8)
        acceptedTerminators = reader.texts("accepted_terminators")
        replyTerminator = reader.optionalText("reply_terminator", max: 8)
        separator = reader.optionalText("separator", max: 8)
        letterCase = reader.optionalChoice("letter_case", LetterCase.self) ?? .sensitive
        checksum = reader.optionalChoice("checksum", PacketChecksum.self) ?? .none
        pipelining = reader.flag("pipelining", default: false)
        replyTimeoutMilliseconds = reader.number("reply_timeout_ms", Self.milliseconds)
        minGapMilliseconds = reader.optionalNumber("min_gap_ms", Self.milliseconds)
        keepaliveMilliseconds = reader.optionalNumber("keepalive_ms", Self.milliseconds)
        keepaliveCommand = reader.optionalText("keepalive_command", max: 48)
        completionReply = reader.optionalText("completion_reply", max: 40)
        errorReplies = reader.optional("error_replies")?.items().compactMap { $0.pattern() } ?? []
        let style = style
        commands = reader.sectionTable("commands") { Command($0, style) }
        messages = reader.sectionTable("messages") { Message($0, style) }
        lines = reader.table("lines") { _, value in PrintedLine.read(value) }
        constants = reader.table("constants") { _, value in
            value.integer(-0x8000_0000...0xffff_ffff)
        }
        statusBits = reader.table("status_bits") { _, value in value.integer(0...63) }
        check(reader)
    }

    private func check(_ reader: SectionReader) {
        if style == .textLines, commandTerminator == nil {
            reader.sink.report(
                reader.path, at: reader.position,
                expected: "the key `command_terminator` for a text language", found: "none")
        }
        if let keepaliveCommand, commands[keepaliveCommand] == nil {
            reader.sink.report(
                reader.join("keepalive_command"), expected: "the name of a command",
                found: "\"\(keepaliveCommand)\"")
        }
        if (keepaliveCommand == nil) != (keepaliveMilliseconds == nil) {
            reader.sink.report(
                reader.path, at: reader.position,
                expected: "`keepalive_ms` and `keepalive_command` together", found: "only one")
        }
        for (name, command) in commands.entries {
            if let message = command.reply.message, messages[message] == nil {
                reader.sink.report(
                    reader.join("commands.\(name).reply.message"),
                    expected: "the name of one of `messages`", found: "\"\(message)\"")
            }
        }
    }
}

extension PrintedLine {
    /// Reads text with at most one place `{…}`; braces anywhere else are mistakes.
    static func read(_ value: ValueReader) -> PrintedLine? {
        guard let text = value.text(max: 120) else { return nil }
        guard let open = text.firstIndex(of: "{") else {
            if text.contains("}") {
                value.failText("text with at most one place `{name}`", found: text)
                return nil
            }
            return PrintedLine(before: text, after: nil)
        }
        let rest = text[open...].dropFirst()
        guard let close = rest.firstIndex(of: "}"),
            SectionReader.isName(String(rest[..<close])),
            !rest[close...].dropFirst().contains(where: { $0 == "{" || $0 == "}" })
        else {
            value.failText("text with at most one place `{name}`", found: text)
            return nil
        }
        return PrintedLine(
            before: String(text[..<open]), after: String(rest[close...].dropFirst()))
    }
}

extension Command {
    init(_ reader: SectionReader, _ style: DialectStyle) {
        if style == .textLines || style == .elliptecText {
            template = reader.text("send", max: 80)
            opcode = nil
            dataBytes = 0
        } else {
            template = nil
            let range = style == .aptFrames ? 0...0xffff : 0...0xff
            opcode = UInt16(reader.integer("opcode", range))
            // Both have a header of six bytes and data of a length that the command fixes.
            dataBytes =
                style == .aptFrames || style == .labJackPacket
                ? reader.optionalInteger("data_bytes", 1...255) ?? 0 : 0
        }
        arguments = reader.sectionTable("arguments") { Argument($0, style) }
        reply = reader.optionalSection("reply", Reply.init) ?? .none
        timeoutMilliseconds = reader.optionalNumber("timeout_ms", 0.001...3_600_000)
        settleMilliseconds = reader.optionalNumber("settle_ms", 0.001...3_600_000)
        if let template { checkPlaceholders(of: template, reader) }
        checkOffsets(reader)
        if let template, style == .elliptecText { checkLetters(of: template, reader) }
    }

    /// The length of an Elliptec command follows from its two characters, so nothing but arguments
    /// may come after them.
    private func checkLetters(of template: String, _ reader: SectionReader) {
        let letters = template.prefix { $0 != "{" }
        let between = template.dropFirst(letters.count).split(separator: "}")
        if !ElliptecCode.isCommand(letters) || !between.allSatisfy({ $0.first == "{" }) {
            reader.sink.report(
                reader.join("send"),
                expected: "two lower-case characters such as `gs` or `i1`, then the placeholders",
                found: "\"\(template)\"")
        }
    }

    /// Arguments lie within the data of their command.
    private func checkOffsets(_ reader: SectionReader) {
        for (name, argument) in arguments.entries {
            guard let offset = argument.offset, let count = argument.encoding.fixedBytes,
                offset + count > dataBytes
            else { continue }
            reader.sink.report(
                reader.join("arguments.\(name).offset"),
                expected: "an argument within the \(dataBytes) bytes of data",
                found: "bytes \(offset) to \(offset + count - 1)")
        }
    }

    /// Every argument stands once in the text, and every placeholder names an argument.
    private func checkPlaceholders(of template: String, _ reader: SectionReader) {
        var placeholders: [String] = []
        var rest = template[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { break }
            placeholders.append(String(rest[rest.index(after: open)..<close]))
            rest = rest[rest.index(after: close)...]
        }
        if rest.contains("{") || placeholders != arguments.names {
            let expected = arguments.names.map { "{\($0)}" }.joined(separator: " ")
            reader.sink.report(
                reader.join("send"),
                expected: expected.isEmpty
                    ? "no placeholders, as there are no arguments"
                    : "the placeholders \(expected) in this order",
                found: "\"\(template)\"")
        }
    }
}

extension Argument {
    init(_ reader: SectionReader, _ style: DialectStyle) {
        encoding = reader.choice("encoding", default: .u8)
        min = reader.number("min", -1e12...1e12)
        max = reader.number("max", -1e12...1e12)
        step = reader.optionalNumber("step", 1e-9...1e12)
        unit = reader.optionalChoice("unit", Unit.self) ?? .none
        offset = reader.optionalInteger("offset", 0...255)
        let bits = reader.optionalSection("bits") {
            (low: $0.integer("low", 0...31), high: $0.integer("high", 0...31))
        }
        lowBit = bits?.low
        highBit = bits?.high
        check(reader, style)
    }

    private func check(_ reader: SectionReader, _ style: DialectStyle) {
        func report(_ key: String, _ expected: String, _ found: String) {
            reader.sink.report(reader.join(key), expected: expected, found: found)
        }
        if max < min { report("max", "at least `min` (\(ValueReader.show(min)))", show(max)) }
        let isText = encoding.fixedBytes == nil
        if style == .elliptecText {
            if encoding.hexDigits == nil {
                report(
                    "encoding", "a hexadecimal encoding (hex1 to signed_hex8)", encoding.rawValue)
                return
            }
        } else if isText != (style == .textLines) {
            report(
                "encoding",
                style == .textLines ? "a text encoding (integer, decimal)" : "a binary encoding",
                encoding.rawValue)
        }
        guard !isText || encoding.hexDigits != nil else { return }
        let (low, high) = carried
        if min < low || max > high {
            report(
                min < low ? "min" : "max",
                "a value that fits \(encoding.rawValue), \(show(low)) to \(show(high))",
                show(min < low ? min : max))
        }
        if let lowBit, let highBit, let bytes = encoding.fixedBytes {
            if highBit < lowBit || highBit >= bytes * 8 {
                report("bits", "low to high within \(bytes * 8) bits", "\(lowBit) to \(highBit)")
            }
        }
    }

    private func show(_ value: Double) -> String { ValueReader.show(value) }

    /// The values the encoding, or the bits within it, can carry.
    private var carried: (Double, Double) {
        if let lowBit, let highBit, highBit >= lowBit {
            return (0, Double((1 << (highBit - lowBit + 1)) - 1))
        }
        switch encoding {
        case .hex1: return (0, 15)
        case .u8, .hex2: return (0, 255)
        case .u16le, .hex4: return (0, 65_535)
        case .u32le, .hex8: return (0, 4_294_967_295)
        case .i16le, .signedHex4: return (-32_768, 32_767)
        case .i32le, .signedHex8: return (-2_147_483_648, 2_147_483_647)
        case .ascii, .integer, .decimal: return (-.infinity, .infinity)
        }
    }
}

extension Reply {
    init(_ reader: SectionReader) {
        let shape = reader.choice("shape", default: ReplyShape.none)
        self.shape = shape
        bytes =
            shape == .bytes
            ? reader.integer("bytes", 1...4096) : reader.optionalInteger("bytes", 1...4096)
        message = shape == .message ? reader.text("message", max: 48) : nil
        encoding = reader.optionalChoice("encoding", ValueEncoding.self)
        values = reader.optionalInteger("values", 1...64)
        unit = reader.optionalChoice("unit", Unit.self)
    }
}

/// The two characters after the address of an Elliptec packet.
enum ElliptecCode {
    /// Whether `text` is a command of the host: a lower-case letter, then another or a digit.
    static func isCommand(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 2 else { return false }
        return lowerCase.contains(bytes[0])
            && (lowerCase.contains(bytes[1]) || digits.contains(bytes[1]))
    }

    /// The number of a module's message, an upper-case letter and then another or a digit; nil for
    /// anything else.
    static func message(_ text: String) -> UInt16? {
        let bytes = Array(text.utf8)
        guard bytes.count == 2, upperCase.contains(bytes[0]),
            upperCase.contains(bytes[1]) || digits.contains(bytes[1])
        else { return nil }
        return UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    }

    private static let lowerCase = UInt8(ascii: "a")...UInt8(ascii: "z")
    private static let upperCase = UInt8(ascii: "A")...UInt8(ascii: "Z")
    private static let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
}

extension Message {
    init(_ reader: SectionReader, _ style: DialectStyle) {
        if style == .elliptecText {
            let text = reader.text("code", max: 2)
            let code = ElliptecCode.message(text)
            opcode = code ?? 0
            if code == nil, !text.isEmpty {
                reader.sink.report(
                    reader.join("code"), expected: "two upper-case characters such as `PO` or `I1`",
                    found: "\"\(text)\"")
            }
        } else {
            opcode = reader.word("opcode")
        }
        dataBytes = reader.optionalInteger("data_bytes", 1...255) ?? 0
        let table = reader.sectionTable("fields", DataField.init)
        fields = NamedFields(names: table.names, fields: table.entries.map(\.value))
        for (name, field) in table.entries where field.offset + field.bytes > dataBytes {
            reader.sink.report(
                reader.join("fields.\(name)"),
                expected: "a field within the \(dataBytes) bytes of data",
                found: "bytes \(field.offset) to \(field.offset + field.bytes - 1)")
        }
    }
}

extension SequenceStep {
    static func read(_ reader: SectionReader) -> SequenceStep? {
        var steps: [SequenceStep] = []
        if reader.has("command") {
            let values = reader.optional("values")?.items().map { $0.number(-1e12...1e12) ?? 0 }
            steps.append(.command(reader.text("command", max: 48), values: values ?? []))
        }
        if reader.has("wait_ms") {
            steps.append(.wait(milliseconds: reader.number("wait_ms", 0.001...600_000)))
        }
        if let reading = reader.optionalChoice("reading", ReadingStep.self) {
            steps.append(reading == .start ? .startReading : .stopReading)
        }
        if reader.has("line") {
            steps.append(
                .line(
                    reader.text("line", max: 48),
                    active: reader.required("active")?.flag() ?? false))
        }
        let actions = ["command", "wait_ms", "reading", "line"].count { reader.has($0) }
        if actions != 1 {
            reader.sink.report(
                reader.path, at: reader.position,
                expected: "one of `command`, `wait_ms`, `reading`, `line`",
                found: actions == 0 ? "none" : "\(actions) of them")
        }
        return steps.first
    }

    private enum ReadingStep: String, CaseIterable {
        case start, stop
    }
}
