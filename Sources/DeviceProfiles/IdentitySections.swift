/// What an instrument is for.
public enum DeviceKind: String, CaseIterable, Hashable, Sendable {
    /// Measures arrival times.
    case timeTagger = "time_tagger"
    /// Turns the polarization of light.
    case polarizationController = "polarization_controller"
    /// Detects single photons.
    case singlePhotonDetector = "single_photon_detector"
    /// Shifts the optical phase.
    case phaseModulator = "phase_modulator"
    /// Shifts a gate in time.
    case delayGenerator = "delay_generator"
    /// Measures optical power.
    case powerMeter = "power_meter"
    /// Attenuates light.
    case attenuator
    /// Regulates a temperature.
    case temperatureController = "temperature_controller"
    /// Sets and reads voltages, such as the bias of a modulator.
    case analogIO = "analog_io"
    /// Adds digital lines to the host.
    case digitalIO = "digital_io"
}

/// How an instrument is attached to the host.
public enum DeviceTransport: String, CaseIterable, Hashable, Sendable {
    /// USB bulk endpoints with a language of its own.
    case usbVendor = "usb_vendor"
    /// A serial line behind an FTDI bridge.
    case usbFTDI = "usb_ftdi"
    /// A USB communications-class serial port.
    case usbCDCACM = "usb_cdc_acm"
    /// The USB test and measurement class.
    case usbTMC = "usb_tmc"
    /// Reports of the USB human interface class.
    case usbHID = "usb_hid"
    /// An RS-232 or logic-level serial line, behind whatever adapter the bench has. Such a device
    /// can not be recognised; the operator declares its port.
    case serialLine = "serial_line"
    /// Digital lines.
    case gpio
}

/// Which model a profile describes.
public struct DeviceIdentity: Hashable, Sendable {
    /// Stable identifier in lower case, unique among all profiles; also the name of the file.
    public let id: String
    /// The maker.
    public let vendor: String
    /// The model as the maker calls it.
    public let model: String
    /// What the instrument is for.
    public let kind: DeviceKind
    /// How it is attached.
    public let transport: DeviceTransport
}

/// A property of a USB device that a profile can be recognised by.
public enum USBMatchField: String, CaseIterable, Hashable, Sendable {
    /// `idVendor`.
    case vendorID = "vendor_id"
    /// `idProduct`.
    case productID = "product_id"
    /// `bcdDevice` within the range of the profile.
    case deviceRelease = "device_release"
    /// The manufacturer string.
    case manufacturer
    /// The product string.
    case product
    /// The serial number string.
    case serial
}

/// How a device presents itself on USB. Values that nobody has published are nil, never invented.
public struct USBIdentity: Sendable {
    /// `idVendor`.
    public let vendorID: UInt16?
    /// `idProduct`.
    public let productID: UInt16?
    /// The values of `bcdDevice` the profile covers.
    public let deviceRelease: ClosedRange<UInt16>?
    /// `bcdUSB`.
    public let usbRelease: UInt16?
    /// Class, subclass and protocol of the device descriptor.
    public let deviceClass: USBClass?
    /// Class, subclass and protocol of the interface that is used.
    public let interfaceClass: USBClass?
    /// The configuration that is used.
    public let configuration: USBConfiguration?
    /// `bInterfaceNumber` of the interface that is used.
    public let interface: Int
    /// `bAlternateSetting` to select before any transfer.
    public let alternateSetting: Int
    /// The endpoints by the name of their purpose.
    public let endpoints: NamedTable<Endpoint>
    /// The manufacturer string.
    public let manufacturer: TextPattern?
    /// The product string.
    public let product: TextPattern?
    /// The shape of serial numbers.
    public let serial: TextPattern?
    /// The properties that must all fit for the profile to apply; never empty.
    public let match: [USBMatchField]
    /// Whether these are the properties of a board that anything may be built from. They then prove
    /// nothing: the operator declares where the instrument is, and it identifies itself when opened.
    public let isGeneric: Bool
}

/// Class, subclass and protocol codes of a USB descriptor.
public struct USBClass: Hashable, Sendable {
    /// The class code.
    public let code: UInt8
    /// The subclass code.
    public let subclass: UInt8
    /// The protocol code.
    public let protocolCode: UInt8
}

/// The USB configuration a device is used in.
public struct USBConfiguration: Hashable, Sendable {
    /// `bConfigurationValue`.
    public let value: UInt8
    /// `bmAttributes`.
    public let attributes: UInt8
    /// Current drawn from the bus in milliamperes, 0 to 510.
    public let maxPowerMilliamperes: Int
}

/// The kind of transfer an endpoint carries.
public enum EndpointType: String, CaseIterable, Hashable, Sendable {
    /// Reliable, in order, no reserved bandwidth.
    case bulk
    /// Small, polled at an interval.
    case interrupt
}

/// One USB endpoint.
public struct Endpoint: Hashable, Sendable {
    /// `bEndpointAddress`; bit 7 set means device to host.
    public let address: UInt8
    /// The kind of transfer.
    public let type: EndpointType
    /// `wMaxPacketSize` at full speed in bytes.
    public let maxPacketFullSpeed: Int
    /// `wMaxPacketSize` at high speed in bytes; nil for devices that have no high speed.
    public let maxPacketHighSpeed: Int?
    /// Whether data flow from the device to the host.
    public var isIn: Bool { address & 0x80 != 0 }
}

/// A device before its firmware is loaded.
public struct ColdBoot: Hashable, Sendable {
    /// `idVendor` of the bare chip.
    public let vendorID: UInt16
    /// `idProduct` of the bare chip.
    public let productID: UInt16
    /// `bRequest` of the vendor control transfer that writes its memory.
    public let loadRequest: UInt8
    /// The address of the register that holds the processor in reset.
    public let controlRegister: UInt16
    /// The addresses the load request can write, in ascending order; empty when they are not known.
    public let memory: [ClosedRange<UInt16>]

    /// Whether `count` bytes from `address` on lie in memory that can be loaded.
    public func canLoad(_ count: Int, at address: UInt16) -> Bool {
        memory.contains {
            $0.contains(address) && Int(address) + count <= Int($0.upperBound) + 1
        }
    }
}

/// How the host sees the serial port of a device.
public enum SerialBridge: String, CaseIterable, Hashable, Sendable {
    /// An FTDI FT232 or FT-X converter.
    case ftdi
    /// The communications class, no converter chip of its own.
    case cdcACM = "cdc_acm"
    /// Any adapter; which one is not a fact about the model.
    case any
}

/// Parity of serial characters.
public enum Parity: String, CaseIterable, Hashable, Sendable {
    /// No parity bit.
    case none
    /// An even number of ones.
    case even
    /// An odd number of ones.
    case odd
}

/// Flow control of a serial line.
public enum FlowControl: String, CaseIterable, Hashable, Sendable {
    /// None.
    case none
    /// The RTS and CTS lines.
    case rtsCTS = "rts_cts"
    /// In-band XON and XOFF characters.
    case xonXOFF = "xon_xoff"
}

/// Line settings of a serial port.
public struct SerialPortSettings: Hashable, Sendable {
    /// The bridge the port is behind.
    public let bridge: SerialBridge
    /// Bits per second.
    public let baud: Int
    /// Data bits per character, 5 to 8.
    public let dataBits: Int
    /// Parity of each character.
    public let parity: Parity
    /// Stop bits, 1 or 2.
    public let stopBits: Int
    /// Flow control.
    public let flowControl: FlowControl
    /// The time after which a bridge sends a short packet, 1 to 255 ms; nil where there is none.
    public let latencyTimerMilliseconds: Int?
}

/// How to ask a device what it is.
public struct Identification: Sendable {
    /// The command of the dialect that asks.
    public let command: String
    /// What the text of the reply looks like; nil when the reply is decoded by `fields` alone.
    public let expect: TextPattern?
    /// Where the parts of a binary reply are.
    public let fields: NamedTable<DataField>
}

/// One value in a block of bytes.
public struct DataField: Hashable, Sendable {
    /// Offset of the first byte.
    public let offset: Int
    /// Length in bytes.
    public let bytes: Int
    /// How the bytes are read.
    public let encoding: ValueEncoding
}

/// How a version number is found.
public enum VersionGrammar: String, CaseIterable, Hashable, Sendable {
    /// `bcdDevice`, as major and minor.
    case deviceRelease = "device_release"
    /// The `firmware_major`, `firmware_interim` and `firmware_minor` fields of the identification.
    case identificationFields = "identification_fields"
    /// A line that the device prints by itself when it starts: `version` among `dialect.lines`.
    case banner
    /// The device does not tell.
    case none
}

/// The firmware a profile is valid for.
public struct FirmwareRange: Sendable {
    /// How the version is found.
    public let grammar: VersionGrammar
    /// The first version covered; nil for no lower end.
    public let from: FirmwareVersion?
    /// The last version covered; nil for no upper end.
    public let through: FirmwareVersion?
    /// Versions in the range that must not be used, with the reason.
    public let knownBad: [(version: FirmwareVersion, reason: String)]

    /// Whether the profile covers `version`.
    public func contains(_ version: FirmwareVersion) -> Bool {
        if let from, version < from { return false }
        if let through, through < version { return false }
        return true
    }
    /// Why `version` must not be used although it is in the range; nil when it may be used.
    public func reasonAgainst(_ version: FirmwareVersion) -> String? {
        knownBad.first { $0.version == version }?.reason
    }
    /// Whether some version is in both ranges.
    public func overlaps(_ other: FirmwareRange) -> Bool {
        if let from, let end = other.through, end < from { return false }
        if let through, let start = other.from, through < start { return false }
        return true
    }
}

/// What an emulated device shows where the real value is unknown or differs from unit to unit.
/// A driver never reads this.
public struct EmulationIdentity: Hashable, Sendable {
    /// `idVendor`, when the real one is unknown.
    public let vendorID: UInt16?
    /// `idProduct`, when the real one is unknown.
    public let productID: UInt16?
    /// `bcdDevice`.
    public let deviceRelease: UInt16?
    /// The manufacturer string.
    public let manufacturer: String?
    /// The product string.
    public let product: String?
    /// The serial number string.
    public let serial: String?
    /// The reply to the identification command.
    public let identityReply: String?
    /// The firmware version reported.
    public let firmware: FirmwareVersion?
}
