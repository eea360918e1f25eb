import DeviceProfiles
import Emulated
import Foundation
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The emulated TICC against what the released firmware prints, and against the source of the newest.
struct TICCUnitTests {
    /// A board behind an in-process port, and what it prints up to an instant.
    private static func printed(
        _ id: String, pulses: [InputPulse] = [], period: Picoseconds? = nil,
        settings: TICCSettings = TICCSettings(), for duration: Duration = .seconds(14),
        keys: [(after: Duration, text: String)] = [], faults: [(Duration, EmulatedFault)] = []
    ) throws -> (text: String, missed: UInt64) {
        try onVirtualTime { reactor in
            let context = EmulationContext(reactor: reactor, seed: 1)
            let inputs: any TaggerInputs =
                if let period { PeriodicPulses(period: period) } else { ScriptedPulses(pulses) }
            let unit = try TICCUnit(
                profile: try profile(id), context: context,
                inputs: inputs, oscillator: ConstantOscillator(),
                settings: settings)
            let port = EmulatedSerialPort(context: context, device: unit, baud: nil)
            for (after, text) in keys {
                reactor.schedule(at: reactor.now + after) {
                    reactor.start {
                        try? await port.write(Array(text.utf8), timeout: .seconds(1))
                    }
                }
            }
            for (after, fault) in faults {
                reactor.schedule(at: reactor.now + after) { port.inject(fault) }
            }
            let end = reactor.now + duration
            var bytes: [UInt8] = []
            while reactor.now < end {
                let more = try? await port.read(upTo: 4096, timeout: end - reactor.now)
                bytes += more ?? []
            }
            return (String(decoding: bytes, as: UTF8.self), unit.missedPulses)
        }
    }

    /// Bench time in seconds at which the counter of a board powered at zero starts.
    private static func start(_ id: String) throws -> Double {
        let timing = try profile(id).timing
        return ["bootloader_ms", "begin_wait_ms", "menu_wait_ms", "sync_wait_ms"]
            .compactMap { timing[$0] }.reduce(0, +) / 1000
    }

    private static func pulses(
        _ id: String, _ list: [(time: Double, input: UInt8)]
    ) throws -> [InputPulse] {
        let start = try start(id)
        return list.map {
            InputPulse(time: Picoseconds(seconds: start + $0.time), input: $0.input)
        }
    }

    private static func data(_ text: String) -> [String] {
        text.components(separatedBy: "\r\n").filter { $0.contains(" ch") && !$0.hasPrefix("#") }
    }

    /// Up to the header, byte for byte; a new board says one line more while it writes its settings.
    @Test(
        "prints the start that the released programs print",
        arguments: [
            ("tapr-ticc-2017", TICCCapture.of20191202), ("tapr-ticc-2020", TICCCapture.of20200412),
        ])
    func start(id: String, capture: String) throws {
        let expected = try #require(
            capture.components(separatedBy: "\r\n0.").first?
                .components(separatedBy: "default...\r\n").last)
        #expect(try Self.printed(id).text == expected + "\r\n")
    }

    /// Worked out from TICC.ino and config.cpp at 94a0aa7.
    @Test func printsTheStartOfTheNewestSource() throws {
        let text = try Self.printed("tapr-ticc-2025").text
        let expected = [
            "# ", "# TAPR TICC Timestamping Counter",
            "# Copyright 2016-2025 N8UR, K9TRV, NH6Z, WA8YWQ", "# ", "#####################",
            "# TICC Configuration: ", "# Software Version: 20250916.1 (BETA)",
            "# EEPROM Version: 11, Board Version: D", "# Board Serial Number: 1234ABCD",
            "# Measurement Mode: Timestamp", "# Timestamp Wrap: 0",
            "# Output Decimal Places: 11", "# Trigger Edge: R (ch0), R (ch1)", "# SyncMode: M",
            "# Channel Names: A/B", "# Poll Character: none", "# Clock Speed: 10.000000 MHz",
            "# Coarse tick: 100.000000 usec", "# Cal Periods: 20",
            "# PropDelay: 0 (ch0), 0 (ch1)", "# Timeout: 0x05",
            "# Time Dilation: 2500 (ch0), 2500 (ch1)", "# FIXED_TIME2: 0 (ch0), 0 (ch1)",
            "# FUDGE0: 0 (ch0), 0 (ch1)", "#####################", "# ",
            "# Type any character for config menu", "# ............................", "# ",
            "# timestamp (seconds with 11 decimal places)", "",
        ].joined(separator: "\r\n")
        #expect(text == expected)
    }

    @Test func printsTagsAfterTwoReadings() throws {
        let list: [(Double, UInt8)] = [
            (0.1, 0), (0.2, 0), (0.25, 1), (0.3, 0), (0.35, 1), (0.4, 0), (0.45, 1), (0.5, 1),
        ]
        let old = try Self.printed(
            "tapr-ticc-2017", pulses: try Self.pulses("tapr-ticc-2017", list))
        #expect(
            Self.data(old.text) == [
                "0.300000000000 chA", "0.400000000000 chA", "0.450000000000 chB",
                "0.500000000000 chB",
            ])
        // In pairs, and chA first although chB came first.
        let reversed: [(Double, UInt8)] = [
            (0.1, 0), (0.15, 1), (0.2, 0), (0.25, 1), (0.3, 1), (0.4, 0), (0.5, 1), (0.6, 1),
            (0.7, 0),
        ]
        let new = try Self.printed(
            "tapr-ticc-2025", pulses: try Self.pulses("tapr-ticc-2025", reversed))
        #expect(
            Self.data(new.text) == [
                "0.40000000000 chA", "0.30000000000 chB", "0.50000000000 chB",
                "0.60000000000 chB",
            ])
    }

    /// −1.5 ms: the released programs print 0.-001… and -0.001…, the source of 2025 makes -1.998….
    @Test(arguments: [
        ("tapr-ticc-2017", "-0.001500000000 chA"), ("tapr-ticc-2020", "0.-00150000000 chA"),
        ("tapr-ticc-2025", "-1.99850000000 chA"),
    ])
    func timesBeforeZero(id: String, expected: String) throws {
        var settings = TICCSettings()
        settings.delays = [101_500_000_000, 0]
        let list: [(Double, UInt8)] = [(0.02, 0), (0.06, 0), (0.1, 0), (0.2, 0)]
        let printed = try Self.printed(
            id, pulses: try Self.pulses(id, list), settings: settings)
        #expect(Self.data(printed.text).first == expected)
    }

    @Test func wrapAndNumberOfDecimalsFollowTheSettings() throws {
        let list = (1...4).map { (10 + Double($0) / 4, UInt8(0)) }
        var settings = TICCSettings()
        settings.wrap = 1
        settings.names = "X/Y"
        let wrapped = try Self.printed(
            "tapr-ticc-2020", pulses: try Self.pulses("tapr-ticc-2020", list),
            settings: settings, for: .seconds(24))
        #expect(Self.data(wrapped.text) == ["0.75000000000 chX", "1.00000000000 chX"])
        #expect(wrapped.text.contains("# Timestamp Wrap:  1\r\n"))
        settings = TICCSettings()
        settings.decimals = 2
        let short = try Self.printed(
            "tapr-ticc-2025", pulses: try Self.pulses("tapr-ticc-2025", list),
            settings: settings, for: .seconds(25))
        #expect(Self.data(short.text) == ["10.75 chA", "11.00 chA"])
        #expect(short.text.contains("(seconds with 2 decimal places)"))
    }

    /// 264 lines a second were counted under simavr, whatever the rate of pulses.
    @Test func passesOverPulsesThatComeTooFast() throws {
        let printed = try Self.printed(
            "tapr-ticc-2020", period: Picoseconds(1_000_000_000),
            for: .seconds(13))
        let count = Self.data(printed.text).count
        #expect((480...540).contains(count), "\(count)")
        #expect(printed.missed > 1200)
    }

    @Test func breakStartsTheOldAnewAndOpensTheMenuOfTheNew() throws {
        let old = try Self.printed(
            "tapr-ticc-2017", for: .seconds(23), keys: [(.milliseconds(11_500), "#")])
        #expect(old.text.contains("\r\nGot break character... exiting loop\r\n"))
        #expect(old.text.components(separatedBy: "# timestamp (seconds)\r\n").count == 3)
        let new = try Self.printed(
            "tapr-ticc-2025", for: .seconds(15),
            keys: [(.milliseconds(13_000), "#"), (.milliseconds(13_500), "1\r")])
        #expect(new.text.hasSuffix("# Restarting measurements...\r\n"))
    }

    @Test func theNewSaysThatTheReferenceIsLost() throws {
        let fault = EmulatedFault(.clockLoss, duration: .milliseconds(200))
        let new = try Self.printed("tapr-ticc-2025", faults: [(.seconds(13), fault)])
        #expect(new.text.contains("\r\n# 10 MHZ Reference lost!\r\n"))
        let atStart = try Self.printed(
            "tapr-ticc-2020", faults: [(.seconds(9), EmulatedFault(.clockLoss))])
        #expect(atStart.text.hasSuffix("# No COARSE_CLOCK... is 10 MHz connected?\r\n"))
    }
}
