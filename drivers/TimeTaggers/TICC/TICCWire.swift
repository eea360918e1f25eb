import DeviceProfiles
import Quantities

/// What distinguishes one firmware of the TICC from another, from its profile.
package struct TICCDialect: Sendable {
    package let profile: DeviceProfile
    package let record: TextRecord
    package let tick: TickPeriod
    let title: PrintedLine
    let version: PrintedLine
    let mode: PrintedLine
    let timestampMode: PrintedLine
    let pollCharacter: PrintedLine
    let notPolled: PrintedLine
    let serial: PrintedLine
    let edges: PrintedLine
    let prompt: PrintedLine
    let begin: PrintedLine
    let noReference: PrintedLine
    let waitingForSync: PrintedLine
    /// Lines that not every firmware has.
    let wrap: PrintedLine?
    let names: PrintedLine?
    let referenceLost: PrintedLine?
    /// The longest time from a reset to the first line of data.
    let bootLimit: Duration
    /// The time within which a second pulse at one input may go unseen.
    let busy: Duration

    /// - Throws: `MissingProfileField` when the profile is not one of such a board.
    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        self.profile = profile
        record = try profile.requireTextRecord()
        tick = try profile.requireTimeBase().tick
        title = try profile.printedLine("title")
        version = try profile.printedLine("version")
        mode = try profile.printedLine("mode")
        timestampMode = try profile.printedLine("timestamp_mode")
        pollCharacter = try profile.printedLine("poll_character")
        notPolled = try profile.printedLine("not_polled")
        serial = try profile.printedLine("serial")
        edges = try profile.printedLine("trigger_edge")
        prompt = try profile.printedLine("prompt")
        begin = try profile.printedLine("begin")
        noReference = try profile.printedLine("no_reference")
        waitingForSync = try profile.printedLine("waiting_for_sync")
        wrap = profile.dialect?.lines["wrap"]
        names = profile.dialect?.lines["channel_names"]
        referenceLost = profile.dialect?.lines["reference_lost"]
        func time(_ name: String) throws(MissingProfileField) -> Duration {
            guard let value = profile.timing[name] else {
                throw MissingProfileField(profile: profile.id, path: "timing.\(name)")
            }
            return .microseconds(Int64((value * 1000).rounded()))
        }
        bootLimit = try time("boot_limit_ms")
        busy = try time("busy_ms")
    }
}

/// A time as the board prints it, exact: whole seconds, rounded down, and picoseconds above them.
package struct TICCTime: Hashable, Sendable {
    package var seconds: Int64
    package var picoseconds: Int64

    package init(seconds: Int64, picoseconds: Int64) {
        self.seconds = seconds
        self.picoseconds = picoseconds
    }

    /// In nanoseconds, for comparison with the host's clock only.
    var nanoseconds: Int64 { seconds * 1_000_000_000 + picoseconds / 1000 }
}

/// How the board of one acquisition prints its tags.
package struct TICCFormat: Hashable, Sendable {
    /// Digits after the point.
    package var decimals: Int
    /// Digits before it when the seconds wrap; 0 when they do not.
    package var wrapDigits: Int
    /// How a time before zero looks.
    package var negative: NegativeTime
    /// What stands between time and name.
    package var channelPrefix: [UInt8]
    /// The names of the channels.
    package var names: [UInt8]

    package init(
        decimals: Int, wrapDigits: Int = 0, negative: NegativeTime,
        channelPrefix: String = " ch", names: String = "AB"
    ) {
        self.decimals = decimals
        self.wrapDigits = wrapDigits
        self.negative = negative
        self.channelPrefix = Array(channelPrefix.utf8)
        self.names = Array(names.utf8)
    }
}

/// The lines of a TICC. Pure decoding.
package enum TICCWire {
    private static let picosecondDigits = 12
    /// Seconds are printed from a signed 32-bit number.
    private static let maxSecondDigits = 10

    /// Reads a line of data; nil unless every character is as the firmware prints it.
    ///
    /// Strict on purpose: one byte lost on the way leaves a wrong number of decimals, a leading zero
    /// or a broken name, and must not become a time.
    package static func decode(
        _ line: [UInt8], _ format: TICCFormat
    ) -> (time: TICCTime, channel: UInt8)? {
        var rest = line[...]
        let leadingSign = take(0x2D, &rest)
        guard let seconds = digits(&rest, limit: maxSecondDigits), take(0x2E, &rest) else {
            return nil
        }
        let innerSign = take(0x2D, &rest)
        guard let fraction = digits(&rest, limit: picosecondDigits),
            fraction.count == format.decimals, isWellFormed(seconds, format),
            rest.starts(with: format.channelPrefix)
        else { return nil }
        rest = rest.dropFirst(format.channelPrefix.count)
        guard rest.count == 1, let name = rest.first,
            let channel = format.names.firstIndex(of: name)
        else { return nil }
        var picoseconds = fraction.value
        for _ in fraction.count..<picosecondDigits { picoseconds *= 10 }
        let magnitude = TICCTime(seconds: seconds.value, picoseconds: picoseconds)
        guard
            let time = signed(magnitude, leading: leadingSign, inner: innerSign, format.negative)
        else { return nil }
        return (time, UInt8(channel))
    }

    private static func isWellFormed(
        _ seconds: (value: Int64, count: Int), _ format: TICCFormat
    ) -> Bool {
        if format.wrapDigits > 0 { return seconds.count == format.wrapDigits }
        let shortest = seconds.value == 0 ? 1 : String(seconds.value).utf8.count
        return seconds.count == shortest && seconds.value <= Int64(Int32.max)
    }

    private static func signed(
        _ magnitude: TICCTime, leading: Bool, inner: Bool, _ style: NegativeTime
    ) -> TICCTime? {
        switch (leading, inner, style) {
        case (false, false, _): return magnitude
        case (true, false, .floor):
            return TICCTime(seconds: -magnitude.seconds, picoseconds: magnitude.picoseconds)
        case (true, false, .leading), (false, true, .afterPoint):
            guard magnitude.picoseconds > 0 else {
                return TICCTime(seconds: -magnitude.seconds, picoseconds: 0)
            }
            return TICCTime(
                seconds: -magnitude.seconds - 1,
                picoseconds: 1_000_000_000_000 - magnitude.picoseconds)
        default: return nil
        }
    }

    private static func take(_ byte: UInt8, _ rest: inout ArraySlice<UInt8>) -> Bool {
        guard rest.first == byte else { return false }
        rest = rest.dropFirst()
        return true
    }

    private static func digits(
        _ rest: inout ArraySlice<UInt8>, limit: Int
    ) -> (value: Int64, count: Int)? {
        var value: Int64 = 0
        var count = 0
        while let byte = rest.first, 0x30...0x39 ~= byte {
            guard count < limit else { return nil }
            value = value * 10 + Int64(byte - 0x30)
            count += 1
            rest = rest.dropFirst()
        }
        return (value, count)
    }
}

/// Cuts what arrives into lines; CR, LF and CR LF all end one, empty lines are skipped.
package struct TICCLineSplitter: Sendable {
    private var pending: [UInt8] = []
    /// Longer than any line of any firmware.
    static let maxLine = 256

    package init() {}

    /// The lines that `bytes` complete. A line without end is given up at 256 bytes, as it is.
    package mutating func lines(_ bytes: [UInt8]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        for byte in bytes {
            if byte != 0x0D && byte != 0x0A {
                pending.append(byte)
                guard pending.count >= Self.maxLine else { continue }
            }
            if !pending.isEmpty { result.append(pending) }
            pending.removeAll(keepingCapacity: true)
        }
        return result
    }
}
