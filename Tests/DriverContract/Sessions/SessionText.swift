import HostIO
import Instruments
import Quantities

/// What is wrong in the text of a session.
package struct SessionTextError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The line, counted from 1.
    package var line: Int
    /// What was expected there.
    package var expected: String
    /// What was found.
    package var found: String
    /// A sentence for people.
    package var description: String { "line \(line): expected \(expected), found \(found)" }
}

// MARK: - Writing

extension Session {
    /// How many bytes stand on a line.
    private static let bytesPerLine = 24

    /// The session as text: a heading, an empty line, and a line for each event.
    package var text: String { lines.joined(separator: "\n") + "\n" }

    private var lines: [String] {
        var lines = ["session 1", "profile: \(profile)", "recorded from: \(source)"]
        lines.append("emulated: \(isEmulated ? "yes" : "no")")
        lines.append(Self.join("serial:", serial.isEmpty ? [] : [serial]))
        lines.append(Self.join("firmware:", firmware.isEmpty ? [] : [firmware]))
        if let bias { lines.append("bias_V: \(bias.rawValue)") }
        switch route {
        case .port(let addresses):
            lines.append(Self.join("port:", addresses.map { "\($0)" }))
        case .usb(let summary): lines += summary.sessionLines
        case .lines(let assignment):
            for (role, line) in assignment.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                lines.append("line: \(role.rawValue) \(line)")
            }
        }
        lines.append("")
        for event in events { lines += Self.lines(of: event) }
        return lines
    }

    /// The lines of one event.
    static func lines(of event: Event) -> [String] {
        var head = "\(seconds(event.time)) \(event.channel)"
        if !event.operation.isEmpty { head += " " + event.operation }
        var lines: [String] = []
        for (mark, bytes) in [(">", event.sent), ("<", event.received)] {
            guard let bytes else { continue }
            lines += hexadecimal(bytes).map { "\(mark) \($0)" }
        }
        if let failure = event.failure { lines.append("! \(failure)") }
        guard let first = lines.first else { return [head] }
        return ["\(head) \(first)"] + lines.dropFirst().map { "  \($0)" }
    }

    /// The line of the text on which each event begins, counted from 1.
    var lineNumbers: [Int] {
        var number = lines.count + 1
        for event in events { number -= Self.lines(of: event).count }
        return events.map { event in
            defer { number += Self.lines(of: event).count }
            return number
        }
    }

    /// Nanoseconds as seconds with all nine decimals.
    private static func seconds(_ time: Int64) -> String {
        let digits = String(time)
        let padded = String(repeating: "0", count: max(0, 10 - digits.count)) + digits
        return padded.dropLast(9) + "." + padded.suffix(9)
    }

    /// Two digits for each byte, and what they are as text for those who read along.
    private static func hexadecimal(_ bytes: [UInt8]) -> [String] {
        if bytes.isEmpty { return ["-"] }
        return stride(from: 0, to: bytes.count, by: bytesPerLine).map { start in
            let part = bytes[start..<min(start + bytesPerLine, bytes.count)]
            let text = part.map { (0x20..<0x7F).contains($0) ? String(UnicodeScalar($0)) : "." }
            return part.map(hex).joined(separator: " ") + " |" + text.joined() + "|"
        }
    }

    private static func hex(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }

    private static func join(_ first: String, _ rest: [String]) -> String {
        ([first] + rest).joined(separator: " ")
    }

    /// A request for messages, without its time and its outcome.
    static func describe(_ channel: String, _ operation: String, _ sent: [UInt8]?) -> String {
        let bytes = sent.map { " > " + hexadecimal($0).joined(separator: " ") } ?? ""
        return "'\(channel) \(operation)\(bytes)'"
    }
}

extension USBDeviceSummary {
    /// The lines of a session's heading that describe the device.
    fileprivate var sessionLines: [String] {
        var lines = [
            "usb: \(sessionHex(vendorID)):\(sessionHex(productID)) release \(sessionHex(bcdDevice))"
                + " class \(classTriple.map(String.init).joined(separator: ".")) speed "
                + speed.rawValue
        ]
        for (name, value) in [
            ("manufacturer", manufacturer), ("product", product), ("serial", serial),
        ] {
            if let value { lines.append("usb \(name): \(value)") }
        }
        for interface in interfaces {
            let endpoints = interface.endpoints.map {
                " \(String($0.address, radix: 16)):\($0.kind.rawValue):\($0.maxPacketSize)"
            }
            lines.append(
                "usb interface: \(interface.number) \(interface.alternate) "
                    + interface.classTriple.map(String.init).joined(separator: ".")
                    + endpoints.joined())
        }
        return lines
    }
}

/// Four hexadecimal digits.
func sessionHex(_ value: UInt16) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 4 - digits.count) + digits
}

// MARK: - Reading

extension Session {
    /// Reads a session.
    ///
    /// - Throws: `SessionTextError` with the line of the first mistake.
    package init(text: String) throws(SessionTextError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let end = lines.firstIndex(of: "") ?? lines.count
        var heading = SessionHeading(lines: Array(lines[..<end]))
        self = try heading.read()
        var index = end + 1
        while index < lines.count, !(index == lines.count - 1 && lines[index].isEmpty) {
            var reader = EventReader(line: lines[index], number: index + 1)
            var event = try reader.event()
            while index + 1 < lines.count, lines[index + 1].hasPrefix("  ") {
                index += 1
                try EventReader.extend(&event, lines[index].dropFirst(2), number: index + 1)
            }
            events.append(event)
            index += 1
        }
    }
}

/// Reads one event.
private struct EventReader {
    private var rest: Substring
    private let whole: String
    private let number: Int

    init(line: String, number: Int) {
        rest = line[...]
        whole = line
        self.number = number
    }

    mutating func event() throws(SessionTextError) -> Session.Event {
        guard let time = word().flatMap(Self.nanoseconds) else {
            throw mistake("a time in seconds with nine decimals")
        }
        guard let channel = word(), !channel.isEmpty else { throw mistake("a channel") }
        var event = Session.Event(time: time, channel: String(channel), operation: "")
        let mark = rest.firstRange(of: #/\ ?[><!]\ /#)?.lowerBound
        let outcome = mark ?? rest.endIndex
        event.operation = String(rest[..<outcome])
        if mark != nil {
            let marked = rest[outcome...].drop { $0 == " " }
            try Self.extend(&event, marked, number: number)
        }
        return event
    }

    /// Adds `> bytes`, `< bytes` or `! failure` to an event.
    static func extend(
        _ event: inout Session.Event, _ text: Substring, number: Int
    ) throws(SessionTextError) {
        let body = text.dropFirst(2)
        switch text.first {
        case "!": event.failure = String(body)
        case ">": event.sent = (event.sent ?? []) + (try bytes(body, number))
        case "<": event.received = (event.received ?? []) + (try bytes(body, number))
        default:
            throw SessionTextError(line: number, expected: "> or < or !", found: "'\(text)'")
        }
    }

    private static func bytes(
        _ text: Substring, _ number: Int
    ) throws(SessionTextError) -> [UInt8] {
        if text == "-" { return [] }
        var result: [UInt8] = []
        for word in text.prefix(while: { $0 != "|" }).split(separator: " ") {
            guard word.utf8.count == 2, let byte = UInt8(word, radix: 16) else {
                throw SessionTextError(
                    line: number, expected: "two hexadecimal digits", found: "'\(word)'")
            }
            result.append(byte)
        }
        return result
    }

    private mutating func word() -> Substring? {
        let word = rest.prefix { $0 != " " }
        rest = rest.dropFirst(word.count).drop { $0 == " " }
        return word.isEmpty ? nil : word
    }

    private static func nanoseconds(_ text: Substring) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].utf8.count == 9, parts[0].utf8.count <= 9,
            let whole = UInt32(parts[0]), let part = UInt32(parts[1])
        else { return nil }
        return Int64(whole) * 1_000_000_000 + Int64(part)
    }

    private func mistake(_ expected: String) -> SessionTextError {
        SessionTextError(line: number, expected: expected, found: "'\(whole)'")
    }
}
