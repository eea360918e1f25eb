import DeviceProfiles
import FirmwareProfiles
import Foundation
import Quantities
import TestSupport
import Testing

/// The compiled-in profiles say what the sources they cite say.
struct ShippedProfileTests {
    private func profile(_ id: String) throws -> DeviceProfile {
        try #require(try FirmwareProfiles.catalog()[id])
    }

    /// A text file of the repository.
    static func text(of path: String) throws -> String {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")
        return try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    @Test func readmeNamesEveryWordOfTheSchema() throws {
        let readme = try Self.text(of: "firmware-profiles/README.md")
        func words<Choice: CaseIterable & RawRepresentable>(_ type: Choice.Type) -> [String]
        where Choice.RawValue == String { type.allCases.map(\.rawValue) }
        let all =
            words(DeviceKind.self) + words(DeviceTransport.self) + words(SerialBridge.self)
            + words(Parity.self) + words(FlowControl.self) + words(VersionGrammar.self)
            + words(ChannelKind.self) + words(SignalEdge.self) + words(LineDirection.self)
            + words(LineLevel.self) + words(RolloverRule.self) + words(CounterOrigin.self)
            + words(Endianness.self) + words(OverflowRule.self) + words(DialectStyle.self)
            + words(LetterCase.self) + words(PacketChecksum.self) + words(ValueEncoding.self)
            + words(ReplyShape.self) + words(Unit.self) + words(FaultSource.self)
            + words(FaultSeverity.self) + words(InjectableFault.self) + words(Confidence.self)
            + words(ProofKind.self) + words(NegativeTime.self)
        for word in all {
            #expect(readme.contains("`\(word)`"), "\(word)")
        }
    }

    @Test func everyFileOfTheFolderIsListedAndNamedAfterItsProfile() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../firmware-profiles/profiles")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path()).sorted()
        #expect(FirmwareProfiles.files.map(\.name) == names)
        let catalog = try FirmwareProfiles.catalog()
        #expect(catalog.profiles.map { $0.id + ".yaml" }.sorted() == names)
        #expect(catalog.profiles.allSatisfy { $0.source.origin == .builtIn })
    }

    @Test func everyProfileCitesItsSources() throws {
        for profile in try FirmwareProfiles.catalog().profiles {
            #expect(!profile.provenance.sources.isEmpty)
            #expect(profile.confidence.statedFields.count > 30)
        }
    }

    // MARK: - Time stamp card

    /// Packets as written in the firmware's documentation, built here from the profile alone.
    @Test func cardCommandsGiveTheKnownPackets() throws {
        let card = try profile("cqt-timestamp-usb")
        func packet(_ name: String, _ values: [Int] = []) throws -> [UInt8] {
            let command = try card.command(name)
            var word = 0
            var size = 0
            for (value, argument) in zip(values, command.arguments.entries.map(\.value)) {
                word |= value << (argument.lowBit ?? 0)
                size = argument.encoding.fixedBytes ?? 0
            }
            var bytes = [UInt8(3 + size), UInt8(try #require(command.opcode))]
            bytes += (0..<size).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
            return bytes + [bytes.reduce(0, &+)]
        }
        let vectors = card.provenance.vectors
        let code = try card.constant("dac_threshold_default")
        #expect(
            try packet("send_dac", [card.constant("dac_threshold"), code])
                == vectors["threshold_default"]?.bytes)
        #expect(try packet("rf_reference", [1]) == vectors["reference_internal"]?.bytes)
        #expect(
            try packet("request_status", [card.constant("status_overflow")])
                == vectors["overflow_query"]?.bytes)
        #expect(try packet("autoflush", [50]) == vectors["autoflush_half_second"]?.bytes)
        #expect(try packet("fresh_restart") == bytes(hex: "03 0f 12"))
        #expect(try packet("rf_parameter", [0x790]) == bytes(hex: "05 06 90 07 a2"))
    }

    /// 49 bits of 125 ps from the bit fields, the phase table and the lag rule of the profile.
    @Test func cardRecordGivesTheKnownTime() throws {
        let card = try profile("cqt-timestamp-usb")
        let base = try card.requireTimeBase()
        let interpolation = try #require(base.interpolation)
        let table = try #require(interpolation.expanded(interpolation.defaultTable))
        let lag = try #require(base.lagCorrection)
        func decode(_ record: UInt64) throws -> (ticks: UInt64, mask: UInt64) {
            var ticks = UInt64(table[Int(try card.recordField("phase").value(in: record))])
            var mask: UInt64 = 0
            for (_, field) in try card.requireRecord().fields.entries {
                if let weight = field.ticks { ticks += field.value(in: record) * UInt64(weight) }
                if let shift = field.shift { mask |= field.value(in: record) << UInt64(shift) }
            }
            if try card.recordField(lag.field).value(in: record) < lag.below {
                ticks += UInt64(lag.addTicks)
            }
            return (ticks, mask)
        }
        let vector = try #require(card.provenance.vectors["event_on_d"]).bytes
        let record = vector.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let event = try decode(record)
        #expect(event.ticks == 8_000_000_004)
        #expect(base.tick.picoseconds(of: event.ticks) == 1_000_000_000_500)
        #expect(card.channels.first { UInt64($0.mask ?? 0) == event.mask }?.label == "D")
        // Every bit of the counter is fed by exactly one field.
        #expect(try decode(.max).ticks == (1 << 49) - 16)
    }

    @Test func cardPhaseTablesAreThoseOfTheReader() throws {
        let interpolation = try #require(
            try profile("cqt-timestamp-usb").requireTimeBase().interpolation)
        #expect(interpolation.tables.names == ["rev0", "rev1", "rev2"])
        #expect(interpolation.size == 512)
        let sums = try ["rev0", "rev1", "rev2"].map { name in
            let table = try #require(interpolation.expanded(name))
            #expect(table.count == 512)
            #expect(table.allSatisfy { $0 < 16 })
            return table.reduce(0) { $0 + Int($1) }
        }
        #expect(sums == [161, 125, 151])
        let table = try #require(interpolation.expanded("rev2"))
        #expect([375, 359, 295, 39, 7, 371, 0].map { table[$0] } == [0, 1, 2, 3, 4, 14, 0])
        #expect(interpolation.expanded("rev9") == nil)
    }

    @Test func cardStartsWithItsInputsInhibited() throws {
        let card = try profile("cqt-timestamp-usb")
        let steps = try card.sequence("initialize")
        let inhibit = try #require(steps.firstIndex(of: .command("set_inhibit", values: [])))
        #expect(!steps.contains(.command("clear_inhibit", values: [])))
        #expect(steps[inhibit...].contains(.command("initialize_fifo", values: [])))
        #expect(try card.sequence("start").last == .command("clear_inhibit", values: []))
        #expect(try card.endpoint("events").address == 0x82)
        #expect(card.usb?.alternateSetting == 1)
    }

    // MARK: - The others

    @Test func tdc1WordsGiveTheKnownTimes() throws {
        let tagger = try profile("s15-tdc1")
        #expect(try tagger.requireTimeBase().rolloverPeriod == Picoseconds(268_435_456_000))
        let known: [String: (time: UInt64, mask: UInt64, dummy: UInt64)] = [
            "two_microseconds": (1000, 1, 0), "dummy_half_range": (1 << 26, 0, 1),
            "last_tick": ((1 << 27) - 1, 8, 0),
        ]
        for (name, vector) in tagger.provenance.vectors.entries {
            let word = vector.bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let expected = try #require(known[name])
            #expect(try tagger.recordField("time").value(in: word) == expected.time)
            #expect(try tagger.recordField("channels").value(in: word) == expected.mask)
            #expect(try tagger.recordField("dummy").value(in: word) == expected.dummy)
        }
        #expect(tagger.provenance.vectors.count == known.count)
        #expect(tagger.usb?.vendorID == nil, "nobody has published it")
        #expect(tagger.confidence(of: "emulation.vendor_id") == .assumed)
        #expect(try tagger.statusBit("fifo_overflow") == 4)
    }

    @Test func paddleScaleAndFramesAreThoseOfTheManual() throws {
        let paddles = try profile("thorlabs-mpc320")
        let scale = try paddles.scale("position")
        #expect(scale.deviceValue(170) == 1370)
        #expect(scale.deviceValue(85) == 685)
        #expect(abs(scale.physicalValue(1) - 0.124087591) < 1e-9)
        #expect(try paddles.scale("velocity").physicalValue(10) == 40)
        #expect(try paddles.limit("position").allows(170))
        #expect(try !paddles.limit("position").allows(170.1))
        #expect(try !paddles.limit("position").allows(.nan))

        let move = try paddles.command("move_absolute")
        var data = [UInt8](repeating: 0, count: move.dataBytes)
        for (argument, value) in zip(move.arguments.entries.map(\.value), [4, 685]) {
            for byte in 0..<(argument.encoding.fixedBytes ?? 0) {
                data[(argument.offset ?? 0) + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte))
            }
        }
        let opcode = try #require(move.opcode)
        let device = try UInt8(
            paddles.constant("device_address") | paddles.constant("data_follows"))
        let header = try [
            UInt8(opcode & 0xff), UInt8(opcode >> 8), UInt8(data.count), 0, device,
            UInt8(paddles.constant("host_address")),
        ]
        #expect(header + data == paddles.provenance.vectors["move_paddle_3"]?.bytes)

        // The identification fills the 84 bytes of HW_GET_INFO to its end.
        let fields = try #require(paddles.identification?.fields.entries)
        #expect(fields.map { $0.value.offset + $0.value.bytes }.max() == 84)
    }

    @Test func everyOutputLineHasASafeLevelThatTheSafeSequenceReaches() throws {
        let detector = try profile("ttl-gated-spad")
        let outputs = detector.lines.filter { $0.direction == .output }
        #expect(outputs.map(\.role) == ["gate_enable", "bias_enable", "shutter_command"])
        let safe = try detector.sequence("safe")
        for line in outputs {
            #expect(line.safe != nil && line.safe != line.active)
            #expect(safe.contains(.line(line.role, active: false)))
        }
        #expect(safe.first == .line("gate_enable", active: false), "the gate goes first")
        #expect(try detector.line("interlock").permits)
        #expect(try detector.line("over_light").trips)
        #expect(try detector.line("over_light").active == .low)
    }

    @Test func unpublishedLimitsAreMarkedAsGuesses() throws {
        let detector = try profile("s15-spd")
        for path in ["limits.bias.max", "topology.channels.0.dead_time_ps", "usb.serial"] {
            #expect(detector.confidence(of: path) == .assumed, "\(path)")
        }
        #expect(detector.confidence(of: "dialect.commands.set_bias.send") == .seen)
        #expect(
            detector.confidence(of: "dialect.commands.set_bias.arguments.voltage.max") == .assumed)
    }
}
