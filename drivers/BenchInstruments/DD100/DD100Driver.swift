// OZ Optics DD-100-MC: a motor-driven attenuator with a calibration of its own, on a serial line.
//
// Sources: qmi 0.54.2, instruments/ozoptics/dd100mc.py with tests/instruments/ozoptics/
// test_dd100mc.py at e710508; pylablib 1.4.5, devices/OZOptics/base.py; github.com/COO-Utilities/
// ozoptics, dd100mc.py at 083469b (list of commands and errors of the manual).
//
// Deviations: attenuation is set in decibels only; the steps are reported by the self-test. The
// line has no check sum, so a reading counts once a second one agrees.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the DD-100-MC.
///
/// Its safe state is the greatest attenuation: less light harms no detector, and no key is made
/// from pulses that are too bright. It is set at open and at close. A unit that was just switched
/// on has to be homed first, and lets anything between none and all of the light through while that
/// lasts; keep a shutter closed.
public actor DD100Driver: Attenuator {
    private let profile: DeviceProfile
    private let source: StreamSource
    private let reactor: any Reactor
    private let terminator: String
    private let usualRange: ClosedRange<Decibels>
    private let turns = TurnQueue()
    /// Who the unit is; its serial number is the name of its wiring.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var exchange: TextExchange?
    private var unitRange: ClosedRange<Decibels>?

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// From the insertion loss to the greatest attenuation of the unit; before it was opened, the
    /// usual ones.
    public var attenuationRange: ClosedRange<Decibels> { unitRange ?? usualRange }

    /// How far from the setting the calibrated attenuation of the nearest step may be, in decibels.
    private static let tolerance = 0.5
    /// How far two readings in a row may be apart, in decibels.
    private static let steadiness = 0.011
    private static let mostReadings = 4

    /// A driver of the unit behind `source`.
    ///
    /// - Parameter serial: the name of the wiring, as the unit tells no serial number.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        do throws(MissingProfileField) {
            terminator = try profile.requireDialect().commandTerminator ?? "\r"
            let limit = try profile.limit("attenuation")
            usualRange = Decibels(limit.min ?? 0)...Decibels(limit.max ?? 0)
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, reads the range of the unit, homes it if it does not know where it is, which
    /// takes up to 40 s, and sets the greatest attenuation.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        stream = opened
        exchange = TextExchange(opened, reactor: reactor, instrument: name)
        do throws(DriverError) {
            let range = try await readRange(operation: "open")
            unitRange = range
            if try await readAttenuation(operation: "open") == .unknown {
                _ = try await ask("home", operation: "home")
            }
            _ = try await move(to: range.upperBound.rawValue, operation: "open")
            health = .good
        } catch {
            stream = nil
            exchange = nil
            await opened.bytes.close()
            throw error
        }
    }

    /// Insertion loss and greatest attenuation, as the unit was calibrated.
    private func readRange(operation: String) async throws(DriverError) -> ClosedRange<Decibels> {
        let lines = try await ask("configuration", with: "MAX ATTEN:", operation: operation)
        let shown = lines.joined(separator: " ")
        guard profile.identification?.expect?.matches(shown) ?? true,
            case .known(let low)? = DD100Wire.decibels("IL:", lines),
            case .known(let high)? = DD100Wire.decibels("MAX ATTEN:", lines)
        else { throw failure(.wrongIdentity(found: shown), operation) }
        guard low >= 0, low < high, high <= usualRange.upperBound.rawValue else {
            throw failure(
                .unexpected(
                    expected: "a range of attenuation up to \(usualRange.upperBound)",
                    found: "\(low) to \(high) dB"), operation)
        }
        return Decibels(low)...Decibels(high)
    }

    /// Sets the greatest attenuation and closes the port.
    public func close() async {
        guard let stream else { return }
        if let unitRange { _ = try? await setAttenuation(unitRange.upperBound) }
        self.stream = nil
        exchange = nil
        await stream.bytes.close()
    }

    /// Reads configuration, position and attenuation; the motor stays where it is.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        return try await turns.turn { () async throws(DriverError) -> SelfTestReport in
            let range = try await readRange(operation: operation)
            let lines = try await ask("status", operation: operation)
            let position = DD100Wire.position(lines)
            let found = try await readAttenuation(operation: operation)
            let isKnown: Bool
            if case .known = found { isKnown = true } else { isKnown = false }
            return SelfTestReport(checks: [
                .init(
                    name: "configuration", passed: range == unitRange,
                    detail: "\(range.lowerBound) to \(range.upperBound)"),
                .init(
                    name: "position", passed: position != nil && isKnown,
                    detail: position.map { "\($0) steps from home, \(found)" } ?? "unknown"),
            ])
        }
    }

    // MARK: Commands

    private func failure(_ error: DD100Error, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }

    /// Sends a command and returns the lines of its reply, one of which contains `label`.
    private func ask(
        _ command: String, _ values: [Double] = [], with label: String = "", operation: String
    ) async throws(DriverError) -> [String] {
        guard let exchange else { throw failure(.closed, operation) }
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let text: String
        do throws(CommandEncodingError) { text = try entry.text(values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let timeout =
            entry.timeoutMilliseconds ?? profile.dialect?.replyTimeoutMilliseconds ?? 5000
        let reply = try await exchange.exchange(
            text + terminator, timeout: .nanoseconds(Int64(timeout * 1e6)), operation: operation
        ) { DD100Wire.reply($0, to: text, with: label, isLast: $1) }
        switch reply {
        case .done(let lines): return lines
        case .refused(let text): throw failure(.refused(text, profile), operation)
        case .garbled:
            throw failure(
                .unexpected(expected: "lines of ASCII text", found: "other bytes"), operation)
        }
    }

    /// Reads until two readings in a row agree.
    private func readAttenuation(
        operation: String
    ) async throws(DriverError) -> DD100Wire.Quantity {
        var readings: [DD100Wire.Quantity] = []
        while readings.count < Self.mostReadings {
            let lines = try await ask("status", operation: operation)
            guard let reading = DD100Wire.decibels("ATTEN:", lines) else {
                throw failure(
                    .unexpected(
                        expected: "a line with the attenuation",
                        found: lines.joined(separator: " ")), operation)
            }
            if let last = readings.last, Self.agree(last, reading) { return reading }
            readings.append(reading)
        }
        throw failure(.unsteady("\(readings)"), operation)
    }

    private static func agree(_ left: DD100Wire.Quantity, _ right: DD100Wire.Quantity) -> Bool {
        if case .known(let first) = left, case .known(let second) = right {
            return abs(first - second) <= steadiness
        }
        return left == right
    }

    private func knownAttenuation(operation: String) async throws(DriverError) -> Double {
        guard case .known(let found) = try await readAttenuation(operation: operation) else {
            health = .failed("it was not homed since it started")
            throw failure(.notHomed, operation)
        }
        return found
    }

    /// Moves, and reads back where that led.
    private func move(to decibels: Double, operation: String) async throws(DriverError) -> Double {
        let lines = try await ask("set_attenuation", [decibels], operation: operation)
        guard DD100Wire.position(lines) != nil else {
            throw failure(
                .unexpected(
                    expected: "the position of the motor", found: lines.joined(separator: " ")),
                operation)
        }
        let found = try await knownAttenuation(operation: operation)
        guard abs(found - decibels) <= Self.tolerance else {
            health = .failed("the motor does not get where it is sent")
            throw failure(
                .notReached(wanted: "\(decibels) dB", found: "\(found) dB"), operation)
        }
        health = .good
        return found
    }

    // MARK: Attenuation

    /// Sets the attenuation, rounded to 0.01 dB, and waits until the motor is there.
    ///
    /// - Throws: `outOfRange` before a byte is sent; `deviceFault` when the motor does not get
    ///   there.
    public func setAttenuation(_ attenuation: Decibels) async throws(DriverError) -> Decibels {
        let operation = "set attenuation"
        guard exchange != nil else { throw failure(.closed, operation) }
        let range = attenuationRange
        // Not-a-number is in no range.
        guard range.contains(attenuation) else {
            throw failure(
                .outOfRange(
                    value: "\(attenuation)", range: "\(range.lowerBound) to \(range.upperBound)"),
                operation)
        }
        let rounded = (attenuation.rawValue * 100).rounded() / 100
        let wanted = min(max(rounded, range.lowerBound.rawValue), range.upperBound.rawValue)
        return try await turns.turn { () async throws(DriverError) -> Decibels in
            Decibels(try await move(to: wanted, operation: operation))
        }
    }

    /// The present attenuation, by the calibration of the unit.
    ///
    /// - Throws: `deviceFault` when the unit restarted and does not know.
    public func attenuation() async throws(DriverError) -> Decibels {
        try await turns.turn { () async throws(DriverError) -> Decibels in
            Decibels(try await knownAttenuation(operation: "read attenuation"))
        }
    }
}
