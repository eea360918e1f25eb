import DeviceProfiles

/// The receiving side of a line-oriented text language: cuts bytes into commands and finds out
/// which command of the profile each one is.
struct TextDialect {
    /// A command as received.
    struct Received: Hashable {
        /// Its name in the profile, or nil when there is no such command.
        var name: String?
        /// The words after the first.
        var arguments: [String]

        /// The first argument as a number; nil when it is missing, no number, or not finite.
        var number: Double? {
            guard let value = arguments.first.flatMap(Double.init), value.isFinite else {
                return nil
            }
            return value
        }
    }

    /// A command longer than this is dropped, as no instrument's buffer is endless.
    private static let longestCommand = 256

    private let terminators: [UInt8]
    private let verbs: [String: String]
    private let isCaseSensitive: Bool
    private let replyTerminator: [UInt8]
    private var buffer: [UInt8] = []
    private var isTooLong = false

    /// The language of `profile`.
    init(profile: DeviceProfile) throws(MissingProfileField) {
        let dialect = try profile.requireDialect()
        terminators = dialect.acceptedTerminators.compactMap(\.utf8.first)
        isCaseSensitive = dialect.letterCase == .sensitive
        replyTerminator = Array((dialect.replyTerminator ?? "\r\n").utf8)
        var verbs: [String: String] = [:]
        for (name, command) in dialect.commands.entries {
            guard let verb = command.template?.split(separator: " ").first else { continue }
            verbs[isCaseSensitive ? String(verb) : verb.uppercased()] = name
        }
        self.verbs = verbs
    }

    /// The commands that `bytes` complete, in order; empty ones are skipped.
    mutating func receive(_ bytes: [UInt8]) -> [Received] {
        var commands: [Received] = []
        for byte in bytes {
            if terminators.contains(byte) {
                if !isTooLong, let command = parse(buffer) { commands.append(command) }
                buffer.removeAll(keepingCapacity: true)
                isTooLong = false
            } else if buffer.count < Self.longestCommand {
                buffer.append(byte)
            } else {
                isTooLong = true
            }
        }
        return commands
    }

    private func parse(_ bytes: [UInt8]) -> Received? {
        let words = bytes.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 })
            .map { String(decoding: $0, as: UTF8.self) }
        guard let verb = words.first else { return nil }
        let key = isCaseSensitive ? verb : verb.uppercased()
        return Received(name: verbs[key], arguments: Array(words.dropFirst()))
    }

    /// A line of a reply.
    func line(_ text: String) -> [UInt8] { Array(text.utf8) + replyTerminator }
}

/// A number with a fixed count of decimals, without the locale.
func decimal(_ value: Double, places: Int) -> String {
    var scale: Int64 = 1
    for _ in 0..<places { scale *= 10 }
    let limited = min(max(value * Double(scale), -9e17), 9e17)
    let scaled = Int64(limited.rounded())
    let whole = (scaled < 0 ? "-" : "") + "\(abs(scaled) / scale)"
    guard places > 0 else { return whole }
    let digits = String(abs(scaled) % scale)
    return whole + "." + String(repeating: "0", count: places - digits.count) + digits
}
