import ArgumentParser
import EventPipeline
import LinkService
import Quantities

/// The format of a recording, by name or found from the content.
struct RecordingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Read the file in this format instead of finding it from the content: "
                + RecordingFormat.all.map(\.name).joined(separator: ", ") + "."))
    var format: String?

    func validate() throws {
        if let format, RecordingFormat(name: format) == nil {
            throw ValidationError(
                "unknown format '\(format)'; expected one of: "
                    + RecordingFormat.all.map(\.name).joined(separator: ", "))
        }
    }

    func open(_ path: String) throws -> RecordingReader {
        try RecordingReader(
            FileByteSource(path: path), format: format.flatMap(RecordingFormat.init(name:)))
    }
}

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tells what a recording of time tags holds.",
        discussion: """
            Reads PicoQuant PTU (T2 and T3) and S-Fifteen raw events. Exit code 1 when the file \
            can not be read or holds less than it announces.
            """)

    @Argument(help: "The recording.") var file: String
    @OptionGroup var options: RecordingOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        var reader = try options.open(file)
        let summary = try RecordingSummary(reading: &reader)
        print(json ? summary.json.text : Self.text(summary))
        if summary.missingRecords > 0 || summary.counts.corrupt > 0 { throw Exit.failed }
    }

    static func text(_ summary: RecordingSummary) -> String {
        let recording = summary.recording
        var lines = [
            "format      \(recording.format.name): \(recording.recordType)",
            "device      \(recording.device ?? "not stated")",
            "tick        \(fixed(recording.tickPeriod.picoseconds, 6)) ps",
        ]
        if let micro = recording.microtimePeriod {
            lines.append("microtime   \(fixed(micro.picoseconds, 6)) ps")
        }
        let counts = summary.counts
        lines.append("records     \(counts.records)")
        lines.append("events      \(counts.events), \(counts.clicks) clicks")
        lines.append("markers     \(counts.markers)")
        lines.append("overflows   \(counts.overflows) in \(counts.overflowRecords) records")
        if let duration = summary.duration {
            lines.append("duration    \(fixed(duration, 6)) s")
            lines.append("rate        \(fixed(Double(counts.clicks) / duration, 1)) clicks/s")
        }
        lines.append("")
        var channels = TextTable(["CHANNEL", "CLICKS", "RATE / HZ", "SHORTEST INTERVAL / PS"])
        for channel in summary.channels {
            let rate = summary.duration.map { fixed(Double(channel.clicks) / $0, 1) } ?? "-"
            channels.add([
                channel.name, String(channel.clicks), rate,
                channel.shortestInterval.map(String.init) ?? "-",
            ])
        }
        lines.append(channels.text)
        lines.append("")
        lines.append(histogram(summary.intervals))
        for finding in summary.findings {
            lines.append(
                "\(finding.severity.rawValue) at byte \(finding.offset): \(finding.message)")
        }
        return lines.joined(separator: "\n")
    }

    /// Intervals between clicks of any channel, one line for each factor of two.
    private static func histogram(_ intervals: [UInt64]) -> String {
        guard let first = intervals.firstIndex(where: { $0 > 0 }),
            let last = intervals.lastIndex(where: { $0 > 0 }), let largest = intervals.max()
        else { return "no intervals" }
        var table = TextTable(["INTERVAL FROM", "TO", "COUNT", ""])
        for bin in first...last {
            let end = Double(sign: .plus, exponent: bin, significand: 1)
            let bar = Int((Double(intervals[bin]) / Double(largest) * 40).rounded(.up))
            table.add([
                duration(bin == 0 ? 0 : end / 2), duration(end), String(intervals[bin]),
                String(repeating: "#", count: bar),
            ])
        }
        return table.text
    }

    /// Picoseconds with a unit that keeps the number short.
    private static func duration(_ picoseconds: Double) -> String {
        var value = picoseconds
        for unit in ["ps", "ns", "µs", "ms"] {
            if value < 1000 { return "\(fixed(value, value < 10 ? 2 : 1)) \(unit)" }
            value /= 1000
        }
        return "\(fixed(value, 2)) s"
    }
}

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Converts a recording of time tags to another format.",
        discussion: """
            What the target can not hold is counted and reported on standard error; with --strict \
            such a conversion fails with exit code 1. An existing output file is replaced.
            """)

    @Argument(help: "The recording.") var input: String
    @Argument(help: "The file to write.") var output: String
    @Option(
        help: ArgumentHelp(
            "The format to write: " + ConversionFormat.all.map(\.name).joined(separator: ", ") + "."
        ))
    var to: String
    @OptionGroup var options: RecordingOptions
    @Option(
        help: "The source's channels for the four detector bits, separated by commas.",
        transform: { try Convert.channels($0) })
    var channels: [UInt8] = [0, 1, 2, 3]
    @Flag(help: "Fail unless the target holds everything the source did.") var strict = false
    @Flag(help: "Print the report as JSON.") var json = false

    static func channels(_ text: String) throws -> [UInt8] {
        let numbers = text.split(separator: ",", omittingEmptySubsequences: false)
            .compactMap { UInt8($0) }
        guard numbers.count == 4, Set(numbers).count == 4 else {
            throw ValidationError(
                "expected four different channels such as 0,1,2,3, found '\(text)'")
        }
        return numbers
    }

    func validate() throws {
        guard ConversionFormat.all.contains(where: { $0.name == to }) else {
            throw ValidationError(
                "unknown format '\(to)'; expected one of: "
                    + ConversionFormat.all.map(\.name).joined(separator: ", "))
        }
        if input == output { throw ValidationError("input and output are the same file") }
    }

    func run() throws {
        guard let format = ConversionFormat.all.first(where: { $0.name == to })?.format else {
            throw Exit.usage
        }
        var reader = try options.open(input)
        var sink = try FileByteSink(path: output)
        let report = try convertRecording(
            &reader, to: format, sink: &sink, detectorChannels: channels)
        if json {
            print(report.json.text)
        } else {
            print("\(report.clicksWritten) clicks in \(report.recordsWritten) records")
        }
        if !report.isLossless {
            printError(
                "not everything was carried over: \(report.clicksOfOtherChannels) clicks of other "
                    + "channels, \(report.clicksCollapsed) collapsed, \(report.markersDropped) "
                    + "markers, \(report.lossesDropped) losses, \(report.timesRounded) times "
                    + "rounded by up to \(fixed(report.largestRounding, 1)) ps, "
                    + "\(report.ambiguousSteps) ambiguous steps")
            if strict { throw Exit.failed }
        }
    }
}
