import LinkTypes
import Quantities

/// Reads a recording of time tags block by block, in bounded memory.
///
/// The clicks do not depend on the size of the blocks or on how the source delivers bytes. What
/// can not be trusted is in `findings` once `next` has returned `nil`.
public struct RecordingReader {
    /// What the recording says about itself.
    public let description: RecordingDescription
    /// What was found so far that a reader must know.
    public private(set) var findings: [RecordingFinding] = []

    private enum Decoder {
        case picoQuant(PicoQuantDecoder)
        case sFifteen(SFifteenDecoder)
    }

    /// The most findings about corrupt records listed one by one.
    private static let maximumCorruptFindings = 16

    private var bytes: BufferedBytes
    private var decoder: Decoder
    private let recordSize: Int
    private var recordsRead: UInt64 = 0
    private var corruptFindings = 0
    private var isFinished = false
    /// Bytes of the file for each decoded byte; 1 unless the file is text.
    private let expansion: Double

    /// Opens a recording; without a format it is detected from the content.
    ///
    /// Throws `RecordingError` when the format is unknown or the header is damaged.
    public init(
        _ source: any ByteSource, format requested: RecordingFormat? = nil
    ) throws(RecordingError) {
        var bytes = BufferedBytes(source)
        let format: RecordingFormat
        var findings: [RecordingFinding] = []
        if let requested {
            format = requested
        } else {
            let detected = try detectFormat(&bytes)
            format = detected.format
            if let assumption = detected.assumption {
                findings.append(RecordingFinding(.warning, offset: 0, assumption))
            }
        }
        switch format {
        case .picoQuant:
            let header = try PTUHeader.read(from: &bytes)
            let (description, type) = try describe(
                header, size: bytes.offset, findings: &findings)
            self.description = description
            decoder = .picoQuant(PicoQuantDecoder(type))
            recordSize = 4
            expansion = 1
        case .sFifteen(let encoding, let layout):
            if encoding != .a1 {
                let digits = encoding == .a2 ? 16 : 8
                bytes = BufferedBytes(HexLineSource(bytes, digits: digits))
                expansion = Double(digits + 1) / Double(digits / 2)
            } else {
                expansion = 1
            }
            description = RecordingDescription(
                format: format, recordType: "S-Fifteen raw events, layout \(layout.rawValue)",
                device: nil, tickPeriod: layout.tickPeriod, microtimePeriod: nil,
                announcedRecords: nil, announcedDuration: nil, headerSize: 0, header: [])
            decoder = .sFifteen(SFifteenDecoder(layout))
            recordSize = layout.recordSize
        }
        self.bytes = bytes
        self.findings = findings
    }

    /// The next records, at most `maximumRecords` (positive) of them, or `nil` at the end.
    ///
    /// Throws `RecordingError` when the source fails, text is malformed, or times exceed 2⁵⁶ ticks.
    public mutating func next(
        maximumRecords: Int = 1 << 15
    ) throws(RecordingError) -> RecordedBlock? {
        precondition(maximumRecords > 0)
        guard !isFinished else { return nil }
        var wanted = min(maximumRecords, 1 << 20)
        if let announced = description.announcedRecords {
            wanted = Int(min(UInt64(wanted), announced - recordsRead))
        }
        if wanted > 0 { _ = try bytes.fill(wanted * recordSize) }
        let records = min(wanted, bytes.available / recordSize)
        guard records > 0 else {
            isFinished = true
            try judgeEnd()
            return nil
        }
        var block = RecordedBlock()
        try decode(records, into: &block)
        bytes.skip(records * recordSize)
        recordsRead += UInt64(records)
        if let offset = block.firstCorrupt { noteCorrupt(block.counts.corrupt, at: offset) }
        return block
    }

    private mutating func decode(
        _ records: Int, into block: inout RecordedBlock
    ) throws(RecordingError) {
        let range = bytes.head..<(bytes.head + records * recordSize)
        // A second reference for the time of the call, not a copy.
        let buffer = bytes.buffer
        let span = buffer.span.bytes.extracting(range)
        switch decoder {
        case .picoQuant(var picoQuant):
            try picoQuant.decode(span, offset: bytes.offset, into: &block)
            decoder = .picoQuant(picoQuant)
        case .sFifteen(var sFifteen):
            try sFifteen.decode(span, offset: bytes.offset, into: &block)
            decoder = .sFifteen(sFifteen)
        }
    }

    private func fileOffset(_ offset: UInt64) -> UInt64 {
        expansion == 1 ? offset : UInt64((Double(offset) * expansion).rounded(.down))
    }

    private mutating func noteCorrupt(_ count: UInt64, at offset: UInt64) {
        guard corruptFindings < Self.maximumCorruptFindings else { return }
        corruptFindings += 1
        findings.append(
            RecordingFinding(
                .warning, offset: fileOffset(offset),
                "\(count) corrupt record(s), the first here; they are counted as losses"))
    }

    /// Compares what was read with what the header announced.
    private mutating func judgeEnd() throws(RecordingError) {
        let announced = description.announcedRecords
        if announced == nil || recordsRead < announced ?? 0, bytes.available > 0 {
            findings.append(
                RecordingFinding(
                    .warning, offset: fileOffset(bytes.offset),
                    "the last record is cut off after \(bytes.available) of \(recordSize) bytes"))
        }
        guard let announced else { return }
        if recordsRead < announced {
            findings.append(
                RecordingFinding(
                    .warning, offset: bytes.offset,
                    "the header announces \(announced) records, the file holds \(recordsRead); "
                        + "\(announced - recordsRead) are missing"))
            return
        }
        let offset = bytes.offset
        while try bytes.fill(1) { bytes.skip(bytes.available) }
        if bytes.offset > offset {
            findings.append(
                RecordingFinding(
                    .warning, offset: offset,
                    "\(bytes.offset - offset) bytes follow the \(announced) announced records and "
                        + "were not read"))
        }
    }
}

/// What a PTU header says, checked.
private func describe(
    _ header: PTUHeader, size: UInt64, findings: inout [RecordingFinding]
) throws(RecordingError) -> (RecordingDescription, PicoQuantRecordType) {
    func missing(_ name: String) -> RecordingError {
        .malformed(offset: size, expected: "a valid tag \(name) in the header", found: "none")
    }
    guard let code = header.integer("TTResultFormat_TTTRRecType") else {
        throw missing("TTResultFormat_TTTRRecType")
    }
    guard let raw = UInt32(exactly: code), let type = PicoQuantRecordType(rawValue: raw) else {
        throw .unsupported(offset: size, what: "record type 0x\(String(code, radix: 16))")
    }
    if let bits = header.integer("TTResultFormat_BitsPerRecord"), bits != 32 {
        throw .unsupported(offset: size, what: "\(bits) bits per record")
    }
    guard let global = header.float("MeasDesc_GlobalResolution"),
        let period = tickPeriod(seconds: global)
    else { throw missing("MeasDesc_GlobalResolution") }
    var microtime: TickPeriod?
    if type.isT3 {
        microtime = header.float("MeasDesc_Resolution").flatMap { tickPeriod(seconds: $0) }
        guard microtime != nil else { throw missing("MeasDesc_Resolution") }
    }
    if let mode = header.integer("Measurement_Mode"), mode != (type.isT3 ? 3 : 2) {
        findings.append(
            RecordingFinding(
                .warning, offset: 0,
                "the header states mode T\(mode), the record type is \(type.name); read as the "
                    + "record type says"))
    }
    let announced = header.integer("TTResult_NumberOfRecords")
    if announced ?? 0 <= 0 {
        findings.append(
            RecordingFinding(
                .note, offset: 0, "the header gives no number of records; all of the file is read"))
    }
    let device = ["HW_Type", "HW_Version", "HW_SerialNo"].compactMap { header.text($0) }
    let milliseconds = header.integer("MeasDesc_AcquisitionTime") ?? 0
    let description = RecordingDescription(
        format: .picoQuant, recordType: type.name,
        device: device.isEmpty ? nil : device.joined(separator: " "), tickPeriod: period,
        microtimePeriod: microtime,
        announcedRecords: announced.flatMap { $0 > 0 ? UInt64($0) : nil },
        announcedDuration: milliseconds > 0 ? Double(milliseconds) * 1e-3 : nil,
        headerSize: size, header: header.tags)
    return (description, type)
}
