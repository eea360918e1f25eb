/// The reports of an HID interface that carries plain bytes, and the descriptor that lists them.
///
/// Source: USB Device Class Definition for Human Interface Devices 1.11, sections 6.2.1 (HID
/// descriptor) and 6.2.2 (items of the report descriptor).
struct HIDReports {
    /// What a report is for; the raw value is the prefix of its main item with one byte of data.
    enum Kind: UInt8 {
        case input = 0x81
        case output = 0x91
        case feature = 0xB1
    }

    /// Number, bytes without the number, purpose.
    let reports: [(number: UInt8, bytes: UInt8, kind: Kind)]

    /// The reports of a CP2112, by the lengths that hid-cp2112 uses.
    static let cp2112 = HIDReports(reports: [
        (0x01, 1, .feature), (0x02, 4, .feature), (0x03, 1, .feature), (0x04, 2, .feature),
        (0x05, 2, .feature), (0x06, 13, .feature),
        (0x10, 63, .output), (0x11, 63, .output), (0x12, 63, .output), (0x13, 63, .input),
        (0x14, 63, .output), (0x15, 63, .output), (0x16, 63, .input), (0x17, 63, .output),
        (0x20, 1, .feature), (0x21, 9, .feature), (0x22, 62, .feature), (0x23, 62, .feature),
        (0x24, 62, .feature),
    ])

    /// The report descriptor: one collection of vendor usages, bytes from 0 to 255.
    var descriptor: [UInt8] {
        var items: [UInt8] = [
            0x06, 0x00, 0xFF,  // usage page: vendor
            0x09, 0x01,  // usage
            0xA1, 0x01,  // collection: application
            0x15, 0x00,  // logical minimum
            0x26, 0xFF, 0x00,  // logical maximum
            0x75, 0x08,  // bits of a field
        ]
        for report in reports {
            items += [0x85, report.number, 0x95, report.bytes, 0x09, 0x01]
            // Data, variable, absolute.
            items += [report.kind.rawValue, 0x02]
        }
        return items + [0xC0]
    }

    /// The descriptor that announces the report descriptor.
    static func hidDescriptor(reportBytes: Int) -> [UInt8] {
        // HID 1.01, no country, one descriptor of type 0x22.
        [9, 0x21, 0x01, 0x01, 0, 1, 0x22, UInt8(reportBytes & 0xFF), UInt8(reportBytes >> 8)]
    }
}
