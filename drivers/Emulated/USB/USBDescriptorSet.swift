import HostIO

/// The descriptors of a device, as bytes, for each speed it can run at.
public struct USBDescriptorSet: Hashable, Sendable {
    /// The descriptors shown at one speed.
    public struct Variant: Hashable, Sendable {
        /// The device descriptor.
        public var device: [UInt8]
        /// The configuration descriptor with all that belongs to it.
        public var configuration: [UInt8]
        /// String descriptors by index; index 0 lists the languages.
        public var strings: [[UInt8]]

        /// The descriptors shown at one speed.
        public init(device: [UInt8], configuration: [UInt8], strings: [[UInt8]]) {
            self.device = device
            self.configuration = configuration
            self.strings = strings
        }
    }

    /// A descriptor of an interface's class, asked for by GET_DESCRIPTOR to the interface.
    public struct ClassDescriptor: Hashable, Sendable {
        /// The interface it belongs to.
        public var interface: UInt8
        /// The descriptor type, such as 0x22 for the report descriptor of an HID interface.
        public var type: UInt8
        /// The descriptor itself.
        public var bytes: [UInt8]

        /// A descriptor of `interface`.
        public init(interface: UInt8, type: UInt8, bytes: [UInt8]) {
            self.interface = interface
            self.type = type
            self.bytes = bytes
        }
    }

    /// What is shown at full speed.
    public var full: Variant
    /// What is shown at high speed; nil for full-speed devices.
    public var high: Variant?
    /// The descriptor type in the answer to a request for the other speed's configuration; 7 in a
    /// correct device.
    public var otherSpeedType: UInt8
    /// The descriptors of the classes of its interfaces, the same at every speed.
    public var classDescriptors: [ClassDescriptor] = []

    /// A set of descriptors.
    public init(full: Variant, high: Variant? = nil, otherSpeedType: UInt8 = 7) {
        self.full = full
        self.high = high
        self.otherSpeedType = otherSpeedType
    }

    /// What is shown at `speed`.
    public func variant(at speed: USBSpeed) -> Variant {
        speed == .full || speed == .low ? full : high ?? full
    }

    /// The answer to GET_DESCRIPTOR to `interface` with `value` as wValue, or nil for a stall.
    public func descriptor(value: UInt16, interface: UInt8) -> [UInt8]? {
        guard value & 0xFF == 0 else { return nil }
        return classDescriptors.first {
            $0.interface == interface && UInt16($0.type) == value >> 8
        }?.bytes
    }

    /// The answer to GET_DESCRIPTOR with `value` as wValue at `speed`, or nil for a stall.
    public func descriptor(value: UInt16, speed: USBSpeed) -> [UInt8]? {
        let index = Int(value & 0xFF)
        let shown = variant(at: speed)
        switch value >> 8 {
        case 1 where index == 0: return shown.device
        case 2 where index == 0: return shown.configuration
        case 3: return index < shown.strings.count ? shown.strings[index] : nil
        case 6 where index == 0: return qualifier(for: speed)
        case 7 where index == 0:
            guard let high else { return nil }
            var other = speed == .high ? full.configuration : high.configuration
            other[1] = otherSpeedType
            return other
        default: return nil
        }
    }

    /// What the device would say of itself at the other speed (USB 2.0, table 9-9).
    private func qualifier(for speed: USBSpeed) -> [UInt8]? {
        guard let high else { return nil }
        let other = speed == .high ? full.device : high.device
        guard other.count == 18 else { return nil }
        return [10, 6] + other[2...7] + [other[17], 0]
    }
}

// MARK: - Writing and reading descriptors

extension USBDescriptorSet {
    /// The numbers of a device descriptor.
    public struct DeviceNumbers: Hashable, Sendable {
        /// bcdUSB.
        public var usbRelease: UInt16
        /// Class, subclass and protocol.
        public var classTriple: [UInt8]
        /// idVendor.
        public var vendorID: UInt16
        /// idProduct.
        public var productID: UInt16
        /// bcdDevice.
        public var deviceRelease: UInt16

        /// The numbers of a device descriptor.
        public init(
            usbRelease: UInt16, classTriple: [UInt8], vendorID: UInt16, productID: UInt16,
            deviceRelease: UInt16
        ) {
            self.usbRelease = usbRelease
            self.classTriple = classTriple
            self.vendorID = vendorID
            self.productID = productID
            self.deviceRelease = deviceRelease
        }
    }

    /// A device descriptor with one configuration (USB 2.0, table 9-8).
    public static func device(_ numbers: DeviceNumbers, stringIndices: [UInt8]) -> [UInt8] {
        precondition(numbers.classTriple.count == 3 && stringIndices.count == 3)
        return [18, 1] + bytes(numbers.usbRelease) + numbers.classTriple + [64]
            + bytes(numbers.vendorID) + bytes(numbers.productID) + bytes(numbers.deviceRelease)
            + stringIndices + [1]
    }

    /// A configuration descriptor with its interfaces and endpoints (USB 2.0, table 9-10).
    ///
    /// - Parameters:
    ///   - functional: class-specific descriptors to put behind an interface descriptor.
    ///   - interruptInterval: bInterval of interrupt endpoints: frames at full speed.
    public static func configuration(
        value: UInt8, attributes: UInt8, maxPowerMilliamperes: Int, interfaces: [USBInterface],
        functional: [UInt8: [UInt8]] = [:], interruptInterval: UInt8 = 16
    ) -> [UInt8] {
        var body: [UInt8] = []
        for interface in interfaces {
            body += [9, 4, interface.number, interface.alternate, UInt8(interface.endpoints.count)]
            body += interface.classTriple + [0]
            body += functional[interface.number] ?? []
            for endpoint in interface.endpoints {
                let interval: UInt8 = endpoint.kind == .interrupt ? interruptInterval : 0
                body += [7, 5, endpoint.address, endpoint.kind.rawValue]
                body += bytes(UInt16(endpoint.maxPacketSize)) + [interval]
            }
        }
        let numbers = Set(interfaces.map(\.number))
        return [9, 2] + bytes(UInt16(9 + body.count))
            + [UInt8(numbers.count), value, 0, attributes, UInt8(maxPowerMilliamperes / 2)] + body
    }

    /// A string descriptor in UTF-16.
    public static func string(_ text: String) -> [UInt8] {
        let units = Array(text.utf16.prefix(126))
        return [UInt8(2 + 2 * units.count), 3] + units.flatMap(bytes)
    }

    /// String descriptor 0 with one language.
    public static func languages(_ language: UInt16) -> [UInt8] { [4, 3] + bytes(language) }

    private static func bytes(_ value: UInt16) -> [UInt8] {
        [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
    }

    /// The alternate settings a configuration descriptor lists.
    public static func interfaces(in configuration: [UInt8]) -> [USBInterface] {
        var interfaces: [USBInterface] = []
        var rest = configuration[...]
        while let length = rest.first, length >= 2, Int(length) <= rest.count {
            let item = Array(rest.prefix(Int(length)))
            if item[1] == 4, item.count >= 9 {
                interfaces.append(
                    USBInterface(
                        number: item[2], alternate: item[3], classTriple: Array(item[5...7]),
                        endpoints: []))
            } else if item[1] == 5, item.count >= 7, !interfaces.isEmpty,
                let kind = USBEndpointKind(rawValue: item[3] & 3)
            {
                interfaces[interfaces.count - 1].endpoints.append(
                    USBEndpoint(
                        address: item[2], kind: kind,
                        maxPacketSize: Int(item[4]) | Int(item[5] & 7) << 8))
            }
            rest = rest.dropFirst(Int(length))
        }
        return interfaces
    }

    /// The text of a string descriptor, or nil when it is none.
    public static func text(of descriptor: [UInt8]) -> String? {
        guard descriptor.count >= 4, descriptor[1] == 3 else { return nil }
        let units = stride(from: 2, to: descriptor.count - 1, by: 2).map {
            UInt16(descriptor[$0]) | UInt16(descriptor[$0 + 1]) << 8
        }
        return String(decoding: units, as: UTF16.self)
    }
}
