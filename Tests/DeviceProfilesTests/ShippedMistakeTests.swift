import DeviceProfiles
import FirmwareProfiles
import Testing

/// Mistakes that the small example has no place for, made in the compiled-in files.
struct ShippedMistakeTests {
    struct Mistake: CustomTestStringConvertible, Sendable {
        var file: String
        var old: String
        var new: String
        var error: String
        var testDescription: String { "\(file): \(old) -> \(new)" }

        init(_ file: String, _ old: String, _ new: String, _ error: String) {
            self.file = file
            self.old = old
            self.new = new
            self.error = error
        }
    }

    @Test(arguments: [
        Mistake(
            "cqt-timestamp-usb", "{first: 0xe000, last: 0xe1ff}", "{first: 0xe200, last: 0xe1ff}",
            "cold_boot.memory.1.last: expected at least `first` (57856), found 57855"),
        Mistake(
            "cqt-timestamp-usb", "{first: 0xe000, last: 0xe1ff}", "{first: 0x1fff, last: 0xe1ff}",
            "cold_boot.memory.1.first: expected more than the `last` before (8191), found 8191"),
        Mistake(
            "cqt-timestamp-usb", "{first: 0xe000, last: 0xe1ff}", "{first: 0xe000}",
            "cold_boot.memory.1: expected the key `last`, found none"),
        Mistake(
            "ttl-gated-spad", "{role: gate_enable, direction: output, active: high, safe: low}",
            "{role: gate_enable, direction: output, active: high}",
            "topology.lines.0: expected the key `safe` for an output, found none"),
        Mistake(
            "ttl-gated-spad",
            "{role: interlock, direction: input, active: high, edge: both, permits: true}",
            "{role: interlock, direction: input, active: high, safe: low, permits: true}",
            "topology.lines.4.safe: expected this key on outputs only, found it on an input"),
        Mistake(
            "ttl-gated-spad", "edge: both, permits: true}", "permits: true, trips: true}",
            "topology.lines.4.permits: expected either `trips` or `permits`, found both"),
        Mistake(
            "ttl-gated-spad", "role: over_light,", "role: fault,",
            "topology.lines.3.role: expected an unused role, found \"fault\" again"),
        Mistake(
            "ttl-gated-spad", "{line: shutter_command, active: true}",
            "{line: shutter_open, active: true}",
            "sequences.arm.2.line: expected the role of an output line, found \"shutter_open\""),
        Mistake(
            "cqt-timestamp-usb", "rev0: {6: 4,", "rev0: {512: 4,",
            "time_base.interpolation.tables.rev0.512: expected a key from 0 to 511, "
                + "found the number 512"),
        Mistake(
            "cqt-timestamp-usb", "rev0: {6: 4,", "rev0: {0x7: 4,",
            "time_base.interpolation.tables.rev0.7: expected each pattern once, found 7 again"),
        Mistake(
            "cqt-timestamp-usb", "default_table: rev2", "default_table: rev3",
            "time_base.interpolation.default_table: expected the name of one of `tables`, "
                + "found \"rev3\""),
        Mistake(
            "cqt-timestamp-usb", "field: fast,", "field: slow,",
            "time_base.lag_correction.field: expected the name of one of `record.fields`, "
                + "found \"slow\""),
        Mistake(
            "cqt-timestamp-usb", "      code: 1\n", "",
            "faults.reported.fifo_overflow: expected the key `code`, found none"),
        Mistake(
            "labjack-u3", "unit: codes, offset: 14}", "unit: codes, offset: 20}",
            "dialect.commands.config_u3.arguments.dac1.offset: "
                + "expected an argument within the 20 bytes of data, found bytes 20 to 20"),
        Mistake(
            "labjack-u3", "      opcode: 0x2d\n      data_bytes: 2\n", "      opcode: 0x2d\n",
            "dialect.commands.read_calibration.arguments.block.offset: "
                + "expected an argument within the 0 bytes of data, found bytes 1 to 1"),
        Mistake(
            "thorlabs-mpc320", "message: homed}", "message: home}",
            "dialect.commands.home.reply.message: expected the name of one of `messages`, "
                + "found \"home\""),
        Mistake(
            "thorlabs-mpc320", "bits: {offset: 10,", "bits: {offset: 12,",
            "dialect.messages.status.fields.bits: expected a field within the 14 bytes of data, "
                + "found bytes 12 to 15"),
        Mistake(
            "thorlabs-mpc320", "channels: {offset: 82,", "channels: {offset: 83,",
            "identification.fields.channels: expected a field within the 84 bytes, "
                + "found bytes 83 to 84"),
        Mistake(
            "thorlabs-mpc320", "keepalive_command: acknowledge_status",
            "keepalive_command: acknowledge",
            "dialect.keepalive_command: expected the name of a command, found \"acknowledge\""),
        Mistake(
            "thorlabs-mpc320", "serial: \"38418404\"", "serial: \"55418404\"",
            "emulation.serial: expected text that fits \"38######\", found \"55418404\""),
        Mistake(
            "thorlabs-mpc320", "emulation:\n", "emulation:\n  vendor_id: 1\n",
            "emulation.vendor_id: expected no substitute for `usb.vendor_id` (1027), found 1"),
        Mistake(
            "s15-tdc1", "bridge: cdc_acm", "bridge: ftdi",
            "serial_port.bridge: expected cdc_acm, as `identity.transport` says, found ftdi"),
        Mistake(
            "s15-tdc1", "  command: identify\n", "  command: who\n",
            "identification.command: expected the name of a command, found \"who\""),
        Mistake(
            "s15-tdc1", "{duration: {encoding: integer,", "{duration: {encoding: u16le,",
            "dialect.commands.set_time.arguments.duration.encoding: "
                + "expected a text encoding (integer, decimal), found u16le"),
        Mistake(
            "thorlabs-ell14", "send: gs,", "send: GS,",
            "dialect.commands.status.send: expected two lower-case characters such as `gs` or `i1`, "
                + "then the placeholders, found \"GS\""),
        Mistake(
            "thorlabs-ell14", "send: ho{direction}", "send: ho{direction}0",
            "dialect.commands.home.send: expected two lower-case characters such as `gs` or `i1`, "
                + "then the placeholders, found \"ho{direction}0\""),
        Mistake(
            "thorlabs-ell14", "{percent: {encoding: hex2,", "{percent: {encoding: integer,",
            "dialect.commands.set_velocity.arguments.percent.encoding: "
                + "expected a hexadecimal encoding (hex1 to signed_hex8), found integer"),
        Mistake(
            "thorlabs-ell14", "{minutes: {encoding: hex2, min: 0, max: 255}",
            "{minutes: {encoding: hex2, min: 0, max: 256}",
            "dialect.commands.isolate.arguments.minutes.max: "
                + "expected a value that fits hex2, 0 to 255, found 256"),
        Mistake(
            "thorlabs-ell14", "code: BS", "code: bs",
            "dialect.messages.button_status.code: "
                + "expected two upper-case characters such as `PO` or `I1`, found \"bs\""),
        Mistake(
            "thorlabs-ell3", "paddle_2: {code: P2, data_bytes: 4",
            "paddle_2: {code: P2, data_bytes: 3",
            "dialect.messages.paddle_2.fields.position: "
                + "expected a field within the 3 bytes of data, found bytes 0 to 3"),
    ])
    func mistakeInAShippedFileIsExplained(_ mistake: Mistake) throws {
        let file = try #require(FirmwareProfiles.files.first { $0.name == mistake.file + ".yaml" })
        let parts = file.text.split(separator: mistake.old, omittingEmptySubsequences: false)
        try #require(parts.count >= 2, "the text to change is not there")
        let text = String(parts[0]) + mistake.new + parts[1...].joined(separator: mistake.old)
        let errors = ExampleProfile.errors(text)
        #expect(
            errors.map { "\($0.path): expected \($0.expected), found \($0.found)" } == [
                mistake.error
            ])
        // The error points at the changed line, or at the section around a line that is gone.
        let line = parts[0].count { $0.isNewline } + 1
        #expect(errors.allSatisfy { ($0.line - line).magnitude <= 3 })
    }
}
