import DeviceProfiles

/// A small complete profile of a tagger that does not exist; tests change single places of it.
enum ExampleProfile {
    static let text = """
        schema: 1
        identity:
          id: acme-tt2
          vendor: Acme
          model: TT2
          kind: time_tagger
          transport: usb_vendor
        usb:
          vendor_id: 0x1234
          product_id: 22136
          device_release: {min: 0x0100, max: 0x0200}
          interface: 0
          alternate_setting: 0
          endpoints:
            events: {address: 0x82, type: bulk, max_packet_full_speed: 64}
            command: {address: 0x01, type: bulk, max_packet_full_speed: 64}
          match: [vendor_id, product_id, device_release]
        firmware: {grammar: device_release, from: "1.0", through: "2.0"}
        topology:
          channels:
            - {index: 0, label: A, kind: timing_input, mask: 0x1}
            - {index: 1, label: B, kind: timing_input, mask: 0x2, dead_time_ps: 5000}
        time_base:
          tick_ps: {numerator: 125, denominator: 16}
          counter_bits: 12
          rollover: msb_falling
          max_dummy_interval_ms: 0.000001
          origin: counter_reset
        record:
          bytes: 2
          endianness: big
          fields:
            channels: {low: 0, high: 2}
            dummy: {low: 3, high: 3}
            time: {low: 4, high: 15, ticks: 1}
          dummy_field: dummy
          overflow: silent
          flush: {command: flush}
        dialect:
          style: length_opcode_packet
          checksum: sum8
          reply_timeout_ms: 100
          commands:
            flush: {opcode: 1}
            set: {opcode: 2, arguments: {level: {encoding: u8, min: 0, max: 200}}}
        sequences:
          start:
            - {command: set, values: [17]}
            - {wait_ms: 0.5}
        limits:
          rate: {min: 0, max: 1e6, unit: events_per_second}
        timing:
          settle_ms: 10
        quirks:
          odd: {value: true, confidence: assumed}
        provenance:
          date: "2026-02-28"
          sources:
            - {what: Acme TT2 manual, where: section 4}
          vectors:
            set_17: {bytes: 04 02 11 17, meaning: level 17}
        confidence:
          default: seen
          fields:
            topology.channels.*.dead_time_ps: assumed
        """

    /// The example with one piece of text replaced; the piece must occur exactly once.
    static func replacing(_ old: String, _ new: String) -> String {
        let parts = text.split(separator: old, omittingEmptySubsequences: false)
        precondition(parts.count == 2, "\(old) occurs \(parts.count - 1) times")
        return parts.joined(separator: new)
    }

    /// The errors of a text; empty when it loads.
    static func errors(_ text: String) -> [ProfileError] {
        do throws(ProfileErrors) {
            _ = try DeviceProfile(text: text, file: "x.yaml")
            return []
        } catch {
            return error.errors
        }
    }
}
