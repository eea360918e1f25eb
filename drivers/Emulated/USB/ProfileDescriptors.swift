import DeviceProfiles
import HostIO

extension Endpoint {
    /// The endpoint as it appears in the descriptors at `speed`.
    func usbEndpoint(at speed: USBSpeed) -> USBEndpoint {
        USBEndpoint(
            address: address, kind: type == .bulk ? .bulk : .interrupt,
            maxPacketSize: speed == .high
                ? maxPacketHighSpeed ?? maxPacketFullSpeed : maxPacketFullSpeed)
    }
}

extension USBDescriptorSet {
    /// Descriptors from the numbers and strings of a profile: what is known of the real device
    /// first, then what the profile lets an emulated one show instead.
    ///
    /// - Parameter interfaces: the alternate settings at each speed.
    /// - Throws: `MissingProfileField` when the profile states no numbers at all.
    init(
        profile: DeviceProfile, serial: String, highSpeed: Bool = false,
        functional: [UInt8: [UInt8]] = [:], deviceClass: [UInt8]? = nil,
        interruptInterval: UInt8 = 16, interfaces: (USBSpeed) -> [USBInterface]
    ) throws(MissingProfileField) {
        let usb = try profile.requireUSB()
        guard let vendorID = usb.vendorID ?? profile.emulation?.vendorID else {
            throw MissingProfileField(profile: profile.id, path: "emulation.vendor_id")
        }
        guard let productID = usb.productID ?? profile.emulation?.productID else {
            throw MissingProfileField(profile: profile.id, path: "emulation.product_id")
        }
        let release =
            profile.emulation?.deviceRelease ?? usb.deviceRelease?.lowerBound ?? 0x0100
        let triple =
            deviceClass ?? usb.deviceClass.map { [$0.code, $0.subclass, $0.protocolCode] }
            ?? [0, 0, 0]
        let device = USBDescriptorSet.device(
            DeviceNumbers(
                usbRelease: usb.usbRelease ?? 0x0200, classTriple: triple, vendorID: vendorID,
                productID: productID, deviceRelease: release),
            stringIndices: [1, 2, 3])
        let texts = [
            profile.emulation?.manufacturer ?? usb.manufacturer?.description
                ?? profile.identity.vendor,
            profile.emulation?.product ?? usb.product?.description ?? profile.identity.model,
            serial,
        ]
        let strings = [USBDescriptorSet.languages(0x0409)] + texts.map(USBDescriptorSet.string)
        func variant(_ speed: USBSpeed) -> Variant {
            Variant(
                device: device,
                configuration: USBDescriptorSet.configuration(
                    value: usb.configuration?.value ?? 1,
                    attributes: usb.configuration?.attributes ?? 0x80,
                    maxPowerMilliamperes: usb.configuration?.maxPowerMilliamperes ?? 100,
                    interfaces: interfaces(speed), functional: functional,
                    interruptInterval: interruptInterval),
                strings: strings)
        }
        self.init(full: variant(.full), high: highSpeed ? variant(.high) : nil)
    }
}

extension USBDescriptorSet {
    /// The descriptors of an FT232R serial adapter with its factory settings, for instruments whose
    /// serial line ends at whatever adapter the bench has (FT232R data sheet 2.16, section 8.1); or of
    /// the FTDI adapter that `emulation` shows, such as the one that the maker sells with the
    /// instrument.
    static func serialAdapter(
        serial: String, showing emulation: EmulationIdentity?, input: UInt8, output: UInt8
    ) -> USBDescriptorSet {
        let device = USBDescriptorSet.device(
            DeviceNumbers(
                usbRelease: 0x0200, classTriple: [0, 0, 0],
                vendorID: emulation?.vendorID ?? 0x0403,
                productID: emulation?.productID ?? 0x6001,
                deviceRelease: emulation?.deviceRelease ?? 0x0600),
            stringIndices: [1, 2, 3])
        let interface = USBInterface(
            number: 0, alternate: 0, classTriple: [0xFF, 0xFF, 0xFF],
            endpoints: [input, output].map {
                USBEndpoint(address: $0, kind: .bulk, maxPacketSize: 64)
            })
        return USBDescriptorSet(
            full: Variant(
                device: device,
                configuration: USBDescriptorSet.configuration(
                    value: 1, attributes: 0xA0, maxPowerMilliamperes: 90, interfaces: [interface],
                    functional: [:]),
                strings: [USBDescriptorSet.languages(0x0409)]
                    + [
                        emulation?.manufacturer ?? "FTDI",
                        emulation?.product ?? "FT232R USB UART", serial,
                    ].map(USBDescriptorSet.string)),
            high: nil)
    }
}
