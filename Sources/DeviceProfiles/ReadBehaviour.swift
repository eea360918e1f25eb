/// Reading limits, scaling, faults, quirks, provenance and confidence.

extension Limit {
    init(_ reader: SectionReader) {
        min = reader.optionalNumber("min", -1e15...1e15)
        max = reader.optionalNumber("max", -1e15...1e15)
        step = reader.optionalNumber("step", 1e-12...1e15)
        standard = reader.optionalNumber("default", -1e15...1e15)
        unit = reader.choice("unit", default: .none)
        if let min, let max, max < min {
            reader.sink.report(
                reader.join("max"), expected: "at least `min` (\(ValueReader.show(min)))",
                found: ValueReader.show(max))
        }
        if min == nil && max == nil {
            reader.sink.report(
                reader.path, at: reader.position, expected: "`min`, `max` or both",
                found: "neither")
        }
        if let standard, !allows(standard) {
            reader.sink.report(
                reader.join("default"), expected: "a value within the limits",
                found: ValueReader.show(standard))
        }
    }
}

extension Scale {
    init(_ reader: SectionReader) {
        numerator = reader.number("numerator", 1e-12...1e15)
        denominator = reader.number("denominator", 1e-12...1e15)
        unit = reader.choice("unit", default: .none)
        per = reader.choice("per", default: .none)
    }
}

extension Faults {
    init(_ reader: SectionReader) {
        reported = reader.sectionTable("reported", DeviceFault.init)
        injectable = reader.optionalChoices("injectable", InjectableFault.self)
        for (index, fault) in injectable.enumerated()
        where injectable[..<index].contains(fault) {
            reader.sink.report(
                reader.join("injectable.\(index)"), expected: "each fault once",
                found: "`\(fault.rawValue)` again")
        }
    }
}

extension DeviceFault {
    init(_ reader: SectionReader) {
        source = reader.choice("source", default: .silence)
        code = reader.optionalInteger("code", 0...0xffff_ffff)
        severity = reader.choice("severity", default: .error)
        meaning = reader.text("meaning")
        recovery = reader.text("recovery")
        let needsCode =
            switch source {
            case .statusBit, .statusValue, .errorCode: true
            case .line, .silence: false
            }
        if needsCode != (code != nil) {
            reader.sink.report(
                reader.path, at: reader.position,
                expected: needsCode ? "the key `code`" : "no key `code` for this source",
                found: needsCode ? "none" : "one")
        }
    }
}

extension Quirk {
    init(_ reader: SectionReader) {
        value = reader.required("value").flatMap(QuirkValue.read) ?? .flag(false)
        confidence = reader.choice("confidence", default: .assumed)
        note = reader.optionalText("note", max: 400)
    }
}

extension QuirkValue {
    static func read(_ value: ValueReader) -> QuirkValue? {
        switch value.node.plainText {
        case "true", "false": return value.flag().map(QuirkValue.flag)
        case let plain? where ValueReader.number(plain) != nil:
            return value.integer(-0x8000_0000...0xffff_ffff).map(QuirkValue.integer)
        default: return value.text().map(QuirkValue.text)
        }
    }
}

extension ProfileProvenance {
    init(_ reader: SectionReader) {
        date = reader.text("date", max: 10)
        sources = reader.sections("sources", 1...64) {
            ProfileReference(what: $0.text("what"), location: $0.text("where", max: 400))
        }
        vectors = reader.sectionTable("vectors") {
            TestVector(
                bytes: Self.bytes($0), meaning: $0.text("meaning"),
                confidence: $0.optionalChoice("confidence", Confidence.self) ?? .seen)
        }
        if sources.isEmpty, !reader.has("sources") {
            reader.sink.report(
                reader.path, at: reader.position, expected: "the key `sources`", found: "none")
        }
        if !Self.isDate(date) {
            reader.sink.report(
                reader.join("date"), expected: "a date as YYYY-MM-DD", found: "\"\(date)\"")
        }
    }

    private static func isDate(_ text: String) -> Bool {
        guard TextPattern("####-##-##")?.matches(text) == true else { return false }
        let parts = text.split(separator: "-").compactMap { Int($0) }
        return parts.count == 3 && (1...12).contains(parts[1]) && (1...31).contains(parts[2])
    }

    private static func bytes(_ reader: SectionReader) -> [UInt8] {
        let text = reader.text("bytes", max: 1000)
        var bytes: [UInt8] = []
        for group in text.split(separator: " ") {
            guard group.utf8.count == 2, group.utf8.allSatisfy(\.isHexDigit),
                let byte = UInt8(group, radix: 16)
            else {
                reader.sink.report(
                    reader.join("bytes"), expected: "pairs of hexadecimal digits between spaces",
                    found: "\"\(group.prefix(20))\"")
                return []
            }
            bytes.append(byte)
        }
        return bytes
    }
}

extension ConfidenceMap {
    /// Reads the section; `stated` are the fields of the sections before it.
    init(_ reader: SectionReader, stated: [String]) {
        standard = reader.choice("default", default: .assumed)
        statedFields = stated
        let paths = stated.map { $0.split(separator: ".") }
        var exceptions: [(path: String, confidence: Confidence)] = []
        for (path, value) in reader.pairs("fields") {
            guard let confidence = value.choice(Confidence.self) else { continue }
            let pattern = path.split(separator: ".", omittingEmptySubsequences: false)
            if !paths.contains(where: { Self.covers(pattern, $0) }) {
                value.failKey(
                    "the path of a field this profile states", found: "`\(path.prefix(80))`")
            }
            exceptions.append((path, confidence))
        }
        self.exceptions = exceptions
    }
}
