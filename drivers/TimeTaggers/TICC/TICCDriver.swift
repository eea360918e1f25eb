// TAPR TICC: two inputs, timestamps to 10 ps as lines of text, an Arduino Mega 2560 with a shield.
//
// Sources: github.com/TAPR/TICC at 94a0aa7, and at d317e41, dc4a645 and 1c563b8 for older firmware,
// TICC/TICC.ino, config.cpp, misc.cpp; the released .hex files of that repository, run under simavr.
//
// Deviations: the driver never writes to the board, whose settings are the operator's; it reads them
// from the banner and refuses those it can not use. Wrapped seconds are refused for firmware that
// holds tags back, because their number of wraps is then unknown.
//
// What it claims about completeness: the board tells nothing about pulses it has passed over, and one
// that follows another at the same input within `timing.busy_ms` may be among them. Tags that close
// together are marked as a possible loss of unknown size; a pulse so passed over that leaves no two
// close tags is a matter of dead time, and is not marked.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the TAPR TICC.
public actor TICCDriver: TimeTagger {
    let declared: DeviceProfile
    let candidates: [TICCDialect]
    let source: StreamSource
    let reactor: any Reactor
    /// Who the instrument is; firmware, serial number and profile are known after `open`.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    /// The length of a tick: the last decimal its firmware can print. After `open` it is that of the
    /// firmware found.
    public private(set) var tickPeriod: TickPeriod
    /// Two inputs.
    public let channelCount: Int
    /// It has no counters.
    public var counting: (any PulseCounting)? { nil }
    var session: TICCSession?
    private var isOpening = false

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// DTR is held low this long, so that the capacitor to the reset pin is charged again.
    private static let resetPulse = Duration.milliseconds(50)
    private static let readSlice = Duration.milliseconds(250)

    /// A driver of the board behind `source`.
    ///
    /// - Parameter siblings: the profiles of other firmware; the board decides among all.
    /// - Throws: `notSupported` when a profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, siblings: [DeviceProfile], source: StreamSource,
        isEmulated: Bool, reactor: any Reactor
    ) throws(DriverError) {
        declared = profile
        self.source = source
        self.reactor = reactor
        do throws(MissingProfileField) {
            var candidates = [try TICCDialect(profile)]
            for sibling in siblings { candidates.append(try TICCDialect(sibling)) }
            self.candidates = candidates
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        tickPeriod = candidates[0].tick
        channelCount = profile.channels.count
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: "",
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, which resets the board, waits about twelve seconds until it has started, and
    /// finds out by its banner what it is.
    ///
    /// - Throws: `wrongDevice` when no TICC answers or no profile covers its firmware; `wrongState`
    ///   when its settings can not be used; `deviceFault` when there is no reference.
    public func open() async throws(DriverError) {
        guard session == nil, !isOpening else { return }
        isOpening = true
        defer { isOpening = false }
        let stream: InstrumentStream
        do throws(ByteStreamError) { stream = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        do throws(DriverError) {
            try await reset(stream)
            session = try await boot(stream)
        } catch {
            health = .failed(error.description)
            await stream.bytes.close()
            throw error
        }
        health = .good
        reactor.start { await self.pump() }
    }

    /// Stops an acquisition and closes the port. The board goes on by itself.
    public func close() async {
        guard let session else { return }
        self.session = nil
        endRun(session, silence: nil)
        session.run?.blocks.finish(nil)
        session.run = nil
        session.isClosed = true
        await session.stream.bytes.close()
    }

    /// A falling edge of the reset line; the first one may already have come with the opening.
    private func reset(_ stream: InstrumentStream) async throws(DriverError) {
        guard let port = stream.port else { return }
        do throws(ByteStreamError) {
            try await port.setModemLines(dtr: false, rts: false)
            do { try await reactor.sleep(for: Self.resetPulse) } catch {
                throw ByteStreamError.usb(.cancelled)
            }
            try await port.discardBuffers()
            try await port.setModemLines(dtr: true, rts: true)
        } catch {
            throw DriverError(error, instrument: name, operation: "open")
        }
    }

    private func boot(_ stream: InstrumentStream) async throws(DriverError) -> TICCSession {
        var reader = TICCBannerReader(candidates: candidates)
        var splitter = TICCLineSplitter()
        let limit = candidates.map(\.bootLimit).max() ?? .seconds(30)
        let deadline = reactor.now + limit
        while reactor.now < deadline {
            let bytes: [UInt8]
            do throws(ByteStreamError) {
                bytes = try await stream.bytes.read(upTo: 4096, timeout: Self.readSlice)
            } catch .timedOut {
                continue
            } catch .lineError {
                continue  // A reset in the middle of a character; the banner has to be right.
            } catch {
                throw DriverError(error, instrument: name, operation: "open")
            }
            let lines = splitter.lines(bytes)
            for (index, line) in lines.enumerated() {
                let progress: TICCBannerReader.Progress
                do throws(TICCError) { progress = try reader.take(line) } catch {
                    throw error.driverError(instrument: name, operation: "open")
                }
                guard case .begun(let configuration) = progress, let dialect = reader.dialect
                else { continue }
                let session = TICCSession(
                    stream: stream, dialect: dialect, configuration: configuration,
                    splitter: splitter, began: reactor.now)
                adopt(dialect, configuration, stream)
                session.early = Array(lines[(index + 1)...])
                return session
            }
        }
        throw reader.failure.driverError(instrument: name, operation: "open")
    }

    private func adopt(
        _ dialect: TICCDialect, _ configuration: TICCConfiguration, _ stream: InstrumentStream
    ) {
        tickPeriod = dialect.tick
        identity.profile = dialect.profile.id
        identity.firmware = configuration.version
        identity.serial = configuration.serial
        if stream.bytes.isEmulated { identity.provenance = .emulated }
    }

    // MARK: State

    func openSession(_ operation: String) throws(DriverError) -> TICCSession {
        if let session { return session }
        throw TICCError.wrongState(expected: "an open instrument", found: "a closed one")
            .driverError(instrument: name, operation: operation)
    }

    /// Tells what the board has said since it was opened; it can not be asked.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let session = try openSession("self-test")
        let configuration = session.configuration
        let counts = session.linesOfChannel.map(String.init).joined(separator: " and ")
        return SelfTestReport(checks: [
            .init(name: "firmware", passed: true, detail: configuration.version),
            .init(name: "trigger edges", passed: true, detail: configuration.edges),
            .init(
                name: "times", passed: session.failure == nil,
                detail: session.failure?.found ?? "\(counts) tags since it was opened"),
        ])
    }
}

/// A board that has started, from opening to closing. Belongs to the driver actor.
final class TICCSession {
    let stream: InstrumentStream
    let dialect: TICCDialect
    let configuration: TICCConfiguration
    var splitter: TICCLineSplitter
    var clock: TICCClock
    /// Lines of data that came with the header.
    var early: [[UInt8]] = []
    var lastArrival: HostInstant
    var linesOfChannel = [0, 0]
    var unreadableInARow = 0
    var implausibleInARow = 0
    var run: TICCAcquisition?
    var failure: DriverError?
    var isClosed = false

    init(
        stream: InstrumentStream, dialect: TICCDialect, configuration: TICCConfiguration,
        splitter: TICCLineSplitter, began: HostInstant
    ) {
        self.stream = stream
        self.dialect = dialect
        self.configuration = configuration
        self.splitter = splitter
        clock = TICCClock(
            format: configuration.format, group: dialect.record.group, began: began)
        lastArrival = began
    }
}

/// A running acquisition of a TICC. Belongs to the driver actor.
final class TICCAcquisition {
    let blocks: BlockQueue
    let flushInterval: Duration
    var order: TICCTagOrder
    var nextDelivery: HostInstant
    var isStopping = false

    init(
        blocks: BlockQueue, order: TICCTagOrder, flushInterval: Duration,
        nextDelivery: HostInstant
    ) {
        self.blocks = blocks
        self.order = order
        self.flushInterval = flushInterval
        self.nextDelivery = nextDelivery
    }
}
