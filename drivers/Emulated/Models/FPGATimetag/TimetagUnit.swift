import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The FPGA time tagger of the Goldner group, University of Massachusetts: a Cyclone FPGA behind a
/// Cypress FX2LP, with its firmware loaded. The bare chip before is a `FX2Chip`.
///
/// Follows the published Verilog (github.com/bgamari/timetag-fpga at 1ffb766) and 8051 firmware
/// (github.com/bgamari/timetag-fx2 at 7497617): descriptors with an endpoint that is illegal at high
/// speed and strings that nothing refers to, register commands whose successor is swallowed while a
/// reply waits, commands that jam until they are complete, a FIFO that only a loss flag tells about,
/// packets that leave when they are full and at no other time, and a length request that sends
/// what there is.
///
/// Not modelled: registers that do not exist answer zero here, which nobody has published; the few
/// bytes that the FPGA may write while the firmware changes the packet length.
public final class TimetagUnit: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    private let context: EmulationContext
    private let commandEndpoint: UInt8
    private let replyEndpoint: UInt8
    private let eventEndpoint: UInt8
    private let lengthRequest: UInt8
    private let discardRequest: UInt8
    private let clockRate: UInt32
    private let genuineVersion: UInt32
    private let replyBuffers: Int
    private var version: UInt32
    private var path: TimetagEventPath
    private var parser: RegisterParser
    /// Replies in the buffers of the endpoint, and the one that waits in the FPGA.
    private var replies: [[UInt8]] = []
    private var waitingReply: [UInt8]?
    private var commandsToIgnore = 0
    private var lastLook = (records: UInt32(0), time: Picoseconds(0))
    private var recordSpan = Picoseconds(10_000_000_000)

    /// A tagger with the cables `inputs`, run from `oscillator`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a tagger.
    public init(
        profile: DeviceProfile, context: EmulationContext, inputs: any TaggerInputs,
        oscillator: any LocalOscillator
    ) throws(MissingProfileField) {
        self.context = context
        commandEndpoint = try profile.endpoint("command").address
        replyEndpoint = try profile.endpoint("reply").address
        eventEndpoint = try profile.endpoint("events").address
        lengthRequest = UInt8(truncatingIfNeeded: try profile.constant("request_packet_length"))
        discardRequest = UInt8(truncatingIfNeeded: try profile.constant("request_discard"))
        clockRate = UInt32(truncatingIfNeeded: try profile.constant("clock_hz"))
        genuineVersion = UInt32(truncatingIfNeeded: try profile.constant("hardware_version"))
        version = genuineVersion
        replyBuffers = profile.integerQuirk("reply_packets") ?? 2
        parser = RegisterParser(
            start: UInt8(truncatingIfNeeded: try profile.constant("packet_start")))
        path = try TimetagEventPath(profile: profile, inputs: inputs, oscillator: oscillator)
        descriptors = try Self.descriptors(of: profile)
    }

    private static func descriptors(
        of profile: DeviceProfile
    ) throws(MissingProfileField) -> USBDescriptorSet {
        let usb = try profile.requireUSB()
        let endpoints = usb.endpoints.entries.map(\.value)
        var set = try USBDescriptorSet(
            profile: profile, serial: "", highSpeed: true,
            interfaces: { speed in
                [
                    USBInterface(
                        number: 0, alternate: 0, classTriple: [0xFF, 0xFF, 0xFF],
                        endpoints: endpoints.map { $0.usbEndpoint(at: speed) })
                ]
            })
        let strings =
            [USBDescriptorSet.languages(0x0409)]
            + ["Hi", "There", "iFace"].map(USBDescriptorSet.string)
        func stripped(_ variant: USBDescriptorSet.Variant) -> USBDescriptorSet.Variant {
            var variant = variant
            for index in 14...16 { variant.device[index] = 0 }
            variant.strings = strings
            return variant
        }
        set.full = stripped(set.full)
        set.high = set.high.map(stripped)
        return set
    }

    /// Records that reached the FIFO and records that found it full, since they were last reset.
    public var tally: (records: UInt32, lost: UInt32) { (path.recordCount, path.lostCount) }
    /// The levels of the pattern outputs.
    public var outputs: UInt8 { UInt8(truncatingIfNeeded: path.sequencer.outputs) }
    /// Bytes at which a packet of records is complete.
    public var packetLength: Int { path.packets.packetLength }

    private func powerUp(at now: HostInstant) {
        path.powerUp(at: context.benchTime(at: now))
        parser = RegisterParser(start: parser.start)
        replies = []
        waitingReply = nil
        commandsToIgnore = 0
        version = genuineVersion
    }

    /// FPGA and FX2 chip start anew.
    public func powerLost(at now: HostInstant) { powerUp(at: now) }

    // MARK: - Bus

    /// A bus reset changes the descriptors that are shown and nothing else.
    public func busReset(speed: USBSpeed, at now: HostInstant) {}

    /// There is one setting.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}

    /// The firmware looks at the number of the request and not at its type.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        advance(to: now)
        switch request.request {
        case lengthRequest:
            path.withPackets { $0.setLength(Int(request.value & 0x7FF)) }
        case discardRequest:
            path.withPackets { $0.discard() }
        default: return .stall
        }
        return .done
    }

    /// Bytes for the register manager.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == commandEndpoint else { return .stall }
        advance(to: now)
        if commandsToIgnore > 0 {
            commandsToIgnore -= 1
            return .ack
        }
        // What arrives while a reply waits is swallowed, and the reply can not leave before the
        // packet is read to its end.
        for byte in packet where waitingReply == nil {
            if let command = parser.take(byte) { waitingReply = perform(command, at: now) }
        }
        passReply()
        return .ack
    }

    private func passReply() {
        guard let reply = waitingReply, replies.count < replyBuffers else { return }
        replies.append(reply)
        waitingReply = nil
    }

    /// A reply or a packet of records.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        switch endpoint {
        case replyEndpoint:
            guard let reply = replies.first else { return .nak }
            replies.removeFirst()
            passReply()
            buffer.copyBytes(from: reply)
            return .data(count: reply.count)
        case eventEndpoint:
            guard let count = path.withPackets({ $0.take(into: buffer) }) else { return .nak }
            return .data(count: count)
        // Listed, armed by nobody.
        default: return .nak
        }
    }

    // MARK: - Registers

    private func perform(_ command: RegisterParser.Command, at now: HostInstant) -> [UInt8] {
        if command.isWrite {
            write(command.value, to: command.address, at: context.benchTime(at: now))
        }
        let value = read(command.address)
        return (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
    }

    private func read(_ address: UInt16) -> UInt32 {
        switch address {
        case 1: return version
        case 2, 0x21: return clockRate
        case 3: return path.captureControl
        case 4: return path.strobeMask
        case 5: return path.deltaMask
        case 6: return path.recordCount
        case 7: return path.lostCount
        case 8: return path.isFIFOCleared ? 1 : 0
        case 0x20: return path.sequencer.control
        case 0x28..<0x48 where address & 7 < 4:
            let channel = path.sequencer.channels[Int(address - 0x28) / 8]
            switch address & 7 {
            case 0: return channel.configuration
            case 1: return channel.initialCount
            case 2: return channel.lowCount
            default: return channel.highCount
            }
        default: return 0
        }
    }

    private func write(_ value: UInt32, to address: UInt16, at time: Picoseconds) {
        switch address {
        case 3: path.setCaptureControl(value, at: time)
        case 4: path.setStrobeMask(value, at: time)
        case 5: path.setDeltaMask(value, at: time)
        case 6: path.resetRecordCount()
        case 7: path.resetLostCount()
        case 8: path.setFIFOControl(value, at: time)
        case 0x20: path.changeSequencer(at: time) { $0.setControl(value) }
        case 0x28..<0x48 where address & 7 < 4:
            path.changeSequencer(at: time) {
                $0.configure(Int(address - 0x28) / 8) { channel in
                    switch address & 7 {
                    case 0: channel.configuration = value
                    case 1: channel.initialCount = value
                    case 2: channel.lowCount = value
                    default: channel.highCount = value
                    }
                }
            }
        default: break
        }
    }

    // MARK: - Time

    /// Lets pulses arrive.
    public func advance(to now: HostInstant) {
        let time = context.benchTime(at: now)
        path.pull(through: time)
        let records = Int64(path.recordCount &- lastLook.records)
        let span = time - lastLook.time
        // A rate from a few records would be noise.
        guard span.rawValue >= 10_000_000_000 || (64...1 << 30).contains(records) else { return }
        recordSpan = Picoseconds(span.rawValue / max(1, min(records, 1 << 30)))
        lastLook = (path.recordCount, time)
    }

    /// While the host waits for records: after about a packet, at least once in 10 ms, at most once a
    /// microframe.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        let isWaiting = polled.contains(eventEndpoint)
        path.withPackets { $0.isHostWaiting = isWaiting }
        guard isWaiting, path.captureControl & 1 != 0 else { return nil }
        let records = Int64(max(1, path.packets.packetLength / 6))
        let wait = min(10_000_000_000, max(125_000_000, recordSpan.rawValue * records))
        return now + .nanoseconds(wait / 1000)
    }

    /// The faults of the tagger itself.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .byteSlip: path.withPackets { $0.slipPending = true }
        case .overflow:
            path.block(
                until: context.benchTime(at: now + (fault.duration ?? .milliseconds(1))))
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .wrongFirmware: version = genuineVersion + 1
        case .reboot: powerUp(at: now)
        default: return false
        }
        return true
    }
}
