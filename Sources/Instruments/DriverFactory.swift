import DeviceProfiles
import HostIO
import LinkTypes
import Quantities

/// The ports a program has to its host, real or emulated. A missing port means that nothing is looked
/// for there.
public struct HostPorts: Sendable {
    /// USB devices.
    public var usb: (any USBHost)?
    /// Serial ports owned by kernel drivers.
    public var serial: (any SerialHost)?
    /// GPIO chips.
    public var gpio: (any GPIOHost)?
    /// The thread of all drivers.
    public var reactor: any Reactor
    /// The ports of one host.
    public init(
        usb: (any USBHost)? = nil, serial: (any SerialHost)? = nil, gpio: (any GPIOHost)? = nil,
        reactor: any Reactor
    ) {
        self.usb = usb
        self.serial = serial
        self.gpio = gpio
        self.reactor = reactor
    }
}

/// An instrument without a bus, declared by the lines it is wired to.
public struct GPIOWiring: Hashable, Sendable {
    /// The name that tells it from its like, such as `detector-h`.
    public var name: String
    /// The identifier of its profile.
    public var profile: String
    /// Which line plays which part.
    public var lines: LineAssignment
    /// A declaration.
    public init(name: String, profile: String, lines: LineAssignment) {
        self.name = name
        self.profile = profile
        self.lines = lines
    }
}

/// Where an instrument on a serial line is, as the operator declares it.
public enum SerialLineLocation: Hashable, Sendable, CustomStringConvertible {
    /// A device node.
    case path(String)
    /// The USB serial adapter with this serial number, driven without a kernel driver or by one.
    case adapter(serial: String)

    /// The location as text.
    public var description: String {
        switch self {
        case .path(let path): path
        case .adapter(let serial): "adapter \(serial)"
        }
    }
}

/// Instruments on a serial line that can not be recognised, declared by the port they are on.
public struct SerialWiring: Hashable, Sendable {
    /// The name that tells it from its like, such as `squeezer-bob`; stands for a serial number.
    public var name: String
    /// The identifier of its profile.
    public var profile: String
    /// The port.
    public var location: SerialLineLocation
    /// The addresses on a line that several units share, in the order the light passes them; empty
    /// for a line with one unit.
    public var addresses: [UInt8]
    /// A declaration.
    public init(
        name: String, profile: String, location: SerialLineLocation, addresses: [UInt8] = []
    ) {
        self.name = name
        self.profile = profile
        self.location = location
        self.addresses = addresses
    }
}

/// What can not be found out by looking: the wiring of a bench, as the operator declares it.
public struct BenchWiring: Hashable, Sendable {
    /// Instruments wired to GPIO lines.
    public var lines: [GPIOWiring]
    /// Instruments on serial lines.
    public var serial: [SerialWiring]
    /// A wiring.
    public init(lines: [GPIOWiring] = [], serial: [SerialWiring] = []) {
        self.lines = lines
        self.serial = serial
    }
}

/// Where a device is attached.
public enum DeviceAddress: Hashable, Sendable, CustomStringConvertible {
    /// On USB, driven without a kernel driver.
    case usb(USBDeviceID)
    /// A serial port with a device node.
    case serialPort(path: String)
    /// Wired to GPIO lines, by the name of its wiring.
    case wired(name: String)
    /// On a serial line, by the name of its wiring.
    case serialLine(name: String)

    /// The address as a short text that is unique on one host.
    public var description: String {
        switch self {
        case .usb(let id): "usb:\(id)"
        case .serialPort(let path): "serial:\(path)"
        case .wired(let name): "gpio:\(name)"
        case .serialLine(let name): "line:\(name)"
        }
    }
}

/// A device that was found.
public struct DiscoveredDevice: Hashable, Sendable {
    /// Where it is.
    public var address: DeviceAddress
    /// The profile that fits; nil when none or several do.
    public var profile: String?
    /// The maker, by profile or descriptor.
    public var vendor: String
    /// The model, by profile or descriptor.
    public var model: String
    /// The serial number, when it can be read without opening.
    public var serial: String
    /// The firmware, when it can be known without opening.
    public var firmware: String
    /// Whether it is a model of a device.
    public var isEmulated: Bool
    /// Whether it can be used.
    public var availability: DeviceAvailability
    /// The descriptors of a USB device.
    public var usb: USBDeviceSummary?

    /// A device.
    public init(
        address: DeviceAddress, profile: String?, vendor: String, model: String, serial: String,
        firmware: String, isEmulated: Bool, availability: DeviceAvailability,
        usb: USBDeviceSummary? = nil
    ) {
        self.address = address
        self.profile = profile
        self.vendor = vendor
        self.model = model
        self.serial = serial
        self.firmware = firmware
        self.isEmulated = isEmulated
        self.availability = availability
        self.usb = usb
    }

    /// Whether it is the instrument that the operator declared so.
    func isDeclared(_ wiring: SerialWiring) -> Bool { address == .serialLine(name: wiring.name) }
}

/// An instrument by what it can do; made, not yet open.
public enum OpenableInstrument: Sendable {
    /// Stamps pulses with time.
    case timeTagger(any TimeTagger)
    /// Turns polarization.
    case polarizationController(any PolarizationController)
    /// Detects photons.
    case singlePhotonDetector(any SinglePhotonDetector)
    /// Shifts pulses in time.
    case delayGenerator(any DelayGenerator)
    /// Measures optical power.
    case powerMeter(any PowerMeter)
    /// Attenuates light.
    case attenuator(any Attenuator)
    /// Regulates a temperature.
    case temperatureController(any TemperatureController)
    /// Sets and reads voltages.
    case analogIO(any AnalogIO)
    /// Adds digital lines.
    case digitalIO(any DigitalLineAdapter)

    /// What every instrument has.
    public var instrument: any Instrument {
        switch self {
        case .timeTagger(let instrument): instrument
        case .polarizationController(let instrument): instrument
        case .singlePhotonDetector(let instrument): instrument
        case .delayGenerator(let instrument): instrument
        case .powerMeter(let instrument): instrument
        case .attenuator(let instrument): instrument
        case .temperatureController(let instrument): instrument
        case .analogIO(let instrument): instrument
        case .digitalIO(let instrument): instrument
        }
    }
    /// The time tagger, if it is one.
    public var timeTagger: (any TimeTagger)? {
        if case .timeTagger(let instrument) = self { instrument } else { nil }
    }
    /// The polarization controller, if it is one.
    public var polarizationController: (any PolarizationController)? {
        if case .polarizationController(let instrument) = self { instrument } else { nil }
    }
    /// The detector, if it is one.
    public var singlePhotonDetector: (any SinglePhotonDetector)? {
        if case .singlePhotonDetector(let instrument) = self { instrument } else { nil }
    }
}

/// Everything a driver may need to be made.
public struct DriverRequest: Sendable {
    /// How the driver reaches its device.
    public enum Attachment: Sendable {
        /// A USB device with a language of its own.
        case usb(any USBHost, USBDeviceSummary)
        /// A stream, whatever carries it, and the addresses of the units that share it, if any.
        case stream(StreamSource, addresses: [UInt8] = [])
        /// Digital lines.
        case lines(any GPIOHost, name: String, LineAssignment)
    }
    /// The facts about the model.
    public var profile: DeviceProfile
    /// How to reach the device.
    public var attachment: Attachment
    /// The serial number known from outside; empty if unknown.
    public var serial: String
    /// Whether the device is a model of one, as far as is known from outside.
    public var isEmulated: Bool
    /// The profiles of other firmware of the same model: an instrument that tells its version only
    /// after it was opened is driven by the one among these and `profile` that covers it.
    public var siblings: [DeviceProfile]
    /// The thread of all drivers.
    public var reactor: any Reactor
    /// A request.
    public init(
        profile: DeviceProfile, attachment: Attachment, serial: String, isEmulated: Bool,
        siblings: [DeviceProfile] = [], reactor: any Reactor
    ) {
        self.profile = profile
        self.attachment = attachment
        self.serial = serial
        self.isEmulated = isEmulated
        self.siblings = siblings
        self.reactor = reactor
    }

    /// The error of a driver that can not use this attachment.
    public func unusableAttachment(expected: String) -> DriverError {
        let found =
            switch attachment {
            case .usb: "a USB device"
            case .stream(let source, _): "the stream \(source.name)"
            case .lines: "GPIO lines"
            }
        return DriverError(
            code: .notSupported, instrument: profile.identity.model, operation: "make the driver",
            expected: expected, found: found, advice: "compare the profile's transport")
    }
}

/// Makes the drivers of one family of devices.
public protocol DriverFactory: Sendable {
    /// The family, for lists and messages.
    var family: String { get }
    /// Whether the driver understands devices described by such a profile.
    func drives(_ profile: DeviceProfile) -> Bool
    /// Makes a driver; nothing is opened.
    func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument
}
