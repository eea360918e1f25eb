// S-Fifteen Instruments TDC1: four inputs, 2 ns, text commands and a binary stream over a
// communications-class serial port, a device node, or TCP.
//
// Sources: github.com/s-fifteen-instruments/pyS15 at ba5faee, S15lib/instruments/usb_counter_fpga.py
// and serial_connection.py; readevents4a.c of the usbcntfpga distribution, C. Kurtsiefer 2016-2018.
//
// Deviations: the status with the overflow bit can not be read while the stream runs, because its
// reply would fall between event words; an overflow is therefore known only at the end of an
// acquisition, and then all of it is marked.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the S-Fifteen TDC1.
public actor TDC1Driver: TimeTagger, PulseCounting {
    let profile: DeviceProfile
    let source: StreamSource
    let reactor: any Reactor
    let format: TDC1WordFormat
    let turns = TurnQueue()
    /// Who the instrument is; the serial number comes from its port.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    var stream: InstrumentStream?
    var link: TextLink?
    var run: TDC1Acquisition?

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The length of a tick: 2 ns.
    public let tickPeriod: TickPeriod
    /// Four inputs.
    public let channelCount: Int
    /// The instrument's own gated counter.
    public var counting: (any PulseCounting)? { self }

    static let quiet = Duration.milliseconds(100)
    /// The content of the FIFO and of the USB buffers has arrived long before.
    static let longestDrain = Duration.seconds(2)
    /// How often a stream that goes on is told to stop.
    static let abortAttempts = 3
    static let silenceLimit = Duration.seconds(1)
    static let maxSkipped = 4096

    /// A driver of the instrument behind `source`.
    ///
    /// - Parameter serial: the serial number known from the port; empty if unknown.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        do throws(MissingProfileField) {
            format = try TDC1WordFormat(profile)
            tickPeriod = try profile.requireTimeBase().tick
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        channelCount = profile.channels.count
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, checks the identification and resets the instrument.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        let link = TextLink(opened, reactor: reactor, instrument: name)
        stream = opened
        self.link = link
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        do throws(DriverError) {
            // An acquisition that somebody left running must end before a reply can be read.
            try await send("abort", operation: "open")
            _ = try await link.drain(
                quiet: Self.quiet, longest: Self.longestDrain, operation: "open")
            let reply = try await ask("identify", operation: "open")
            guard profile.identification?.expect?.matches(reply) ?? true else {
                throw TDC1Error.wrongIdentity(found: reply)
                    .driverError(instrument: name, operation: "open")
            }
            try await perform("initialize", operation: "open")
            health = .good
        } catch {
            stream = nil
            self.link = nil
            await opened.bytes.close()
            throw error
        }
    }

    /// Stops an acquisition and closes the port.
    public func close() async {
        guard let stream else { return }
        try? await stop()
        self.stream = nil
        link = nil
        await stream.bytes.close()
    }

    /// Asks for the status and the settings.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        try requireIdle("self-test")
        return try await turns.turn { () async throws(DriverError) -> SelfTestReport in
            let identification = try await ask("identify", operation: "self-test")
            let level = try await ask("level", operation: "self-test")
            let status = try await readStatus(operation: "self-test")
            return SelfTestReport(checks: [
                .init(name: "identification", passed: true, detail: identification),
                .init(name: "input level", passed: true, detail: level),
                .init(
                    name: "event FIFO", passed: !hasOverflow(status),
                    detail: "status 0x" + String(status, radix: 16)),
            ])
        }
    }

    // MARK: Commands

    func required<Value>(
        _ read: () throws(MissingProfileField) -> Value
    ) throws(DriverError) -> Value {
        do throws(MissingProfileField) { return try read() } catch {
            throw DriverError(error, instrument: name, operation: "read the profile")
        }
    }

    func openLink(_ operation: String) throws(DriverError) -> TextLink {
        if let link { return link }
        throw TDC1Error.wrongState(expected: "an open instrument", found: "a closed one")
            .driverError(instrument: name, operation: operation)
    }

    func requireIdle(_ operation: String) throws(DriverError) {
        _ = try openLink(operation)
        guard run == nil else {
            throw TDC1Error.wrongState(expected: "no running acquisition", found: "one")
                .driverError(instrument: name, operation: operation)
        }
    }

    func send(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) {
        let entry = try required { () throws(MissingProfileField) in try profile.command(command) }
        let text: String
        do throws(CommandEncodingError) { text = try entry.text(values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let terminator = profile.dialect?.commandTerminator ?? "\r\n"
        try await openLink(operation).send(text + terminator, operation: operation)
    }

    var replyTimeout: Duration {
        .milliseconds(Int64((profile.dialect?.replyTimeoutMilliseconds ?? 200).rounded()))
    }

    func ask(
        _ command: String, timeout: Duration? = nil, operation: String
    ) async throws(DriverError) -> String {
        try await send(command, operation: operation)
        return try await openLink(operation).line(
            timeout: timeout ?? replyTimeout, operation: operation)
    }

    func readStatus(operation: String) async throws(DriverError) -> UInt16 {
        try await send("status", operation: operation)
        let count = profile.dialect?.commands["status"]?.reply.bytes ?? 7
        let reply = try await openLink(operation).bytes(
            count, timeout: replyTimeout, operation: operation)
        guard let status = TDC1Wire.status(reply) else {
            throw TDC1Error.unexpectedReply(
                expected: "four hexadecimal digits, a space and a line end", found: "\(reply)"
            ).driverError(instrument: name, operation: operation)
        }
        return status
    }

    func hasOverflow(_ status: UInt16) -> Bool {
        guard let bit = profile.dialect?.statusBits["fifo_overflow"] else { return false }
        return status >> UInt16(bit) & 1 == 1
    }

    func perform(_ sequence: String, operation: String) async throws(DriverError) {
        let steps = try required { () throws(MissingProfileField) in
            try profile.sequence(sequence)
        }
        for step in steps {
            switch step {
            case .command(let command, let values):
                try await send(command, values, operation: operation)
            case .wait(let milliseconds):
                try await pause(.nanoseconds(Int64(milliseconds * 1e6)), operation)
            case .startReading, .stopReading, .line: continue
            }
        }
    }

    func pause(_ duration: Duration, _ operation: String) async throws(DriverError) {
        do { try await reactor.sleep(for: duration) } catch {
            throw DriverError(.cancelled, instrument: name, operation: operation)
        }
    }

    // MARK: Counting

    /// Counts on every channel for `duration`, 1 to 65535 ms in whole milliseconds.
    ///
    /// - Throws: `outOfRange`, or `wrongState` while an acquisition runs.
    public func counts(for duration: Duration) async throws(DriverError) -> [UInt64] {
        let operation = "count"
        try requireIdle(operation)
        let milliseconds = (duration.inSeconds * 1000).rounded()
        guard profile.limits["gate_time"]?.allows(milliseconds) ?? (milliseconds >= 1) else {
            throw DriverError(
                code: .outOfRange, instrument: name, operation: operation,
                expected: "a gate time from 1 to 65535 ms", found: "\(milliseconds) ms",
                advice: "count several times and add up")
        }
        return try await turns.turn { () async throws(DriverError) -> [UInt64] in
            try await send("mode_singles", operation: operation)
            try await send("set_time", [milliseconds], operation: operation)
            let stored = try await ask("time", operation: operation)
            guard TDC1Wire.gateTime(stored) == Int(milliseconds) else {
                throw TDC1Error.unexpectedReply(
                    expected: "a gate time of \(Int(milliseconds)) ms", found: "\"\(stored)\""
                ).driverError(instrument: name, operation: operation)
            }
            let line = try await ask(
                "counts", timeout: duration + replyTimeout + .milliseconds(300),
                operation: operation)
            guard let counts = TDC1Wire.integers(line), counts.count == channelCount,
                counts.allSatisfy({ $0 >= 0 })
            else {
                throw TDC1Error.unexpectedReply(
                    expected: "\(channelCount) counts", found: "\"\(line)\""
                ).driverError(instrument: name, operation: operation)
            }
            return counts.map(UInt64.init)
        }
    }
}

/// The state of one running acquisition of a TDC1. Belongs to the driver actor.
final class TDC1Acquisition {
    let blocks: BlockQueue
    let flushInterval: Duration
    let ticksPerSecond: Double
    let pumpEnded: WakeUp
    var collector: TagCollector
    var decoder: TDC1StreamDecoder
    var watch: CounterWatch
    var lastArrival: HostInstant
    var isStopping = false
    var isPumping = false
    var failure: DriverError?

    /// A packet leaves with its last word; the rest is for the port's buffers and the host's scheduler.
    static let longestDelivery = Duration.milliseconds(50)

    init(
        blocks: BlockQueue, collector: TagCollector, decoder: TDC1StreamDecoder,
        flushInterval: Duration, reactor: any Reactor
    ) {
        self.blocks = blocks
        self.collector = collector
        self.decoder = decoder
        self.flushInterval = flushInterval
        ticksPerSecond = 1e12 / collector.tickPeriod.picoseconds
        watch = CounterWatch(
            tickPeriod: collector.tickPeriod, allowance: Self.longestDelivery, start: reactor.now)
        pumpEnded = WakeUp(on: reactor)
        lastArrival = reactor.now
    }
}
