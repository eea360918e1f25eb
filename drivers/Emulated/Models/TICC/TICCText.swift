import DeviceProfiles

/// What an operator has set in a TICC's menu.
public struct TICCSettings: Hashable, Sendable {
    /// As the banner prints it: `Timestamp`, `Period`, `Time Interval A->B`, `Debug`.
    public var mode = "Timestamp"
    /// One character, or nothing.
    public var pollCharacter = ""
    /// Digits of the seconds; 0 without wrap.
    public var wrap = 0
    /// Digits after the point, where they can be set; nil for what a new board has.
    public var decimals: Int?
    /// `M` for master; `C`, or `S` before 2020, for client.
    public var syncMode = "M"
    /// Names of the channels.
    public var names = "A/B"
    /// Delays in picoseconds that are taken off the times.
    public var delays: [Int64] = [0, 0]
    /// The settings of a new board.
    public init() {}
}

/// Every text of the firmware, by what its profile says about it.
final class TICCText {
    /// The three forms of the banner.
    private enum Layout { case of2019, of2020, of2025 }

    private let profile: DeviceProfile
    private let settings: TICCSettings
    private let layout: Layout
    private let record: TextRecord
    private let decimals: Int
    /// The version in the banner.
    var version: String

    init(profile: DeviceProfile, settings: TICCSettings) throws(MissingProfileField) {
        self.profile = profile
        self.settings = settings
        record = try profile.requireTextRecord()
        layout =
            record.decimalsLine != nil
            ? .of2025 : profile.dialect?.lines["wrap"] != nil ? .of2020 : .of2019
        decimals =
            record.decimalsLine != nil ? settings.decimals ?? record.decimals : record.decimals
        guard let firmware = profile.emulation?.firmware else {
            throw MissingProfileField(profile: profile.id, path: "emulation.firmware")
        }
        version = firmware.description
        _ = try profile.printedLine("begin")
    }

    var isClient: Bool { settings.syncMode != "M" }
    var isTimestampMode: Bool { settings.mode == "Timestamp" }
    var breakOpensMenu: Bool { profile.hasQuirk("break_opens_menu") }

    private func end(_ text: String) -> [UInt8] { Array((text + "\r\n").utf8) }
    private func fact(_ name: String, _ value: String = "") -> [UInt8] {
        end(profile.dialect?.lines[name]?.text(value) ?? "")
    }
    /// What stands between parts of the output.
    private var blank: [UInt8] { end(layout == .of2025 ? "# " : "") }
    private func pair(_ name: String, _ first: String, _ second: String) -> [UInt8] {
        end("# \(name): \(first) (ch0), \(second) (ch1)")
    }

    // MARK: - The start

    /// From the first byte after a reset to the line before the prompt.
    var banner: [[UInt8]] {
        let year = ["2019", "2020", "2025"][layout == .of2019 ? 0 : layout == .of2020 ? 1 : 2]
        let fence = end("#####################")
        return [blank, fact("title")]
            + [end("# Copyright 2016-\(year) N8UR, K9TRV, NH6Z, WA8YWQ"), blank, fence]
            + [end("# TICC Configuration: ")]
            + (layout == .of2025 ? newConfiguration : oldConfiguration) + [fence]
            + (layout == .of2019 ? [] : [blank])
    }

    private var mode: [UInt8] { fact("mode", settings.mode) }
    private var poll: [UInt8] {
        fact("poll_character", settings.pollCharacter.isEmpty ? "none" : settings.pollCharacter)
    }
    private var identity: [[UInt8]] {
        [
            end(
                "# EEPROM Version: \(layout == .of2019 ? 9 : layout == .of2020 ? 10 : 11), "
                    + "Board Version: D"),
            fact("version", version),
            fact("serial", profile.emulation?.identityReply ?? ""),
        ]
    }
    private var clocks: [[UInt8]] {
        [
            end("# Clock Speed: 10.000000 MHz"), end("# Coarse tick: 100.000000 usec"),
            end("# Cal Periods: 20"),
        ]
    }
    private var delays: [UInt8] {
        pair("PropDelay", "\(settings.delays[0])", "\(settings.delays[1])")
    }
    private var edges: [UInt8] { pair("Trigger Edge", "R", "R") }
    private var corrections: [[UInt8]] {
        [
            pair("Time Dilation", "2500", "2500"), pair("FIXED_TIME2", "0", "0"),
            pair("FUDGE0", "0", "0"),
        ]
    }
    private var wrap: [UInt8] { fact("wrap", "\(settings.wrap)") }
    private var names: [UInt8] { fact("channel_names", settings.names) }
    private var sync: [UInt8] { end("# SyncMode: \(settings.syncMode)") }
    private var timeout: [UInt8] { end("# Timeout: 0x05") }

    private var oldConfiguration: [[UInt8]] {
        [mode, poll] + identity + clocks + (layout == .of2020 ? [wrap] : [])
            + [sync, names, delays, timeout, edges] + corrections
    }

    private var newConfiguration: [[UInt8]] {
        [identity[1], identity[0], identity[2], mode, wrap, fact("decimals", "\(decimals)"), edges]
            + [sync, names, poll] + clocks + [delays, timeout] + corrections
    }

    var promptStart: [UInt8] { fact("prompt") + Array("# ".utf8) }
    /// The line of dots ends at once in 2025, and with the next text before.
    var promptEnd: [UInt8] { layout == .of2025 ? end("") : [] }

    /// What precedes the lines that follow the wait.
    private var gap: [[UInt8]] { [blank, blank] }
    var noReference: [[UInt8]] { gap + [fact("no_reference")] }
    var waitingForSync: [[UInt8]] { gap + [fact("waiting_for_sync")] }

    var header: [[UInt8]] {
        let gap = layout == .of2025 ? [blank] : gap
        guard isTimestampMode else { return gap + [end("# period (seconds)")] }
        return gap + [fact("begin", "\(decimals)")]
    }

    // MARK: - Breaks

    var leaving: [UInt8] { end("") + end("Got break character... exiting loop") + end("") }
    var stopping: [[UInt8]] {
        [
            end("# Stopping measurements for config..."),
            end("# Flushing pending measurements before config..."),
        ]
    }
    var resuming: [[UInt8]] {
        [end("# No changes made, resuming operation"), end("# Restarting measurements...")]
    }
    var menuPrompt: [UInt8] { layout == .of2025 ? Array("# > ".utf8) : end("choose one: ") }
    var referenceLost: [[UInt8]]? {
        guard profile.dialect?.lines["reference_lost"] != nil else { return nil }
        return [
            fact("reference_lost"),
            end("# Press any key to restart after reference is restored."),
        ]
    }

    // MARK: - Tags

    /// A line for a time in picoseconds; decimals are cut off, not rounded.
    func line(_ time: Int64, channel: Int) -> [UInt8] {
        let time = time - settings.delays[channel]
        let parts = settings.names.split(separator: "/", omittingEmptySubsequences: false)
        return end(number(time) + record.channelPrefix + String(parts[channel]))
    }

    private func number(_ time: Int64) -> String {
        let isNegative = time < 0
        let magnitude = time.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000_000)
        var seconds = magnitude.quotient
        var fraction = magnitude.remainder
        if isNegative, record.negative == .floor, fraction > 0 {
            seconds += 1
            fraction = 1_000_000_000_000 - fraction
        }
        let digits = String(padded(fraction, to: 12).prefix(decimals))
        let whole =
            settings.wrap > 0
            ? String(padded(seconds, to: 10).suffix(settings.wrap)) : "\(seconds)"
        guard isNegative else { return whole + "." + digits }
        return record.negative == .afterPoint ? whole + ".-" + digits : "-" + whole + "." + digits
    }

    private func padded(_ value: UInt64, to count: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
    }
}
