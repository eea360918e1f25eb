import Instruments

/// A firmware image for the memory of a microcontroller, as the operator supplies it.
///
/// No image comes with this program. Reading the file is the caller's part.
public struct FirmwareImage: Hashable, Sendable {
    /// Bytes that lie side by side.
    public struct Segment: Hashable, Sendable {
        /// Where the first byte goes.
        public let address: UInt16
        /// The bytes; never empty, and never beyond address 0xFFFF.
        public fileprivate(set) var bytes: [UInt8]
    }

    /// What the image is called in messages: the name of its file.
    public let name: String
    /// The parts of the image by ascending address; none is empty and none touches another.
    public let segments: [Segment]

    /// The number of bytes of all segments.
    public var byteCount: Int { segments.reduce(0) { $0 + $1.bytes.count } }
}

/// Why a firmware image was refused.
public struct FirmwareImageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong with it.
    public enum Kind: String, Hashable, Sendable {
        /// A line is not a record of the format, or its check sum is wrong.
        case malformedLine = "BRK-FWI-001"
        /// A record is valid, and not one that an image for 64 KiB of memory can hold.
        case unsupportedRecord = "BRK-FWI-002"
        /// The file is no complete image: it has no end, or says things twice, or nothing.
        case incomplete = "BRK-FWI-003"
    }
    /// What is wrong with it; the raw value is the stable code.
    public var kind: Kind
    /// The name of the file.
    public var file: String
    /// The line, counted from 1.
    public var line: Int
    /// What should be there.
    public var expected: String
    /// What is there.
    public var found: String

    /// One line for people.
    public var description: String {
        "\(kind.rawValue) \(file):\(line): expected \(expected), found \(found); "
            + "use the image as its build made it"
    }
}

// MARK: - Intel HEX

extension FirmwareImage {
    /// The largest file that is read, in bytes; 64 KiB of memory need less than half of it.
    public static let sizeMax = 1 << 20

    /// Reads an image in Intel HEX format (Intel, "Hexadecimal Object File Format Specification",
    /// revision A, 1988): records 00 and 01, and the addresses 02 to 05 where they are zero or a
    /// mere entry point. Lines that begin with `#` are comments, as fxload has them.
    ///
    /// - Parameters:
    ///   - text: the complete file.
    ///   - name: what to call it in messages.
    /// - Throws: `FirmwareImageError` with the number of the line.
    public init(intelHex text: String, name: String) throws(FirmwareImageError) {
        var reader = IntelHexReader(file: name)
        guard text.utf8.count <= Self.sizeMax else {
            throw reader.error(
                .incomplete, "at most \(Self.sizeMax) bytes", "\(text.utf8.count) bytes")
        }
        for line in text.utf8.split(omittingEmptySubsequences: false, whereSeparator: { $0 == 10 })
        {
            try reader.take(line)
        }
        self.name = name
        segments = try reader.finish()
    }
}

/// Reads the lines of an Intel HEX file.
private struct IntelHexReader {
    private struct Record {
        var line: Int
        var address: Int
        var bytes: [UInt8]
    }

    let file: String
    private var line = 0
    private var hasEnded = false
    private var records: [Record] = []

    init(file: String) { self.file = file }

    func error(
        _ kind: FirmwareImageError.Kind, _ expected: String, _ found: String, line: Int? = nil
    ) -> FirmwareImageError {
        FirmwareImageError(
            kind: kind, file: file, line: line ?? max(1, self.line), expected: expected,
            found: found)
    }

    mutating func take(_ text: Substring.UTF8View) throws(FirmwareImageError) {
        line += 1
        var characters = Array(text)
        while let last = characters.last, last == 13 || last == 32 { characters.removeLast() }
        guard let first = characters.first, first != UInt8(ascii: "#") else { return }
        guard !hasEnded else {
            throw error(.incomplete, "nothing after the end record", "another line")
        }
        guard first == UInt8(ascii: ":") else {
            throw error(
                .malformedLine, "a record that begins with a colon", "\"\(excerpt(characters))\"")
        }
        try interpret(try bytes(of: characters.dropFirst()))
    }

    private func excerpt(_ characters: [UInt8]) -> String {
        String(
            decoding: characters.prefix(20).map { (32..<127).contains($0) ? $0 : 63 },
            as: UTF8.self)
    }

    /// The bytes of a record: length, address, type, data and check sum.
    private func bytes(of digits: ArraySlice<UInt8>) throws(FirmwareImageError) -> [UInt8] {
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in digits {
            guard let value = Character(UnicodeScalar(digit)).hexDigitValue, digit < 128 else {
                throw error(
                    .malformedLine, "hexadecimal digits", "\"\(excerpt([digit]))\"")
            }
            if let upper = high {
                bytes.append(upper << 4 | UInt8(value))
                high = nil
            } else {
                high = UInt8(value)
            }
        }
        guard high == nil, bytes.count >= 5, bytes.count == Int(bytes[0]) + 5 else {
            let wanted = bytes.first.map { 2 * (Int($0) + 5) } ?? 10
            throw error(
                .malformedLine, "\(wanted) digits as the length says", "\(digits.count)")
        }
        let sum = bytes.dropLast().reduce(0, &+)
        guard let check = bytes.last, sum &+ check == 0 else {
            throw error(.malformedLine, "the check sum \(0 &- sum)", "\(bytes.last ?? 0)")
        }
        return bytes
    }

    private mutating func interpret(_ bytes: [UInt8]) throws(FirmwareImageError) {
        let address = Int(bytes[1]) << 8 | Int(bytes[2])
        let data = Array(bytes[4..<bytes.count - 1])
        switch bytes[3] {
        case 0:
            guard address + data.count <= 0x10000 else {
                throw error(
                    .unsupportedRecord, "data below address 65536", "\(address + data.count)")
            }
            if !data.isEmpty {
                records.append(Record(line: line, address: address, bytes: data))
            }
        case 1: hasEnded = true
        // A segment or an upper half of zero says nothing new.
        case 2, 4:
            guard data.count == 2, data == [0, 0] else {
                throw error(
                    .unsupportedRecord, "addresses of 16 bits", "record \(bytes[3]) for more")
            }
        case 3, 5: break
        default:
            throw error(.unsupportedRecord, "a record type from 0 to 5", "\(bytes[3])")
        }
    }

    /// Sorts and joins what has been read.
    func finish() throws(FirmwareImageError) -> [FirmwareImage.Segment] {
        guard hasEnded else {
            throw error(.incomplete, "an end record", "the end of the file")
        }
        var segments: [FirmwareImage.Segment] = []
        for record in records.sorted(by: { ($0.address, $0.line) < ($1.address, $1.line) }) {
            guard let last = segments.last else {
                segments.append(.init(address: UInt16(record.address), bytes: record.bytes))
                continue
            }
            let end = Int(last.address) + last.bytes.count
            guard record.address >= end else {
                throw error(
                    .incomplete, "each address once", "\(record.address) again",
                    line: record.line)
            }
            if record.address == end {
                segments[segments.count - 1].bytes += record.bytes
            } else {
                segments.append(.init(address: UInt16(record.address), bytes: record.bytes))
            }
        }
        guard !segments.isEmpty else { throw error(.incomplete, "data records", "none") }
        return segments
    }
}
