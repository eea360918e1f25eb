import DeviceProfiles
import Instruments

/// One message of the Thorlabs APT protocol.
package struct APTFrame: Hashable, Sendable {
    /// The message number.
    package var message: UInt16
    /// The first parameter of a header without data.
    package var parameter1: UInt8
    /// The second parameter of a header without data.
    package var parameter2: UInt8
    /// The data after the header; nil for a header alone.
    package var data: [UInt8]?
    /// The receiver, without the flag that data follows.
    package var destination: UInt8
    /// The sender.
    package var source: UInt8
}

/// Framing of the Thorlabs APT protocol. Pure encoding and decoding; numbers come from the profile.
///
/// Sources: Thorlabs, "APT Communications Protocol", Issue 37, 22 May 2023 (header forms, messages);
/// PyPI thorlabs-apt-protocol 29.0.0 (independent encoder the reference frames are compared with).
package struct APTWire: Sendable {
    private let dialect: Dialect
    private let host: UInt8
    private let device: UInt8
    private let dataFlag: UInt8

    /// Length of a header.
    package static let headerBytes = 6
    /// The longest data part any message of this family has.
    package static let maxDataBytes = 255

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        dialect = try profile.requireDialect()
        host = UInt8(truncatingIfNeeded: try profile.constant("host_address"))
        device = UInt8(truncatingIfNeeded: try profile.constant("device_address"))
        dataFlag = UInt8(truncatingIfNeeded: try profile.constant("data_follows"))
    }

    /// The bytes of a command of the profile.
    package func frame(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> [UInt8] {
        let arguments = try command.argumentBytes(values)
        let number = command.opcode ?? 0
        let head = [UInt8(truncatingIfNeeded: number), UInt8(truncatingIfNeeded: number >> 8)]
        if command.dataBytes > 0 {
            let count = [
                UInt8(truncatingIfNeeded: arguments.count),
                UInt8(truncatingIfNeeded: arguments.count >> 8),
            ]
            return head + count + [device | dataFlag, host] + arguments
        }
        return head + [arguments.first ?? 0, arguments.count > 1 ? arguments[1] : 0, device, host]
    }

    /// What the unpacker needs to recognise the messages of a device.
    package func unpacker() -> APTUnpacker {
        // A message the profile gives a length may still come as a header alone, and the other way
        // round (short and long completion); the length on the wire decides, within its limit.
        APTUnpacker(
            known: Set(dialect.messages.entries.map(\.value.opcode)), host: host, device: device,
            dataFlag: dataFlag)
    }

    /// The name the profile gives a message number.
    package func name(of message: UInt16) -> String? {
        dialect.messages.entries.first { $0.value.opcode == message }?.name
    }

    /// One frame of every command by name, with fixed arguments, for comparison with an encoder that
    /// was written by somebody else.
    package static func referenceFrames(
        _ profile: DeviceProfile
    ) throws -> [(name: String, bytes: [UInt8])] {
        let wire = try APTWire(profile)
        let calls: [(name: String, command: String, values: [Double])] = [
            ("hw_disconnect", "disconnect", []),
            ("hw_req_info", "request_info", []),
            ("hw_start_updatemsgs", "start_updates", []),
            ("hw_stop_updatemsgs", "stop_updates", []),
            ("mod_identify(1)", "identify", [1]),
            ("mod_set_chanenablestate(7, 1)", "set_enabled", [7, 1]),
            ("mod_req_chanenablestate(7)", "request_enabled", [7]),
            ("mot_req_poscounter(2)", "request_position_counter", [2]),
            ("mot_move_home(2)", "home", [2]),
            ("mot_move_absolute(4, 685)", "move_absolute", [4, 685]),
            ("mot_move_absolute(1, 1370)", "move_absolute", [1, 1370]),
            ("mot_move_jog(1, 1)", "jog", [1, 1]),
            ("mot_move_stop(1, 2)", "stop", [1, 2]),
            ("mot_req_dcstatusupdate(1)", "request_status", [1]),
            ("mot_ack_dcstatusupdate", "acknowledge_status", []),
            ("pol_set_params(10, 685, 25, 25, 25)", "set_parameters", [0, 10, 685, 25, 25, 25]),
            ("pol_req_params", "request_parameters", []),
        ]
        return try calls.map { call in
            (call.name, try wire.frame(profile.command(call.command), call.values))
        }
    }
}

/// Finds the frames in a stream of bytes.
///
/// There is no mark at the start of a frame. A header is believed when its number is known, its
/// sender and receiver are right and its length is allowed; otherwise one byte is dropped and the
/// next position is tried, which also passes over stray bytes between frames.
package struct APTUnpacker: Sendable {
    private let known: Set<UInt16>
    private let host: UInt8
    private let device: UInt8
    private let dataFlag: UInt8
    private var pending: [UInt8] = []
    /// Bytes that belonged to no frame.
    package private(set) var droppedBytes = 0

    init(known: Set<UInt16>, host: UInt8, device: UInt8, dataFlag: UInt8) {
        self.known = known
        self.host = host
        self.device = device
        self.dataFlag = dataFlag
    }

    /// Adds received bytes and takes out the frames that are complete.
    package mutating func take(_ bytes: [UInt8]) -> [APTFrame] {
        pending += bytes
        var frames: [APTFrame] = []
        var index = 0
        while pending.count - index >= APTWire.headerBytes {
            guard let length = frameLength(at: index) else {
                index += 1
                droppedBytes += 1
                continue
            }
            guard pending.count - index >= length else { break }
            frames.append(frame(at: index, length: length))
            index += length
        }
        pending.removeFirst(index)
        return frames
    }

    /// Gives up a frame whose rest never came: drops its first byte and looks again.
    package mutating func skipIncomplete() -> [APTFrame] {
        guard !pending.isEmpty else { return [] }
        pending.removeFirst()
        droppedBytes += 1
        return take([])
    }

    /// Whether the beginning of a frame waits for its rest.
    package var isWaitingForRest: Bool { !pending.isEmpty }

    private func frameLength(at index: Int) -> Int? {
        let message = UInt16(pending[index]) | UInt16(pending[index + 1]) << 8
        let destination = pending[index + 4]
        guard known.contains(message), pending[index + 5] == device,
            destination & ~dataFlag == host
        else { return nil }
        guard destination & dataFlag != 0 else { return APTWire.headerBytes }
        let count = Int(pending[index + 2]) | Int(pending[index + 3]) << 8
        return count <= APTWire.maxDataBytes ? APTWire.headerBytes + count : nil
    }

    private func frame(at index: Int, length: Int) -> APTFrame {
        let hasData = pending[index + 4] & dataFlag != 0
        return APTFrame(
            message: UInt16(pending[index]) | UInt16(pending[index + 1]) << 8,
            parameter1: pending[index + 2], parameter2: pending[index + 3],
            data: hasData ? Array(pending[index + APTWire.headerBytes..<index + length]) : nil,
            destination: pending[index + 4] & ~dataFlag, source: pending[index + 5])
    }
}

/// A status message of one paddle.
package struct APTStatus: Hashable, Sendable {
    /// The bit of the paddle.
    package var mask: UInt16
    /// Counts from the zero of the paddle.
    package var position: Int32
    /// The status word.
    package var bits: UInt32

    /// Reads the data of a status message; nil when they are too short.
    package init?(_ data: [UInt8], fields: NamedFields) {
        guard let mask = fields["mask"]?.number(in: data),
            let position = fields["position"]?.number(in: data),
            let bits = fields["bits"]?.number(in: data)
        else { return nil }
        self.mask = UInt16(truncatingIfNeeded: mask)
        self.position = Int32(truncatingIfNeeded: position)
        self.bits = UInt32(truncatingIfNeeded: bits)
    }
}
