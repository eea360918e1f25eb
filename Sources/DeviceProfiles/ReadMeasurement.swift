import Quantities

/// Reading the sections about channels, lines, time and records.

extension Channel {
    init(_ reader: SectionReader) {
        index = reader.integer("index", 0...255)
        label = reader.text("label", max: 40)
        kind = reader.choice("kind", default: .timingInput)
        mask = reader.optionalInteger("mask", 1...0xffff_ffff).map { UInt32($0) }
        edge = reader.optionalChoice("edge", SignalEdge.self)
        defaultThreshold = reader.optionalNumber("default_threshold_v", -10...10).map(Volts.init)
        deadTime = reader.optionalInteger("dead_time_ps", 0...1_000_000_000_000)
            .map { Picoseconds(Int64($0)) }
        maxRate = reader.optionalNumber("max_rate_hz", 1...1e12).map(Hertz.init)
    }

    static func readAll(_ reader: SectionReader) -> [Channel] {
        let channels = reader.sections("channels", 1...64, Channel.init)
        for (position, channel) in channels.enumerated() {
            let earlier = channels[..<position]
            if earlier.contains(where: { $0.index == channel.index }) {
                reader.sink.report(
                    reader.join("channels.\(position).index"), expected: "an unused index",
                    found: "\(channel.index) again")
            }
            if let mask = channel.mask,
                earlier.contains(where: { $0.mask.map { $0 & mask } ?? 0 != 0 })
            {
                reader.sink.report(
                    reader.join("channels.\(position).mask"), expected: "bits of its own",
                    found: "bits of another channel")
            }
        }
        return channels
    }
}

extension LineRole {
    init(_ reader: SectionReader) {
        role = reader.text("role", max: 48)
        direction = reader.choice("direction", default: .input)
        active = reader.choice("active", default: .high)
        safe = reader.optionalChoice("safe", LineLevel.self)
        edge = reader.optionalChoice("edge", SignalEdge.self)
        required = reader.flag("required", default: true)
        trips = reader.flag("trips", default: false)
        permits = reader.flag("permits", default: false)
        check(reader)
    }

    private func check(_ reader: SectionReader) {
        if !SectionReader.isName(role) {
            reader.sink.report(
                reader.join("role"),
                expected: "a name of lower-case letters, digits and underscores",
                found: "\"\(role)\"")
        }
        switch direction {
        case .output:
            if safe == nil {
                reader.sink.report(
                    reader.path, at: reader.position, expected: "the key `safe` for an output",
                    found: "none")
            }
            if edge != nil || trips || permits {
                reader.sink.report(
                    reader.join(edge != nil ? "edge" : trips ? "trips" : "permits"),
                    expected: "this key on inputs only", found: "it on an output")
            }
        case .input:
            if safe != nil {
                reader.sink.report(
                    reader.join("safe"), expected: "this key on outputs only",
                    found: "it on an input")
            }
            if trips && permits {
                reader.sink.report(
                    reader.join("permits"), expected: "either `trips` or `permits`", found: "both")
            }
        }
    }

    static func readAll(_ reader: SectionReader) -> [LineRole] {
        let lines = reader.sections("lines", 1...64, LineRole.init)
        for (position, line) in lines.enumerated()
        where lines[..<position].contains(where: { $0.role == line.role }) {
            reader.sink.report(
                reader.join("lines.\(position).role"), expected: "an unused role",
                found: "\"\(line.role)\" again")
        }
        return lines
    }
}

extension TimeBase {
    init(_ reader: SectionReader) {
        tick =
            reader.section("tick_ps") {
                TickPeriod(
                    numerator: Int64($0.integer("numerator", 1...1_000_000_000)),
                    denominator: Int64($0.integer("denominator", 1...1_000_000_000)))
            } ?? TickPeriod(picoseconds: 1)
        counterBits = reader.integer("counter_bits", 1...64)
        rollover = reader.choice("rollover", default: .none)
        maxDummyIntervalMilliseconds = reader.optionalNumber(
            "max_dummy_interval_ms", 0.000_001...1e9)
        origin = reader.choice("origin", default: .counterReset)
        references = reader.texts("references")
        interpolation = reader.optionalSection("interpolation", Interpolation.init)
        lagCorrection = reader.optionalSection("lag_correction") {
            LagCorrection(
                field: $0.text("field", max: 48), below: $0.integer("below", 1...1_000_000),
                addTicks: $0.integer("add_ticks", 1...1_000_000))
        }
    }
}

extension Interpolation {
    init(_ reader: SectionReader) {
        field = reader.text("field", max: 48)
        let patternBits = reader.required("pattern_bits")?.integer(1...12) ?? 12
        size = 1 << patternBits
        missing = reader.integer("missing", 0...255)
        defaultTable = reader.text("default_table", max: 48)
        tables = reader.table("tables") { name, value in
            Self.table(name, value, size: 1 << patternBits)
        }
        if tables[defaultTable] == nil {
            reader.sink.report(
                reader.join("default_table"), expected: "the name of one of `tables`",
                found: "\"\(defaultTable)\"")
        }
    }

    private static func table(
        _ name: String, _ value: ValueReader, size: Int
    ) -> [(pattern: Int, value: Int)]? {
        var entries: [(pattern: Int, value: Int)] = []
        for (key, value) in value.pairs() {
            guard let pattern = key.key(0...(size - 1)), let ticks = value.integer(0...255) else {
                continue
            }
            if entries.contains(where: { $0.pattern == pattern }) {
                key.sink.report(
                    key.path, at: key.position, expected: "each pattern once",
                    found: "\(pattern) again")
            }
            entries.append((pattern, ticks))
        }
        return entries.sorted { $0.pattern < $1.pattern }
    }
}

extension RecordLayout {
    init(_ reader: SectionReader) {
        bytes = reader.integer("bytes", 1...8)
        endianness = reader.choice("endianness", default: .little)
        fields = reader.sectionTable("fields", BitField.init)
        void = reader.optionalInteger("void", 0...Int.max).map { UInt64($0) }
        dummyField = reader.optionalText("dummy_field", max: 48)
        overflow = reader.choice("overflow", default: .silent)
        flush =
            reader.section("flush", FlushRule.init)
            ?? FlushRule(packetBytes: nil, command: nil, unitMilliseconds: nil)
        fifoRecords = reader.optionalInteger("fifo_records", 1...1_000_000_000)
        check(reader)
    }

    private func check(_ reader: SectionReader) {
        if fields.isEmpty {
            reader.sink.report(
                reader.join("fields"), expected: "at least one bit field", found: "none")
        }
        var used: UInt64 = 0
        for (name, field) in fields.entries {
            if field.high >= bytes * 8 {
                reader.sink.report(
                    reader.join("fields.\(name).high"),
                    expected: "at most \(bytes * 8 - 1), the last bit of the record",
                    found: "\(field.high)")
            } else if field.mask & used != 0 {
                reader.sink.report(
                    reader.join("fields.\(name)"), expected: "bits of its own",
                    found: "bits of another field")
            }
            used |= field.mask
        }
        if let dummyField, fields[dummyField]?.width != 1 {
            reader.sink.report(
                reader.join("dummy_field"), expected: "the name of a field of one bit",
                found: "\"\(dummyField)\"")
        }
    }
}

extension TextRecord {
    init(_ reader: SectionReader) {
        decimals = reader.integer("decimals", 0...18)
        decimalsLine = reader.optionalText("decimals_line", max: 48)
        channelPrefix = reader.text("channel_prefix", max: 16)
        negative = reader.choice("negative", default: .leading)
        group = reader.integer("group", 1...64)
        overflow = reader.choice("overflow", default: .silent)
    }
}

extension BitField {
    init(_ reader: SectionReader) {
        let low = reader.integer("low", 0...63)
        let high = reader.integer("high", 0...63)
        self.low = low
        self.high = max(low, high)
        ticks = reader.optionalInteger("ticks", 1...Int.max).map { Int64($0) }
        shift = reader.optionalInteger("shift", 0...31)
        if high < low {
            reader.sink.report(
                reader.join("high"), expected: "at least `low` (\(low))", found: "\(high)")
        }
    }
}

extension FlushRule {
    init(_ reader: SectionReader) {
        packetBytes = reader.optionalInteger("packet_bytes", 1...1_048_576)
        command = reader.optionalText("command", max: 48)
        unitMilliseconds = reader.optionalNumber("unit_ms", 0.001...1e6)
    }
}
