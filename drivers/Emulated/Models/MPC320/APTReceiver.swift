/// A message of the APT protocol as the controller receives it.
struct APTMessage: Hashable {
    /// The message number.
    var id: UInt16
    /// The two parameters of a message that is a header alone; zero when data follow.
    var parameters: (UInt8, UInt8)
    /// The data behind the header; nil for a header alone.
    var data: [UInt8]?

    /// A number of `width` bytes at `offset` of the data, low byte first; nil beyond the end.
    func number(at offset: Int, width: Int) -> UInt32? {
        guard let data, offset >= 0, offset + width <= data.count else { return nil }
        return (0..<width).reduce(0) { $0 | UInt32(data[offset + $1]) << UInt32(8 * $1) }
    }

    static func == (left: Self, right: Self) -> Bool {
        left.id == right.id && left.parameters == right.parameters && left.data == right.data
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(id)
        hasher.combine(parameters.0)
        hasher.combine(parameters.1)
        hasher.combine(data)
    }
}

/// Finds messages in a stream of bytes the way the controller does: a header that can not be one
/// costs one byte, and the search goes on at the next.
///
/// Source: Thorlabs, APT Communications Protocol, Issue 37, "Description of the message header";
/// behaviour on garbage as in the unpacker of PyPI `thorlabs-apt-protocol` 29.
struct APTReceiver {
    private let deviceAddress: UInt8
    private let hostAddress: UInt8
    private let dataFollows: UInt8
    /// Bytes of data of each known message; nil marks a message that is a header alone.
    private let known: [UInt16: Int]
    private var buffer: [UInt8] = []
    /// Bytes dropped in the search for a header.
    private(set) var droppedBytes = 0

    init(
        deviceAddress: UInt8, hostAddress: UInt8, dataFollows: UInt8, known: [UInt16: Int]
    ) {
        self.deviceAddress = deviceAddress
        self.hostAddress = hostAddress
        self.dataFollows = dataFollows
        self.known = known
    }

    /// The messages that `bytes` complete.
    mutating func receive(_ bytes: [UInt8]) -> [APTMessage] {
        buffer += bytes
        var messages: [APTMessage] = []
        var position = 0
        while buffer.count - position >= 6 {
            let header = Array(buffer[position..<position + 6])
            guard let length = dataLength(header) else {
                position += 1
                droppedBytes += 1
                continue
            }
            guard buffer.count - position >= 6 + length else { break }
            let id = UInt16(header[0]) | UInt16(header[1]) << 8
            let end = position + 6 + length
            messages.append(
                length == 0
                    ? APTMessage(id: id, parameters: (header[2], header[3]), data: nil)
                    : APTMessage(
                        id: id, parameters: (0, 0), data: Array(buffer[position + 6..<end])))
            position = end
        }
        buffer.removeFirst(position)
        return messages
    }

    /// The bytes of data behind `header`, or nil when it is none of ours.
    private func dataLength(_ header: [UInt8]) -> Int? {
        let id = UInt16(header[0]) | UInt16(header[1]) << 8
        guard let expected = known[id], header[5] == hostAddress else { return nil }
        if header[4] == deviceAddress { return expected == 0 ? 0 : nil }
        guard header[4] == deviceAddress | dataFollows, header[3] == 0, expected > 0,
            Int(header[2]) == expected
        else { return nil }
        return expected
    }
}
