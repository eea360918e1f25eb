import DeviceProfiles
import Quantities
import Testing

/// Every kind of mistake is found at its line and column and explained.
struct ProfileErrorTests {
    struct Mistake: CustomTestStringConvertible, Sendable {
        var old: String
        var new: String
        var errors: [String]
        var testDescription: String { "\(old) -> \(new)" }

        init(_ old: String, _ new: String, _ errors: String...) {
            self.old = old
            self.new = new
            self.errors = errors
        }
    }

    @Test func exampleIsCorrect() throws {
        let profile = try DeviceProfile(text: ExampleProfile.text, file: "x.yaml")
        #expect(profile.id == "acme-tt2")
        #expect(profile.usb?.vendorID == 0x1234)
        #expect(profile.usb?.productID == 0x5678)
        #expect(profile.timeBase?.tick.picoseconds == 7.8125)
        #expect(profile.source.origin == .external)
        #expect(profile.limits["rate"]?.max == 1_000_000)
        #expect(try profile.duration("settle_ms") == .milliseconds(10))
        #expect(
            try profile.sequence("start") == [
                .command("set", values: [17]), .wait(milliseconds: 0.5),
            ])
    }

    @Test(arguments: [
        Mistake(
            "vendor: Acme\n", "vendor: Acme\n  colour: red\n",
            "5:3: identity.colour: expected one of the keys id, kind, model, transport, vendor, "
                + "found the unknown key `colour`"),
        Mistake(
            "schema: 1", "schema: 2",
            "1:9: schema: expected 1, the version of the schema, found the number 2"),
        Mistake("vendor: Acme\n", "\n", "3:3: identity: expected the key `vendor`, found none"),
        Mistake(
            "vendor: Acme", "vendor: 3",
            "4:11: identity.vendor: expected text of 1 to 200 characters (in quotes), "
                + "found the number 3"),
        Mistake(
            "vendor: Acme", "vendor: true",
            "4:11: identity.vendor: expected text of 1 to 200 characters (in quotes), found true"),
        Mistake(
            "vendor: Acme", "vendor:",
            "4:10: identity.vendor: expected text of 1 to 200 characters, found nothing"),
        Mistake(
            "id: acme-tt2", "id: Acme_TT2",
            "3:7: identity.id: expected lower-case letters, digits and dashes, found \"Acme_TT2\""),
        Mistake(
            "kind: time_tagger", "kind: clock",
            "6:9: identity.kind: expected one of time_tagger, polarization_controller, "
                + "single_photon_detector, phase_modulator, delay_generator, power_meter, "
                + "attenuator, temperature_controller, analog_io, digital_io, "
                + "found the text \"clock\""),
        Mistake(
            "vendor_id: 0x1234", "vendor_id: 0x12345",
            "9:14: usb.vendor_id: expected an integer from 0 to 65535, found the number 0x12345"),
        Mistake(
            "product_id: 22136", "product_id: \"22136\"",
            "10:15: usb.product_id: expected an integer from 0 to 65535, found the text \"22136\""),
        Mistake(
            "product_id: 22136", "product_id: 022136",
            "10:15: usb.product_id: expected an integer from 0 to 65535, found the number 022136"),
        Mistake(
            "{min: 0x0100, max: 0x0200}", "[1, 2]",
            "11:19: usb.device_release: expected a mapping, found a sequence of 2 items"),
        Mistake(
            "max: 0x0200}", "max: 0x00ff}",
            "11:38: usb.device_release.max: expected at least `min` (256), found 255"),
        Mistake(
            "max: 0x0200}", "max: 0x0200, step: 1}",
            "11:46: usb.device_release.step: expected one of the keys max, min, "
                + "found the unknown key `step`"),
        Mistake(
            "{address: 0x01,", "{address: 0x82,",
            "16:24: usb.endpoints.command.address: expected an unused address, "
                + "found the address of another endpoint"),
        Mistake(
            "{address: 0x01,", "{address: 0x11,",
            "16:24: usb.endpoints.command.address: "
                + "expected 1 to 15, plus 0x80 towards the host, found 0x11"),
        Mistake(
            "command: {address", "Command: {address",
            "16:5: usb.endpoints.Command: "
                + "expected a name of lower-case letters, digits and underscores, found `Command`"),
        Mistake(
            "match: [vendor_id, product_id, device_release]", "match: [vendor_id, serial]",
            "17:22: usb.match.1: expected a property this section states, "
                + "found `serial`, which it does not"),
        Mistake(
            "  match: [vendor_id, product_id, device_release]\n", "",
            "9:3: usb.match: expected at least one property to recognise the device by, found none"),
        Mistake(
            "grammar: device_release", "grammar: banner",
            "18:21: firmware.grammar: expected the line `version` with a place for it under "
                + "`dialect.lines`, found none"),
        Mistake(
            "reply_timeout_ms: 100", "reply_timeout_ms: 100\n  lines: {version: \"# {v}} {x}\"}",
            "43:20: dialect.lines.version: expected text with at most one place `{name}`, "
                + "found \"# {v}} {x}\""),
        Mistake(
            "reply_timeout_ms: 100", "reply_timeout_ms: 100\n  lines: {version: \"v} 1\"}",
            "43:20: dialect.lines.version: expected text with at most one place `{name}`, "
                + "found \"v} 1\""),
        Mistake(
            "dialect:\n",
            "text_record: {decimals: 3, channel_prefix: c, negative: floor, group: 1,"
                + " overflow: silent}\ndialect:\n",
            "6:9: identity.kind: expected the section `time_base` and one of `record` and "
                + "`text_record`, found something else"),
        Mistake(
            "from: \"1.0\"", "from: 1.0",
            "18:43: firmware.from: expected text of 1 to 40 characters (in quotes), "
                + "found the number 1.0"),
        Mistake(
            "from: \"1.0\"", "from: \"2.1\"",
            "18:59: firmware.through: expected at least `from` (2.1), found 2"),
        Mistake(
            "{index: 1,", "{index: 0,",
            "22:15: topology.channels.1.index: expected an unused index, found 0 again"),
        Mistake(
            "mask: 0x2,", "mask: 0x3,",
            "22:54: topology.channels.1.mask: expected bits of its own, "
                + "found bits of another channel"),
        Mistake(
            "denominator: 16", "denominator: 0",
            "24:42: time_base.tick_ps.denominator: expected an integer from 1 to 1000000000, "
                + "found the number 0"),
        Mistake(
            "counter_bits: 12", "counter_bits: 13",
            "25:17: time_base.counter_bits: expected the width of the time in `record.fields` "
                + "(12 bits), found 13"),
        Mistake(
            "max_dummy_interval_ms: 0.000001", "max_dummy_interval_ms: 0.0001",
            "27:26: time_base.max_dummy_interval_ms: "
                + "expected less than the rollover period (3.2e-05 ms), found 0.0001"),
        Mistake(
            "high: 2}", "high: 3}",
            "34:12: record.fields.dummy: expected bits of its own, found bits of another field"),
        Mistake(
            "low: 4, high: 15, ticks: 1", "low: 4, high: 15, ticks: 3",
            "25:17: time_base.counter_bits: expected the width of the time in `record.fields` "
                + "(13 bits), found 12",
            "35:37: record.fields.time.ticks: expected a power of two, found 3"),
        Mistake(
            "dummy_field: dummy", "dummy_field: time",
            "36:16: record.dummy_field: expected the name of a field of one bit, found \"time\""),
        Mistake(
            "flush: {command: flush}", "flush: {command: hurry}",
            "38:20: record.flush.command: expected the name of a command, found \"hurry\""),
        Mistake(
            "set: {opcode: 2,", "set: {opcode: 256,",
            "45:19: dialect.commands.set.opcode: expected an integer from 0 to 255, "
                + "found the number 256"),
        Mistake(
            "min: 0, max: 200}", "min: 0, max: 300}",
            "45:69: dialect.commands.set.arguments.level.max: "
                + "expected a value that fits u8, 0 to 255, found 300"),
        Mistake(
            "values: [17]", "values: [201]",
            "48:31: sequences.start.0.values.0: expected `level` from 0 to 200, found 201"),
        Mistake(
            "{command: set, values: [17]}", "{command: set}",
            "48:17: sequences.start.0.command: expected 1 values for `set`, found 0"),
        Mistake(
            "{wait_ms: 0.5}", "{wait_ms: 0.5, command: flush}",
            "49:7: sequences.start.1: expected one of `command`, `wait_ms`, `reading`, `line`, "
                + "found 2 of them"),
        Mistake(
            "unit: events_per_second", "unit: furlongs",
            "51:34: limits.rate.unit: expected one of none, counts, codes, percent, decibels, degrees, "
                + "degrees_per_second, radians, volts, millivolts, microvolts, milliamperes, "
                + "celsius, millicelsius, nanometres, watts, hertz, events_per_second, "
                + "picoseconds, nanoseconds, microseconds, milliseconds, bytes, records, "
                + "found the text \"furlongs\""),
        Mistake(
            "max: 1e6", "max: .inf",
            "51:23: limits.rate.max: expected a number from -1000000000000000 to "
                + "1000000000000000, found the text \".inf\""),
        Mistake(
            "settle_ms: 10", "settle: 10",
            "53:3: timing.settle: expected a name that ends in `_ms`, found `settle`"),
        Mistake(
            "date: \"2026-02-28\"", "date: \"2026-13-28\"",
            "57:9: provenance.date: expected a date as YYYY-MM-DD, found \"2026-13-28\""),
        Mistake(
            "bytes: 04 02 11 17", "bytes: 04 02 1 17",
            "61:21: provenance.vectors.set_17.bytes: "
                + "expected pairs of hexadecimal digits between spaces, found \"1\""),
        Mistake(
            "topology.channels.*.dead_time_ps", "topology.channels.0.dead_time_ps",
            "65:5: confidence.fields.topology.channels.0.dead_time_ps: "
                + "expected the path of a field this profile states, "
                + "found `topology.channels.0.dead_time_ps`"),
        Mistake(
            "confidence:\n  default: seen\n", "confidence:\n  default: sure\n",
            "63:12: confidence.default: expected one of seen, memory, assumed, "
                + "found the text \"sure\""),
    ])
    func mistakeIsLocated(_ mistake: Mistake) {
        let text = ExampleProfile.replacing(mistake.old, mistake.new)
        let found = ExampleProfile.errors(text).map(\.description)
        #expect(found == mistake.errors.map { "x.yaml:" + $0 })
    }

    @Test func severalMistakesAreReportedTogetherInOrder() {
        let text =
            ExampleProfile.replacing("kind: time_tagger", "kind: clock")
            .replacing("counter_bits: 12", with: "counter_bits: 0")
            .replacing("value: true", with: "value: []")
        let lines = ExampleProfile.errors(text).map { [$0.line, $0.column] }
        #expect(lines == [[6, 9], [25, 17], [55, 16]])
    }

    @Test func missingSectionsAreReportedAtTheTop() {
        let errors = ExampleProfile.errors("schema: 1\n")
        #expect(
            errors.map(\.expected) == [
                "the key `confidence`", "the key `firmware`", "the key `identity`",
                "the key `provenance`", "the key `topology`",
            ])
        #expect(errors.allSatisfy { $0.line == 1 && $0.column == 1 && $0.path.isEmpty })
    }

    @Test func errorsOfOneFileAreLimited() {
        let keys = (0..<500).map { "key\($0): 1\n" }.joined()
        #expect(ExampleProfile.errors(ExampleProfile.text + "\n" + keys).count == 50)
    }

    @Test func hugeCountersDoNotTrap() {
        let text = ExampleProfile.replacing("counter_bits: 12", "counter_bits: 62")
            .replacing(
                "numerator: 125, denominator: 16", with: "numerator: 1000000000, denominator: 1")
        #expect(ExampleProfile.errors(text).map(\.path) == ["time_base.counter_bits"])
    }

    @Test func textCommandsHaveTheirArguments() {
        let dialect = """
            dialect:
              style: text_lines
              command_terminator: "\\r\\n"
              reply_timeout_ms: 100
              commands:
                flush: {send: "FLUSH {now}"}
            """
        let start = ExampleProfile.text.range(of: "dialect:").lowerBound
        let end = ExampleProfile.text.range(of: "sequences:").lowerBound
        var text = ExampleProfile.text
        text.replaceSubrange(start..<end, with: dialect + "\n")
        #expect(
            ExampleProfile.errors(text).map(\.description) == [
                "x.yaml:44:19: dialect.commands.flush.send: "
                    + "expected no placeholders, as there are no arguments, found \"FLUSH {now}\""
            ])
        let corrected = text.replacing(" {now}", with: "")
        #expect(
            ExampleProfile.errors(corrected).map(\.description) == [
                "x.yaml:47:17: sequences.start.0.command: "
                    + "expected the name of a command, found \"set\""
            ])
    }
}

extension String {
    func replacing(_ old: String, with new: String) -> String {
        split(separator: old, omittingEmptySubsequences: false).joined(separator: new)
    }

    /// The first occurrence of `text`, which must be there.
    func range(of text: String) -> Range<Index> {
        guard let range = firstRange(of: text) else { preconditionFailure("no \(text)") }
        return range
    }
}
