import Yams

extension DeviceProfile {
    /// Reads one profile.
    ///
    /// - Parameters:
    ///   - text: the complete file, at most 256 KiB.
    ///   - file: the name used in errors and in `source`.
    ///   - origin: whether the file was compiled in or given by the user.
    /// - Throws: `ProfileErrors` with up to 50 errors. Reading ends after the first mistake in the
    ///   YAML grammar; names that lead nowhere are looked for once all values are right.
    public init(
        text: String, file: String, origin: ProfileOrigin = .external
    ) throws(ProfileErrors) {
        let sink = ErrorSink(file: file)
        let root = try Self.compose(text, sink)
        let source = ProfileSource(file: file, origin: origin, text: text)
        guard
            let reader = ValueReader(node: root, path: "", sink: sink).section()
        else { throw ProfileErrors(sink.errors) }
        let profile = DeviceProfile(reader, source)
        reader.finish()
        // Half a profile refers to what is missing; those errors would only be noise.
        if sink.errors.isEmpty { profile?.checkReferences(sink) }
        guard let profile, sink.errors.isEmpty else { throw ProfileErrors(sink.errors) }
        self = profile
    }

    /// Reads one profile from the bytes of a file, which must be UTF-8.
    public init(
        bytes: [UInt8], file: String, origin: ProfileOrigin = .external
    ) throws(ProfileErrors) {
        try self.init(text: Self.text(of: bytes, file: file), file: file, origin: origin)
    }

    static func text(of bytes: [UInt8], file: String) throws(ProfileErrors) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ProfileErrors([encodingError(bytes, file)])
        }
        return text
    }

    /// Points at the first byte that is not UTF-8.
    private static func encodingError(_ bytes: [UInt8], _ file: String) -> ProfileError {
        var position = ProfileScreen.Position(line: 1, column: 1)
        var decoder = UTF8()
        var iterator = bytes.makeIterator()
        while case .scalarValue(let scalar) = decoder.decode(&iterator) {
            position.column += 1
            if scalar == "\n" {
                position = ProfileScreen.Position(line: position.line + 1, column: 1)
            }
        }
        return ProfileError(
            file: file, line: position.line, column: position.column, path: "",
            expected: "UTF-8 text", found: "bytes that are not UTF-8")
    }

    private static func compose(_ text: String, _ sink: ErrorSink) throws(ProfileErrors) -> Node {
        func failure(
            _ position: ProfileScreen.Position, _ expected: String, _ found: String
        ) -> ProfileErrors {
            sink.report("", at: position, expected: expected, found: found)
            return ProfileErrors(sink.errors)
        }
        let start = ProfileScreen.Position(line: 1, column: 1)
        guard text.utf8.count <= ProfileScreen.sizeMax else {
            throw failure(
                start, "at most \(ProfileScreen.sizeMax) bytes", "\(text.utf8.count) bytes")
        }
        let screen: ProfileScreen
        do {
            screen = try ProfileScreen(text)
        } catch {
            throw failure(error.position, error.expected, error.found)
        }
        do {
            // The parser keeps a pointer to the bytes, and short strings have none that lasts.
            let padding = String(repeating: "\n", count: 16)
            // All scalars are text to it; what they mean is decided here.
            let parser = try Parser(yaml: text + padding, resolver: .basic, encoding: .utf8)
            guard let node = try parser.singleRoot() else {
                throw failure(start, "a mapping", "an empty file")
            }
            // Anchors live as long as the parser. The screen has refused them; this is the check
            // that it understood the text as the parser does.
            return try withExtendedLifetime(parser) {
                guard node.isPlainTree(depth: ProfileScreen.depthMax) else {
                    throw failure(start, "plain mappings, sequences and scalars", "other nodes")
                }
                return node
            }
        } catch let error as ProfileErrors {
            throw error
        } catch let error as YamlError {
            let (position, expected, found) = explain(error, screen)
            throw failure(min(position, screen.end), expected, found)
        } catch {
            throw failure(start, "YAML", "something else")
        }
    }

    private static func explain(
        _ error: YamlError, _ screen: ProfileScreen
    ) -> (ProfileScreen.Position, expected: String, found: String) {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            let position = ProfileScreen.Position(line: mark.line, column: mark.column)
            return (position, "YAML", "a mistake in its grammar: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let first = ProfileScreen.Position(
                line: context.mark.line, column: context.mark.column)
            let key = Node.excerpt(duplicates.first ?? "")
            return (
                screen.repetition(of: first) ?? first, "each key once",
                "the key `\(key)` again (first in line \(first.line))"
            )
        default:
            return (ProfileScreen.Position(line: 1, column: 1), "YAML", "\(error)")
        }
    }
}

// MARK: - The whole file

extension DeviceProfile {
    /// The version of the schema described in `firmware-profiles/README.md`.
    public static let schemaVersion = 1

    /// Whether a path leads to a fact about the device, and not to a remark about one.
    private static func isFact(_ path: String) -> Bool {
        let isRemark = path.hasSuffix(".confidence") || path.hasSuffix(".note")
        return path != "schema" && !(path.hasPrefix("quirks.") && isRemark)
    }

    private init?(_ reader: SectionReader, _ source: ProfileSource) {
        _ = reader.required("schema")?.integer(
            Self.schemaVersion...Self.schemaVersion,
            expecting: "\(Self.schemaVersion), the version of the schema")
        self.source = source
        let identity = reader.section("identity", DeviceIdentity.init)
        usb = reader.optionalSection("usb", USBIdentity.init)
        coldBoot = reader.optionalSection("cold_boot", ColdBoot.init)
        serialPort = reader.optionalSection("serial_port", SerialPortSettings.init)
        identification = reader.optionalSection("identification", Identification.init)
        let firmware = reader.section("firmware", FirmwareRange.init)
        let topology = reader.section("topology") {
            (channels: Channel.readAll($0), lines: LineRole.readAll($0))
        }
        channels = topology?.channels ?? []
        lines = topology?.lines ?? []
        timeBase = reader.optionalSection("time_base", TimeBase.init)
        record = reader.optionalSection("record", RecordLayout.init)
        textRecord = reader.optionalSection("text_record", TextRecord.init)
        dialect = reader.optionalSection("dialect", Dialect.init)
        sequences = reader.table("sequences") { _, value in
            value.items(1...256).compactMap { item in
                guard let reader = item.section() else { return nil }
                defer { reader.finish() }
                return SequenceStep.read(reader)
            }
        }
        limits = reader.sectionTable("limits", Limit.init)
        scaling = reader.sectionTable("scaling", Scale.init)
        curves = reader.table("curves") { _, value in
            guard let reader = value.section() else { return nil }
            defer { reader.finish() }
            return ResponseCurve.read(reader)
        }
        timing = reader.table("timing") { name, value in
            if !name.hasSuffix("_ms") {
                value.failKey("a name that ends in `_ms`", found: "`\(name)`")
            }
            return value.number(0.000_001...86_400_000)
        }
        faults =
            reader.optionalSection("faults", Faults.init)
            ?? Faults(reported: NamedTable(), injectable: [])
        quirks = reader.sectionTable("quirks", Quirk.init)
        emulation = reader.optionalSection("emulation", EmulationIdentity.init)
        let stated = reader.sink.statedFields.filter(Self.isFact)
        let provenance = reader.section("provenance", ProfileProvenance.init)
        proof = reader.optionalSection("proof", ProfileProof.init)
        let confidence = reader.section("confidence") { ConfidenceMap($0, stated: stated) }
        guard let identity, let firmware, let provenance, let confidence else { return nil }
        self.identity = identity
        self.firmware = firmware
        self.provenance = provenance
        self.confidence = confidence
        marks = reader.sink.marks
    }
}
