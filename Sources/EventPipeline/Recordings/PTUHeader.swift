import Quantities

// The header of PicoQuant's unified TTTR files: 16 bytes of magic and version, then tags of 48
// bytes, some followed by data.
// Source: PicoQuant-Time-Tagged-File-Format-Demos (github.com/PicoQuant), doc/apx_tagtypes.html,
// doc/apx_tagdictionary.html.

/// One entry of a PTU header.
public struct PTUTag: Hashable, Sendable {
    /// The value of a tag; data of arrays and blobs is skipped and only its length kept.
    public enum Value: Hashable, Sendable {
        /// No value.
        case empty
        /// A truth value.
        case bool(Bool)
        /// An integer, bit set or colour.
        case integer(Int64)
        /// A number.
        case float(Double)
        /// A date as days since 1899-12-30.
        case date(Double)
        /// A text.
        case text(String)
        /// Data of this many bytes.
        case data(Int)
    }
    /// The identifier.
    public var name: String
    /// The place in an array, or −1.
    public var index: Int32
    /// The value.
    public var value: Value
}

/// The tags of a PTU header and what follows from them.
struct PTUHeader {
    /// Headers with more tags or bytes than this are refused as damaged; real ones have about 100
    /// tags and 6 kB.
    static let maximumTags = 16_384
    static let maximumPayload = 16 << 20
    private static let keptTextLength = 4096

    var version = ""
    var tags: [PTUTag] = []

    static let magic: [UInt8] = Array("PQTTTR".utf8) + [0, 0]

    /// Reads the header up to and including `Header_End`.
    static func read(from bytes: inout BufferedBytes) throws(RecordingError) -> PTUHeader {
        guard try bytes.fill(16) else {
            throw .malformed(
                offset: bytes.offset, expected: "a PTU header of 16 bytes",
                found: "\(bytes.available) bytes")
        }
        var header = PTUHeader()
        for (index, byte) in magic.enumerated() where bytes[index] != byte {
            throw .malformed(
                offset: bytes.offset + UInt64(index), expected: "the magic PQTTTR",
                found: "byte \(bytes[index])")
        }
        header.version = latin1((8..<16).map { bytes[$0] })
        bytes.skip(16)
        while true {
            guard header.tags.count < maximumTags else {
                throw .malformed(
                    offset: bytes.offset, expected: "Header_End within \(maximumTags) tags",
                    found: "more tags")
            }
            let tag = try readTag(from: &bytes)
            if tag.name == "Header_End" { return header }
            header.tags.append(tag)
        }
    }

    private static func readTag(from bytes: inout BufferedBytes) throws(RecordingError) -> PTUTag {
        let start = bytes.offset
        guard try bytes.fill(48) else {
            throw .malformed(
                offset: start, expected: "a header tag of 48 bytes",
                found: "the end of the file after \(bytes.available) bytes")
        }
        let identifier = (0..<32).map { bytes[$0] }
        guard let end = identifier.firstIndex(of: 0), end > 0,
            identifier[..<end].allSatisfy({ $0 >= 0x20 && $0 < 0x7F })
        else {
            throw .malformed(
                offset: start, expected: "a tag identifier of 1 to 31 printable characters",
                found: "\(identifier.prefix(8))…")
        }
        let name = latin1(identifier)
        let index = Int32(bitPattern: bytes.word32(at: 32))
        let type = bytes.word32(at: 36)
        let raw = bytes.word64(at: 40)
        bytes.skip(48)
        let value = try readValue(type: type, raw: raw, tag: name, at: start, from: &bytes)
        return PTUTag(name: name, index: index, value: value)
    }

    private static func readValue(
        type: UInt32, raw: UInt64, tag: String, at start: UInt64, from bytes: inout BufferedBytes
    ) throws(RecordingError) -> PTUTag.Value {
        switch type {
        case 0xFFFF_0008: return .empty
        case 0x0000_0008: return .bool(raw != 0)
        case 0x1000_0008, 0x1100_0008, 0x1200_0008: return .integer(Int64(bitPattern: raw))
        case 0x2000_0008: return .float(Double(bitPattern: raw))
        case 0x2100_0008: return .date(Double(bitPattern: raw))
        case 0x4001_FFFF, 0x4002_FFFF, 0x2001_FFFF, 0xFFFF_FFFF:
            guard raw <= UInt64(maximumPayload) else {
                throw .malformed(
                    offset: start + 40, expected: "at most \(maximumPayload) bytes of data",
                    found: "\(raw) bytes in tag \(tag)")
            }
            let payload = try readPayload(Int(raw), tag: tag, from: &bytes)
            switch type {
            case 0x4001_FFFF: return .text(latin1(payload))
            case 0x4002_FFFF: return .text(utf16(payload))
            default: return .data(Int(raw))
            }
        default:
            throw .malformed(
                offset: start + 36, expected: "a known tag type",
                found: "0x\(String(type, radix: 16)) in tag \(tag)")
        }
    }

    /// Skips `count` bytes and returns the first of them.
    private static func readPayload(
        _ count: Int, tag: String, from bytes: inout BufferedBytes
    ) throws(RecordingError) -> [UInt8] {
        var kept: [UInt8] = []
        var remaining = count
        while remaining > 0 {
            let piece = min(remaining, 1 << 16)
            guard try bytes.fill(piece) else {
                throw .malformed(
                    offset: bytes.offset, expected: "\(remaining) more bytes of tag \(tag)",
                    found: "the end of the file after \(bytes.available)")
            }
            let wanted = min(piece, keptTextLength - kept.count)
            for index in 0..<max(0, wanted) { kept.append(bytes[index]) }
            bytes.skip(piece)
            remaining -= piece
        }
        return kept
    }

    /// The scalar tag `name`, or the first with that name.
    private func value(_ name: String) -> PTUTag.Value? { tags.first { $0.name == name }?.value }

    func integer(_ name: String) -> Int64? {
        if case .integer(let value) = value(name) { value } else { nil }
    }
    func float(_ name: String) -> Double? {
        if case .float(let value) = value(name) { value } else { nil }
    }
    func text(_ name: String) -> String? {
        if case .text(let value) = value(name), !value.isEmpty { value } else { nil }
    }
}

/// The text before the first zero byte; every byte is a character, as the vendor writes Latin-1.
private func latin1(_ bytes: some Collection<UInt8>) -> String {
    var scalars = String.UnicodeScalarView()
    for byte in bytes.prefix(while: { $0 != 0 }) { scalars.append(Unicode.Scalar(byte)) }
    return String(scalars)
}

private func utf16(_ bytes: [UInt8]) -> String {
    var units: [UInt16] = []
    for index in stride(from: 0, to: bytes.count - 1, by: 2) {
        units.append(UInt16(bytes[index]) | UInt16(bytes[index + 1]) << 8)
    }
    return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
}

/// The tick that a resolution in seconds stands for.
///
/// Headers hold ticks as binary fractions that went through `Float` on some programs
/// (9.99999996e-13 for 1 ps), so values within a millionth of whole picoseconds are whole. Others,
/// such as the period of a sync rate, become the simplest fraction within 2⁻⁵¹ of the value.
/// Returns `nil` outside 10⁻¹⁵ s … 1 s.
func tickPeriod(seconds: Double) -> TickPeriod? {
    guard seconds >= 1e-15, seconds <= 1 else { return nil }
    let picoseconds = seconds * 1e12
    let whole = picoseconds.rounded()
    if whole >= 1, abs(picoseconds - whole) <= 1e-6 * whole, whole < 1e5 {
        return TickPeriod(picoseconds: Int64(whole))
    }
    // Continued fraction.
    var rest = picoseconds
    var (p0, q0, p1, q1): (Int64, Int64, Int64, Int64) = (0, 1, 1, 0)
    for _ in 0..<32 {
        let digit = rest.rounded(.down)
        guard digit < 0x1p50 else { break }
        let (p, pOverflow) = Int64(digit).multipliedReportingOverflow(by: p1)
        let (q, qOverflow) = Int64(digit).multipliedReportingOverflow(by: q1)
        guard !pOverflow, !qOverflow, p <= 1 << 50, q <= 1 << 27 else { break }
        (p0, q0, p1, q1) = (p1, q1, p + p0, q + q0)
        let error = abs(Double(p1) / Double(q1) - picoseconds)
        if error <= picoseconds * 0x1p-51 || rest == digit { break }
        rest = 1 / (rest - digit)
    }
    return p1 > 0 && q1 > 0 ? TickPeriod(numerator: p1, denominator: q1) : nil
}
