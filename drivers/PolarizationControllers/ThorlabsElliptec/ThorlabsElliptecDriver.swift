// Thorlabs Elliptec modules that turn wave plates (ELL14) or fibre paddles (ELL3): one or several on a
// line of 9600 baud, told apart by an address.
//
// Sources: Thorlabs "ELLx modules protocol manual" Issue 10 (October 2025), sections 2.1, 3 to 5 and
// the messages named in the profiles; Thorlabs ELLO_DLL, ELLPaddlePolariser.cs and DeviceID.cs (paddles,
// scaling, time-outs); PyPI pylablib 1.4.5 elliptec.py (gap between commands, wait before a move, faults
// that are reported twice); PyPI thorlabs-elliptec 1.3.0 (units share a line by turns).
//
// Deviations and decisions: `open` homes rotators, because they do not know their angle after power-up
// and no command tells whether they were homed; paddles know theirs and are left alone. While a move
// runs nothing is said on the line but a stop and, when the answer is late, a question: two units
// that send at once garble each other. Nothing is ever saved in a module.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the Elliptec modules on one line; the axes are in the order of the declared addresses.
public actor ThorlabsElliptecDriver: PolarizationController {
    /// One module.
    struct Unit {
        var address: UInt8
        /// Empty until it has told.
        var serial = ""
        /// Counts for a degree, by the module's own reply once it has come.
        var countsPerDegree: Double
        /// Before this instant it gets no command to move.
        var restUntil = HostInstant.zero
    }

    /// The words for one axis of a module.
    struct AxisWords {
        var unit: Int
        /// The command that moves it and the one that asks where it stands.
        var move: String
        var query: String
        /// The message with its position.
        var message: String
    }

    let profile: DeviceProfile
    let source: StreamSource
    let reactor: any Reactor
    let wire: ElliptecWire
    let words: [AxisWords]
    let tolerance: Int
    let isPaddle: Bool
    let positionLimit: Limit
    var units: [Unit]
    let turns = TurnQueue()
    /// Counts the stops, so that a move notices one that came in between.
    var stopCount: UInt64 = 0
    var bus: ElliptecBus?

    /// Who the modules are; complete after `open`. Serial numbers are in the order of the addresses.
    public private(set) var identity: InstrumentIdentity
    private var lost: InstrumentHealth?
    /// The axes, first the one the light passes first; range and step in radians.
    public private(set) var axes: [PolarizationAxis]

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// A driver of the modules at `addresses` behind `source`.
    ///
    /// - Parameters:
    ///   - addresses: 0 to 15 each, in the order the light passes; empty for one module at the address
    ///     it has from the factory.
    ///   - serial: the serial number or name known from outside; empty if unknown.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs; `outOfRange` for
    ///   addresses that can not be.
    public init(
        profile: DeviceProfile, source: StreamSource, addresses: [UInt8], serial: String,
        isEmulated: Bool, reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        let model = profile.identity.model
        let present: [UInt8]
        let scale: Double
        do throws(MissingProfileField) {
            wire = try ElliptecWire(profile)
            tolerance = try profile.constant("position_tolerance")
            positionLimit = try profile.limit("position")
            scale = try profile.scale("position").deviceValue(1)
            let factory = UInt8(truncatingIfNeeded: try profile.constant("default_address"))
            present = addresses.isEmpty ? [factory] : addresses
        } catch { throw DriverError(error, instrument: model, operation: "read the profile") }
        guard present.allSatisfy({ $0 < 16 }), Set(present).count == present.count else {
            throw ElliptecError.badAddresses(present)
                .driverError(instrument: model, operation: "make the driver")
        }
        units = present.map { Unit(address: $0, countsPerDegree: scale) }
        let hasPaddles = profile.channels.contains { $0.kind == .paddle }
        isPaddle = hasPaddles
        let words = present.indices.flatMap { unit in
            profile.channels.indices.map { channel in
                hasPaddles
                    ? AxisWords(
                        unit: unit, move: "move_paddle_\(channel + 1)",
                        query: "paddle_\(channel + 1)", message: "paddle_\(channel + 1)")
                    : AxisWords(
                        unit: unit, move: "move_absolute", query: "position", message: "position")
            }
        }
        self.words = words
        let limit = positionLimit
        axes = words.map { _ in Self.axis(limit, scale: scale) }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: model, serial: serial, firmware: "",
            profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    /// The range of an axis with `scale` counts for a degree.
    private static func axis(_ limit: Limit, scale: Double) -> PolarizationAxis {
        func degrees(_ value: Double) -> Double {
            limit.unit == .counts ? value / scale : value
        }
        let low = Radians(degrees: degrees(limit.min ?? 0))
        let high = Radians(degrees: degrees(limit.max ?? 360))
        return PolarizationAxis(
            kind: .rotatablePlate, range: low.rawValue...high.rawValue,
            resolution: Radians(degrees: 1 / scale).rawValue)
    }

    var name: String { identity.shortName }

    /// How the modules are doing; one that was moved by hand is not where the program put it.
    public var health: InstrumentHealth {
        if let lost { return lost }
        let moved = bus?.movedByHand ?? []
        let names = units.map(\.address).filter(moved.contains)
        guard !names.isEmpty else { return .good }
        let list = names.map { String($0, radix: 16, uppercase: true) }.joined(separator: ", ")
        return .degraded("moved by the handset: address \(list)")
    }

    // MARK: Opening and closing

    /// Opens the line, finds every module at its address, checks type, firmware and scale, reads away
    /// old faults, and homes modules that do not know their angle.
    public func open() async throws(DriverError) {
        guard bus == nil else { return }
        let stream: InstrumentStream
        do throws(ByteStreamError) { stream = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if stream.bytes.isEmulated { identity.provenance = .emulated }
        let bus = ElliptecBus(
            stream, profile: profile, wire: wire, reactor: reactor, instrument: name)
        do throws(DriverError) {
            try await settle(stream)
            self.bus = bus
            lost = nil
            reactor.start { await self.read() }
            try await turns.turn { () async throws(DriverError) in try await initialize() }
        } catch {
            bus.end(error)
            self.bus = nil
            await stream.bytes.close()
            throw error
        }
    }

    /// The maker's order of bringing up the adapter: wait, empty the buffers, wait.
    private func settle(_ stream: InstrumentStream) async throws(DriverError) {
        guard let port = stream.port else { return }
        do throws(ByteStreamError) {
            try await pause("open_settle_ms")
            try await port.discardBuffers()
            try await pause("open_settle_ms")
            // The chip of an adapter passes bytes on once the port looks open.
            try await port.setModemLines(dtr: true, rts: true)
        } catch .notSupported {
            // A pseudo-terminal has no such lines.
        } catch { throw DriverError(error, instrument: name, operation: "open") }
    }

    private func pause(_ timing: String) async throws(ByteStreamError) {
        guard let milliseconds = profile.timing[timing] else { return }
        do { try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6))) } catch {
            throw .usb(.cancelled)
        }
    }

    private func initialize() async throws(DriverError) {
        let operation = "open"
        try await openBus(operation).clear(operation: operation)
        var firmware: [String] = []
        for index in units.indices {
            for case .command(let command, let values) in profile.sequences["initialize"] ?? [] {
                switch command {
                case "identify":
                    let version = try await identify(index, operation: operation)
                    if !firmware.contains(version) { firmware.append(version) }
                case "status": try await clearFaults(index, operation: operation)
                case "home": try await home(index, values, operation: operation)
                default:
                    _ = try await exchange(
                        command, values, unit: index, operation: operation)
                }
            }
        }
        identity.serial = units.map(\.serial).joined(separator: "/")
        identity.firmware = firmware.joined(separator: "/")
        axes = words.map {
            Self.axis(positionLimit, scale: units[$0.unit].countsPerDegree)
        }
    }

    /// Asks a module who it is and takes its scale. Returns the firmware.
    private func identify(_ index: Int, operation: String) async throws(DriverError) -> String {
        let found = try await information(index, operation: operation)
        try check(found, of: units[index].address, operation: operation)
        units[index].serial = found.serial
        units[index].countsPerDegree =
            isPaddle
            ? Double(found.pulses - 1) / Double(found.travel)
            : Double(found.pulses) / Double(found.travel)
        return found.firmware
    }

    func information(
        _ index: Int, operation: String
    ) async throws(DriverError) -> ElliptecInformation {
        let frame = try await exchange("identify", unit: index, operation: operation)
        guard let found = wire.information(in: frame.data) else {
            throw ElliptecError.garbled(
                address: units[index].address, command: "identify",
                text: String(decoding: frame.data, as: UTF8.self)
            ).driverError(instrument: name, operation: operation)
        }
        return found
    }

    private func check(
        _ found: ElliptecInformation, of address: UInt8, operation: String
    ) throws(DriverError) {
        let type: Int
        let pulses: Int
        do throws(MissingProfileField) {
            type = try profile.constant("module_type")
            pulses = try profile.constant("pulses")
        } catch { throw DriverError(error, instrument: name, operation: operation) }
        func refuse(_ error: ElliptecError) -> DriverError {
            error.driverError(instrument: name, operation: operation)
        }
        guard found.type == type else {
            throw refuse(
                .wrongModel(address: address, expected: profile.identity.model, type: found.type))
        }
        if let version = FirmwareVersion(found.firmware), !profile.firmware.contains(version) {
            throw refuse(.wrongFirmware(address: address, found: found.firmware))
        }
        let known = [pulses, profile.dialect?.constants["pulses_alternative"]].compactMap { $0 }
        guard known.contains(found.pulses) else {
            throw refuse(
                .wrongScale(
                    address: address,
                    expected: known.map { "\($0)" }.joined(separator: " or ") + " counts",
                    found: "\(found.pulses)"))
        }
        // A turn is 360 degrees whatever the module; the range of paddles is theirs to tell.
        let travel = isPaddle ? 1...360 : 360...360
        guard travel.contains(found.travel) else {
            throw refuse(
                .wrongScale(
                    address: address,
                    expected: "a travel of \(travel.lowerBound) to \(travel.upperBound) degrees",
                    found: "\(found.travel)"))
        }
    }

    /// Reads the status until it is clear: the first answer may be an old fault.
    private func clearFaults(_ index: Int, operation: String) async throws(DriverError) {
        let deadline = reactor.now + timeout(of: "move_absolute")
        var wasRead = false
        while true {
            let code = try await status(index, operation: operation)
            if code == 0 { return }
            if code == Self.busy {
                guard reactor.now < deadline else {
                    throw ElliptecError.stillMoving(address: units[index].address)
                        .driverError(instrument: name, operation: operation)
                }
                try await rest(Self.busyPause, operation: operation)
            } else if wasRead {
                throw moduleFault(code, index, operation: operation)
            } else {
                wasRead = true
            }
        }
    }

    /// Ends all motion and gives the line back; the axes stay where they are.
    public func close() async {
        guard let bus else { return }
        try? await halt()
        bus.end(ElliptecError.closed.driverError(instrument: name, operation: "close"))
        self.bus = nil
        await bus.stream.bytes.close()
    }

    func openBus(_ operation: String) throws(DriverError) -> ElliptecBus {
        if let bus { return bus }
        throw ElliptecError.closed.driverError(instrument: name, operation: operation)
    }

    private func read() async {
        guard let bus else { return }
        while await bus.readOnce() {}
        if let failure = bus.failure, failure.code != .wrongState, self.bus === bus {
            lost = .failed(failure.description)
        }
    }
}
