import DeviceProfiles

/// What a board says about itself when it starts.
package struct TICCConfiguration: Hashable, Sendable {
    /// The version as printed.
    package var version: String
    /// The serial number of the board, not of its USB processor.
    package var serial: String
    /// The layout of its lines.
    package var format: TICCFormat
    /// The edges of both inputs, as printed.
    package var edges: String
}

/// Follows a board from its reset to its first line of data, and finds out which firmware it has.
///
/// Fed line by line. The firmware is known from its own words alone: nothing is taken from the
/// profile the operator has declared but the list of candidates.
package struct TICCBannerReader {
    /// What a line means.
    package enum Progress: Hashable, Sendable {
        /// More has to come.
        case reading
        /// Data follow.
        case begun(TICCConfiguration)
    }

    private let candidates: [TICCDialect]
    /// The dialect of the firmware, once its version is known.
    package private(set) var dialect: TICCDialect?
    private var banner: [String]?
    private var firstOther: String?
    private var isChecked = false
    private var isWaiting = false

    package init(candidates: [TICCDialect]) {
        precondition(!candidates.isEmpty, "a driver has at least its own profile")
        self.candidates = candidates
    }

    /// Takes a line of the board.
    package mutating func take(_ bytes: [UInt8]) throws(TICCError) -> Progress {
        let line = String(decoding: bytes, as: UTF8.self)
        if candidates.contains(where: { $0.title.value(in: line) != nil }) {
            // Also in the middle: the board was reset once more.
            banner = []
            dialect = nil
            isChecked = false
            isWaiting = false
        }
        guard banner != nil else {
            firstOther = firstOther ?? String(line.prefix(60))
            return .reading
        }
        banner?.append(line)
        if dialect == nil { dialect = try identify(line) }
        guard let dialect else { return .reading }
        if dialect.noReference.value(in: line) != nil
            || dialect.referenceLost?.value(in: line) != nil
        {
            throw .noReference(found: line)
        }
        if dialect.waitingForSync.value(in: line) != nil { isWaiting = true }
        if dialect.prompt.value(in: line) != nil {
            _ = try configuration(dialect)
            isChecked = true
        }
        guard let decimals = dialect.begin.value(in: line) else { return .reading }
        let configuration = try configuration(dialect)
        // The board prints the number of decimals twice; a byte lost in one of them shows.
        if dialect.begin.after != nil, Int(decimals) != configuration.format.decimals {
            throw .damagedBanner(
                expected: "a header with \(configuration.format.decimals) decimals", found: line)
        }
        return .begun(configuration)
    }

    /// Why nothing came of it, when the time is up.
    package var failure: TICCError {
        guard banner != nil else {
            return .noBanner(found: firstOther.map { "\"\($0)\"" } ?? "nothing")
        }
        if dialect == nil {
            return .damagedBanner(
                expected: "a line with the software version", found: "a banner without it")
        }
        if isWaiting { return .waitingForSync }
        return .damagedBanner(
            expected: "the header of the data", found: isChecked ? "silence" : "half a banner")
    }

    /// The candidate that covers the version `line` tells; nil when it tells none.
    private func identify(_ line: String) throws(TICCError) -> TICCDialect? {
        var told: String?
        for candidate in candidates {
            guard let text = candidate.version.value(in: line) else { continue }
            told = told ?? text
            guard let version = FirmwareVersion(text),
                candidate.profile.firmware.contains(version)
            else { continue }
            if let reason = candidate.profile.firmware.reasonAgainst(version) {
                throw .unknownFirmware(found: "\(text): \(reason)", covered: covered)
            }
            return candidate
        }
        if let told { throw .unknownFirmware(found: told, covered: covered) }
        return nil
    }

    private var covered: String {
        candidates.map { candidate in
            let range = candidate.profile.firmware
            let ends = [range.from, range.through].map { $0?.description ?? "…" }
            return ends[0] == ends[1] ? ends[0] : ends.joined(separator: " to ")
        }.joined(separator: ", ")
    }

    private func value(_ line: PrintedLine) -> String? {
        banner?.lazy.compactMap { line.value(in: $0) }.first
    }

    private func require(_ line: PrintedLine, _ what: String) throws(TICCError) -> String {
        if let value = value(line) { return value }
        throw .damagedBanner(expected: "a line with the \(what)", found: "a banner without it")
    }

    private func configuration(_ dialect: TICCDialect) throws(TICCError) -> TICCConfiguration {
        let mode = try require(dialect.mode, "measurement mode")
        guard value(dialect.timestampMode) != nil else {
            throw .wrongSetting(
                expected: "the timestamp mode", found: "\"\(mode)\"",
                advice: "set the measurement mode to timestamp in the board's menu, write it")
        }
        let poll = try require(dialect.pollCharacter, "poll character")
        guard value(dialect.notPolled) != nil else {
            throw .wrongSetting(
                expected: "no poll character", found: "\"\(poll)\"",
                advice: "unset the poll character in the board's menu, write it")
        }
        return TICCConfiguration(
            version: try require(dialect.version, "software version"),
            serial: value(dialect.serial) ?? "", format: try format(dialect),
            edges: try require(dialect.edges, "trigger edge"))
    }

    private func format(_ dialect: TICCDialect) throws(TICCError) -> TICCFormat {
        var format = TICCFormat(
            decimals: dialect.record.decimals, negative: dialect.record.negative,
            channelPrefix: dialect.record.channelPrefix)
        if let name = dialect.record.decimalsLine, let line = dialect.profile.dialect?.lines[name] {
            let text = try require(line, "number of decimals")
            guard let decimals = Int(text), 0...12 ~= decimals else {
                throw .damagedBanner(expected: "0 to 12 decimals", found: "\"\(text)\"")
            }
            format.decimals = decimals
        }
        if let wrap = dialect.wrap {
            let text = try require(wrap, "timestamp wrap")
            guard let digits = Int(text), 0...10 ~= digits else {
                throw .damagedBanner(expected: "a wrap of 0 to 10 digits", found: "\"\(text)\"")
            }
            // A time that was held back for an unknown number of wraps can not be placed.
            if digits > 0, dialect.record.group > 1 {
                throw .wrongSetting(
                    expected: "times that do not wrap", found: "a wrap of \(digits) digits",
                    advice: "set the wrap to 0 in the board's menu, write it")
            }
            format.wrapDigits = digits
        }
        if let names = dialect.names, let text = value(names) {
            let parts = Array(text.utf8).split(
                separator: 0x2F, maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ $0.count == 1 }), parts[0] != parts[1],
                let first = parts[0].first, let second = parts[1].first
            else {
                throw .wrongSetting(
                    expected: "two different names of one character", found: "\"\(text)\"",
                    advice: "set the channel names in the board's menu, write it")
            }
            format.names = [first, second]
        }
        return format
    }
}
