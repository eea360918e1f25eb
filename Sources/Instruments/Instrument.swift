import HostIO
import LinkTypes
import Quantities

/// Who an instrument is, as it told us itself where it can.
public struct InstrumentIdentity: Hashable, Sendable {
    /// The maker.
    public var vendor: String
    /// The model.
    public var model: String
    /// The serial number; empty when the instrument has none.
    public var serial: String
    /// The firmware version; empty when the instrument does not tell.
    public var firmware: String
    /// The firmware profile in force.
    public var profile: String
    /// Whether it is a physical instrument or a model of one.
    public var provenance: Provenance

    /// An identity.
    public init(
        vendor: String, model: String, serial: String, firmware: String, profile: String,
        provenance: Provenance
    ) {
        self.vendor = vendor
        self.model = model
        self.serial = serial
        self.firmware = firmware
        self.profile = profile
        self.provenance = provenance
    }

    /// Model and serial number, as used in messages.
    public var shortName: String { serial.isEmpty ? model : "\(model) \(serial)" }
}

/// How an instrument is doing.
public enum InstrumentHealth: Hashable, Sendable {
    /// Nothing is wrong.
    case good
    /// It works, but something needs attention.
    case degraded(String)
    /// It must not be used.
    case failed(String)
}

/// The result of an instrument's self-test.
public struct SelfTestReport: Hashable, Sendable {
    /// One check of the test.
    public struct Check: Hashable, Sendable {
        /// What was checked.
        public var name: String
        /// Whether it passed.
        public var passed: Bool
        /// What was measured.
        public var detail: String
        /// A check.
        public init(name: String, passed: Bool, detail: String) {
            self.name = name
            self.passed = passed
            self.detail = detail
        }
    }
    /// The checks, in the order they ran.
    public var checks: [Check]
    /// Whether every check passed; `false` for an empty list.
    public var passed: Bool { !checks.isEmpty && checks.allSatisfy(\.passed) }
    /// A report of the given checks.
    public init(checks: [Check]) { self.checks = checks }
}

/// An instrument in our hands.
public protocol Instrument: Actor {
    /// Who it is; complete after `open`.
    var identity: InstrumentIdentity { get }
    /// How it is doing.
    var health: InstrumentHealth { get }
    /// Claims the instrument, checks that it is what the profile says, and brings it to a safe,
    /// known state.
    func open() async throws(DriverError)
    /// Brings it to a safe state and gives it back. May be called twice; never fails.
    func close() async
    /// Checks that it works, without disturbing what is connected to it.
    func selfTest() async throws(DriverError) -> SelfTestReport
}
