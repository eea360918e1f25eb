// OZ Optics EPC-400 family: piezo-electric fibre squeezers, text over a serial line.
//
// Sources: PyPI pylablib 1.4.5, OZOptics/base.py, class EPC04 (rate, terminators, echo, endings);
// PyPI qmi 0.54.2, qmi/instruments/ozoptics/epc_driver.py (commands and ranges); the replies quoted in
// tests/instruments/ozoptics/test_epc_driver.py of github.com/QuTech-Delft/QMI at 847abfb.
//
// Deviations: opening and closing leave the voltages as they are, because a restart of the service
// must not disturb a link that is aligned; opening only ends scrambling. The controller can not be
// asked what it is, nor whether it restarted, so every readback is compared with what is known.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the OZ Optics EPC-400 and its siblings.
public actor EPCDriver: PolarizationController {
    let profile: DeviceProfile
    private let source: StreamSource
    let reactor: any Reactor
    private let wire: EPCWire
    private let turns = TurnQueue()
    /// Who the controller is, as the operator declared it; it can not be asked.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var link: TextLink?
    /// A conversation broke off; what is left of it must not be taken for the next reply.
    private var isOutOfStep = false
    /// The voltages as last read, in millivolts; nil where a command went astray.
    private var known: [Int?] = []
    /// Whether the operator has scrambling on.
    public internal(set) var isScrambling = false

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The squeezers, first the one the light passes first; range and step in volts.
    public let axes: [PolarizationAxis]
    private let millivoltsPerVolt: Double

    /// A reply that has more lines than this is no reply.
    private static let longestReply = 8
    /// Silence after which a broken conversation is over; four characters at 9600 baud.
    private static let quiet = Duration.milliseconds(50)

    /// A driver of the controller behind `source`.
    ///
    /// - Parameter serial: the name by which the operator declared it.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        let limit: Limit
        let scale: Double
        do throws(MissingProfileField) {
            wire = try EPCWire(profile)
            limit = try profile.limit("voltage")
            scale = try profile.scale("voltage").deviceValue(1)
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        millivoltsPerVolt = scale
        let axis = PolarizationAxis(
            kind: .variableRetarder, range: (limit.min ?? 0)...(limit.max ?? 0),
            resolution: limit.step ?? 1 / scale)
        axes = profile.channels.filter { $0.kind == .retarder }.map { _ in axis }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, ends scrambling if it is on, and reads the voltages, which stay as they are.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let operation = "open"
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        stream = opened
        link = TextLink(opened, reactor: reactor, instrument: name)
        // Whoever used the line before may have left half a command or half a reply on it.
        isOutOfStep = true
        do throws(DriverError) {
            if try await mode(operation) == .scrambling {
                for case .command(let command, let values) in profile.sequences["initialize"] ?? []
                {
                    _ = try await exchange(command, values, operation: operation)
                }
                guard try await mode(operation) == .constant else {
                    throw failure(.scrambles, operation)
                }
            }
            known = []
            _ = try await readVoltages(operation)
            isScrambling = false
            health = .good
        } catch {
            stream = nil
            link = nil
            await opened.bytes.close()
            throw error
        }
    }

    /// Closes the port; the voltages stay as they are, and so does scrambling.
    public func close() async {
        guard let stream else { return }
        self.stream = nil
        link = nil
        await stream.bytes.close()
    }

    /// Asks for mode and voltages; nothing changes.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let mode = try await mode(operation)
        let isAsTold = (mode == .scrambling) == isScrambling
        let voltages = try await readVoltages(operation)
        return SelfTestReport(checks: [
            .init(
                name: "mode", passed: isAsTold,
                detail: mode == .scrambling ? "scrambling" : "constant voltages"),
            .init(
                name: "voltages", passed: true,
                detail: voltages.map { "\($0)" }.joined(separator: ", ") + " mV"),
        ])
    }

    // MARK: Conversation

    func failure(_ error: EPCError, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }

    func openLink(_ operation: String) throws(DriverError) -> TextLink {
        if let link { return link }
        throw failure(.closed, operation)
    }

    /// Sends a command and returns what the controller says before the completion line.
    func exchange(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> [String] {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let text: String
        do throws(CommandEncodingError) { text = try entry.text(values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let usual = profile.dialect?.replyTimeoutMilliseconds ?? 1000
        let milliseconds = entry.timeoutMilliseconds ?? usual
        let timeout = Duration.nanoseconds(Int64(milliseconds * 1e6))
        return try await turns.turn { () async throws(DriverError) -> [String] in
            do throws(DriverError) {
                return try await converse(text, timeout: timeout, operation: operation)
            } catch {
                isOutOfStep = error.code != .deviceFault
                throw error
            }
        }
    }

    private func converse(
        _ text: String, timeout: Duration, operation: String
    ) async throws(DriverError) -> [String] {
        let link = try openLink(operation)
        if isOutOfStep {
            // An empty command ends half a command that may wait in the controller.
            try await link.send(wire.terminator, operation: operation)
            _ = try await link.drain(
                quiet: Self.quiet, longest: timeout, operation: operation)
            isOutOfStep = false
        }
        try await link.send(text + wire.terminator, operation: operation)
        let deadline = reactor.now + timeout
        var content: [String] = []
        for number in 0..<Self.longestReply {
            let line = try await link.line(
                timeout: max(deadline - reactor.now, .nanoseconds(1)), operation: operation)
            switch wire.line(line, after: text, isFirst: number == 0) {
            case .echo: continue
            case .content(let text): content.append(text)
            case .completion: return content
            case .refusal: throw failure(.refused(command: text), operation)
            }
        }
        throw failure(
            .unexpectedReply(command: text, found: content.last ?? "an endless reply"), operation)
    }

    private func mode(_ operation: String) async throws(DriverError) -> EPCWire.Mode {
        let reply = try await exchange("mode", operation: operation)
        guard reply.count == 1, let mode = EPCWire.mode(reply[0]) else {
            throw failure(
                .unexpectedReply(command: "M?", found: reply.joined(separator: "; ")), operation)
        }
        return mode
    }

    // MARK: Voltages

    /// Reads all voltages, in millivolts, and compares those that were known.
    private func readVoltages(_ operation: String) async throws(DriverError) -> [Int] {
        let reply = try await exchange("voltages", operation: operation)
        guard reply.count == 1,
            let found = EPCWire.channelValues(reply[0], count: axes.count)
        else {
            throw failure(
                .unexpectedReply(command: "V?", found: reply.joined(separator: "; ")), operation)
        }
        let before = known
        known = found
        for (axis, known) in before.enumerated() {
            guard let known, known != found[axis] else { continue }
            throw failure(
                .changedByItself(axis: axis, known: known, found: found[axis]), operation)
        }
        return found
    }

    private func millivolts(
        for setting: ActuatorSetting, axis: Int, operation: String
    ) throws(DriverError) -> Int {
        guard axes.indices.contains(axis) else {
            throw failure(.noAxis(axis, count: axes.count), operation)
        }
        guard case .voltage(let voltage) = setting else { throw failure(.notAVoltage, operation) }
        let range = axes[axis].range
        guard range.contains(voltage.rawValue) else {
            throw failure(
                .outOfRange(
                    quantity: "volts", value: voltage.rawValue, low: range.lowerBound,
                    high: range.upperBound), operation)
        }
        return Int((voltage.rawValue * millivoltsPerVolt).rounded())
    }

    private func volts(_ millivolts: Int) -> ActuatorSetting {
        .voltage(Volts(Double(millivolts) / millivoltsPerVolt))
    }

    /// Sets one squeezer.
    ///
    /// - Throws: `outOfRange` before anything is sent; `deviceFault` when the controller refuses,
    ///   reads back another voltage, or has changed another one.
    public func move(
        _ axis: Int, to setting: ActuatorSetting
    ) async throws(DriverError) -> MotionReport {
        let reports = try await move([axis: setting])
        return reports[0]
    }

    /// Sets several squeezers one after the other, and reads all back once.
    public func move(
        _ settings: [Int: ActuatorSetting]
    ) async throws(DriverError) -> [MotionReport] {
        let operation = "move"
        _ = try openLink(operation)
        guard !isScrambling else { throw failure(.scrambling, operation) }
        var targets: [(axis: Int, setting: ActuatorSetting, millivolts: Int)] = []
        for (axis, setting) in settings.sorted(by: { $0.key < $1.key }) {
            targets.append(
                (axis, setting, try millivolts(for: setting, axis: axis, operation: operation)))
        }
        var started: [HostInstant] = []
        for target in targets {
            started.append(reactor.now)
            try await set(target.axis, target.millivolts, operation: operation)
        }
        let found = try await readVoltages(operation)
        let finished = reactor.now
        return zip(targets, started).map { target, start in
            MotionReport(
                axis: target.axis, requested: target.setting, reached: volts(found[target.axis]),
                started: start, finished: finished)
        }
    }

    private func set(_ axis: Int, _ millivolts: Int, operation: String) async throws(DriverError) {
        // Until the controller has confirmed, either voltage may be the present one.
        known[axis] = nil
        let reply = try await exchange(
            "set_voltage", [Double(axis + 1), Double(millivolts)], operation: operation)
        guard reply.count == 1, let confirmed = EPCWire.confirmation(reply[0]),
            confirmed.channel == axis + 1
        else {
            throw failure(
                .unexpectedReply(
                    command: "V\(axis + 1)", found: reply.joined(separator: "; ")), operation)
        }
        guard confirmed.value == millivolts else {
            throw failure(
                .notTaken(axis: axis, wanted: millivolts, found: confirmed.value), operation)
        }
        known[axis] = millivolts
    }

    /// Does nothing but check that the controller is open: a squeezer stands where it was set.
    public func halt() async throws(DriverError) { _ = try openLink("halt") }

    /// The voltages as the controller reports them.
    ///
    /// - Throws: `deviceFault` when one has changed by itself, or the controller scrambles without
    ///   having been told to.
    public func settings() async throws(DriverError) -> [ActuatorSetting] {
        let operation = "settings"
        let mode = try await mode(operation)
        if mode == .scrambling, !isScrambling { throw failure(.scrambles, operation) }
        return try await readVoltages(operation).map(volts)
    }
}
