import DeviceProfiles
import HostIO
import Quantities

/// The drivers a program has, as a value: finds devices and makes their drivers.
public struct DriverRegistry: Sendable {
    /// The factories, in the order they are asked.
    public let factories: [any DriverFactory]

    /// Whether drivers are refused for devices about which the profile guesses.
    public var isCertified: Bool

    /// A registry of `factories`.
    public init(_ factories: [any DriverFactory], certified: Bool = false) {
        self.factories = factories
        isCertified = certified
    }

    /// The factory for devices of a profile, or nil.
    public func factory(for profile: DeviceProfile) -> (any DriverFactory)? {
        factories.first { $0.drives(profile) }
    }

    // MARK: Making

    /// The driver of a device that was found.
    ///
    /// - Throws: `wrongDevice` unless the device is ready and its profile is in `catalog`;
    ///   `notSupported` when no driver fits.
    public func make(
        _ device: DiscoveredDevice, catalog: ProfileCatalog, ports: HostPorts,
        wiring: BenchWiring = BenchWiring()
    ) throws(DriverError) -> OpenableInstrument {
        guard device.availability == .ready, let id = device.profile, let profile = catalog[id]
        else {
            throw DriverError(
                code: .wrongDevice, instrument: device.model, operation: "make the driver",
                expected: "a device that is ready",
                found: device.availability.reason ?? "a profile that is not in the catalogue",
                advice: device.availability.nextAction?.text ?? "look for devices again")
        }
        let attachment = try attachment(of: device, profile, ports, wiring)
        return try make(
            DriverRequest(
                profile: profile, attachment: attachment, serial: device.serial,
                isEmulated: device.isEmulated, siblings: catalog.siblings(of: profile),
                reactor: ports.reactor))
    }

    /// The driver of a device behind a stream that can not be found by looking: TCP, or a
    /// pseudo-terminal.
    ///
    /// - Parameter siblings: the profiles of other firmware of the same model, if any.
    public func make(
        profile: DeviceProfile, over stream: StreamSource, serial: String = "",
        isEmulated: Bool = false, siblings: [DeviceProfile] = [], reactor: any Reactor
    ) throws(DriverError) -> OpenableInstrument {
        try make(
            DriverRequest(
                profile: profile, attachment: .stream(stream), serial: serial,
                isEmulated: isEmulated, siblings: siblings, reactor: reactor))
    }

    private func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard let factory = factory(for: request.profile) else {
            throw DriverError(
                code: .notSupported, instrument: request.profile.identity.model,
                operation: "make the driver", expected: "a driver for \(request.profile.id)",
                found: "none among \(factories.map(\.family).joined(separator: ", "))",
                advice: "choose another profile; drivers/README.md tells how to add a driver")
        }
        guard isCertified else { return try factory.make(request) }
        try checkCertified(request.profile)
        var request = request
        request.siblings.removeAll { (try? $0.certified(excluding: ["emulation"])) == nil }
        return try factory.make(request)
    }

    /// No driver reads what emulated devices show, so guesses there do not matter here.
    private func checkCertified(_ profile: DeviceProfile) throws(DriverError) {
        do throws(UncertifiedProfile) {
            try profile.certified(excluding: ["emulation"])
        } catch {
            throw DriverError(
                code: .uncertified, instrument: profile.identity.model,
                operation: "make the driver", expected: "a profile without guesses",
                found: "\(error.profile): \(error.assumedFields.joined(separator: ", "))",
                advice: "find a source for these fields and note it in the profile")
        }
    }

    private func attachment(
        of device: DiscoveredDevice, _ profile: DeviceProfile, _ ports: HostPorts,
        _ wiring: BenchWiring
    ) throws(DriverError) -> DriverRequest.Attachment {
        switch device.address {
        case .usb:
            if let host = ports.usb, let summary = device.usb {
                guard let settings = profile.serialPort else { return .usb(host, summary) }
                return .stream(Self.bridge(host, summary, settings, reactor: ports.reactor))
            }
        case .serialPort(let path):
            if let host = ports.serial {
                return .stream(Self.node(host, path, profile))
            }
        case .wired(let name):
            if let host = ports.gpio, let wired = wiring.lines.first(where: { $0.name == name }) {
                return .lines(host, name: name, wired.lines)
            }
        case .serialLine(let name):
            if let declared = wiring.serial.first(where: { $0.name == name }),
                let source = Self.source(of: declared, profile, device.usb, ports)
            {
                return .stream(source, addresses: declared.addresses)
            }
        }
        throw DriverError(
            code: .wrongState, instrument: device.model, operation: "make the driver",
            expected: "the port the device was found on", found: "no port for \(device.address)",
            advice: "look for devices again with the same ports and wirings")
    }

    /// The port of a declared instrument: its adapter without a kernel driver where `adapter` could
    /// be claimed, or else a device node.
    private static func source(
        of declared: SerialWiring, _ profile: DeviceProfile, _ adapter: USBDeviceSummary?,
        _ ports: HostPorts
    ) -> StreamSource? {
        if let host = ports.usb, let adapter, let settings = profile.serialPort {
            return bridge(host, adapter, settings, reactor: ports.reactor)
        }
        guard let host = ports.serial else { return nil }
        switch declared.location {
        case .path(let path): return node(host, path, profile)
        case .adapter(let serial):
            return StreamSource(name: "\(declared.location)") {
                () async throws(ByteStreamError) in
                // The node may have another number each time the adapter is plugged in.
                guard let port = await host.ports().first(where: { $0.serial == serial }) else {
                    throw .notFound("\(declared.location)")
                }
                return InstrumentStream(
                    try await host.open(
                        path: port.path, settings: SerialSettings(profile.serialPort)))
            }
        }
    }

    private static func node(
        _ host: any SerialHost, _ path: String, _ profile: DeviceProfile
    ) -> StreamSource {
        let settings = SerialSettings(profile.serialPort)
        return StreamSource(name: path) { () async throws(ByteStreamError) in
            InstrumentStream(try await host.open(path: path, settings: settings))
        }
    }

    private static func bridge(
        _ host: any USBHost, _ summary: USBDeviceSummary, _ settings: SerialPortSettings,
        reactor: any Reactor
    ) -> StreamSource {
        let line = SerialSettings(settings)
        let kind = settings.bridge == .any ? adapterKind(summary) : settings.bridge
        return StreamSource(name: "USB \(summary.id.path)") { () async throws(ByteStreamError) in
            let device: any USBDevice
            do throws(USBTransferError) { device = try await host.open(summary.id) } catch {
                throw .usb(error)
            }
            if kind == .ftdi {
                return InstrumentStream(
                    try await FTDIBridge.open(
                        device, settings: line,
                        latencyTimer: settings.latencyTimerMilliseconds ?? 16, reactor: reactor))
            }
            return InstrumentStream(
                try await CDCACMBridge.open(device, settings: line, reactor: reactor))
        }
    }

    /// Which of the two bridges drives a serial adapter: FTDI's by its vendor number; every other
    /// must be of the communications class, or opening it says that it is not.
    private static func adapterKind(_ summary: USBDeviceSummary) -> SerialBridge {
        summary.vendorID == 0x0403 ? .ftdi : .cdcACM
    }

    // MARK: Finding

    /// What is attached: devices a profile fits, and devices that look as if one should.
    ///
    /// Nothing is opened. A device without permission is in the list, with advice. Ordered by
    /// address within USB, serial ports and wirings.
    public func discover(
        on ports: HostPorts, catalog: ProfileCatalog, wiring: BenchWiring = BenchWiring()
    ) async throws(USBTransferError) -> [DiscoveredDevice] {
        let serialPorts = await ports.serial?.ports() ?? []
        var found: [DiscoveredDevice] = []
        var usedPorts: Set<String> = []
        if let usb = ports.usb {
            for summary in try await usb.devices() {
                if let declared = Self.declaration(for: summary, wiring) {
                    found.append(classify(declared, catalog, adapter: summary, serialPorts))
                    continue
                }
                guard var device = classify(summary, catalog) else { continue }
                let port = serialPorts.first { Self.belongs($0, to: summary) }
                if let port { usedPorts.insert(port.path) }
                if case .claimedByKernelDriver = summary.access, let port, device.profile != nil {
                    Self.attach(&device, to: port)
                }
                found.append(device)
            }
        }
        for declared in wiring.serial where !found.contains(where: { $0.isDeclared(declared) }) {
            found.append(classify(declared, catalog, adapter: nil, serialPorts))
        }
        let declaredPorts = Self.ports(of: wiring.serial, serialPorts)
        for port in serialPorts
        where !usedPorts.contains(port.path) && !declaredPorts.contains(port.path) {
            if let device = classify(port, catalog) { found.append(device) }
        }
        // A chip that can not be listed can not be opened either; the wiring is then not usable.
        let chips = (try? await ports.gpio?.chips()) ?? []
        return found + wiring.lines.compactMap { classify($0, catalog, chips: chips) }
    }

    private static func declaration(
        for adapter: USBDeviceSummary, _ wiring: BenchWiring
    ) -> SerialWiring? {
        wiring.serial.first { declared in
            if case .adapter(let serial) = declared.location { return serial == adapter.serial }
            return false
        }
    }

    private static func ports(
        of declared: [SerialWiring], _ ports: [SerialPortSummary]
    ) -> [String] {
        declared.compactMap { wired in
            switch wired.location {
            case .path(let path): path
            case .adapter(let serial): ports.first { $0.serial == serial }?.path
            }
        }
    }

    /// An instrument whose port the operator has declared.
    private func classify(
        _ declared: SerialWiring, _ catalog: ProfileCatalog, adapter: USBDeviceSummary?,
        _ ports: [SerialPortSummary]
    ) -> DiscoveredDevice {
        let profile = catalog[declared.profile]
        let node = Self.ports(of: [declared], ports).first
        let port = ports.first { $0.path == node }
        var device = DiscoveredDevice(
            address: .serialLine(name: declared.name), profile: profile?.id,
            vendor: profile?.identity.vendor ?? "",
            model: profile?.identity.model ?? declared.profile, serial: declared.name,
            firmware: "", isEmulated: adapter?.isEmulated ?? false, availability: .ready,
            usb: adapter)
        if profile.flatMap({ factory(for: $0) }) == nil {
            device.availability = .unknownModel
        } else if let adapter {
            switch adapter.access {
            case .available: break
            case .permissionDenied(let node):
                device.availability = .permissionDenied(node: node, .node)
            case .busy:
                device.availability = .busy
            case .claimedByKernelDriver(let name):
                // The kernel's serial port is as good as the adapter itself.
                device.usb = nil
                if port == nil {
                    device.availability = .claimedByKernelDriver(
                        name: name, interface: Self.interface(of: adapter, nil))
                }
            }
        }
        if device.usb == nil, device.availability == .ready {
            if let port, !port.isAccessible {
                device.availability = .permissionDenied(
                    node: port.path, .group(Self.serialGroup))
            } else if port == nil, case .adapter(let serial) = declared.location {
                device.availability = .absent(location: "serial adapter \(serial)")
            }
        }
        return device
    }

    private func classify(
        _ summary: USBDeviceSummary, _ catalog: ProfileCatalog
    ) -> DiscoveredDevice? {
        let matches = catalog.matches(for: USBSummary(summary))
        let certain = matches.filter(\.isCertain)
        var device = DiscoveredDevice(
            address: .usb(summary.id), profile: nil,
            vendor: summary.manufacturer ?? Self.hex(summary.vendorID),
            model: summary.product ?? Self.hex(summary.productID), serial: summary.serial ?? "",
            firmware: "", isEmulated: summary.isEmulated, availability: .unknownModel, usb: summary)
        let candidates = (certain.isEmpty ? matches : certain).map(\.profile)
        guard let profile = candidates.first else {
            if let possible = Self.possible(catalog.possibilities(for: USBSummary(summary))) {
                device.availability = possible
                return device
            }
            return Self.nearMiss(summary, catalog).map {
                device.availability = $0
                if case .unsupportedFirmware(let found, _) = $0 { device.firmware = found }
                return device
            }
        }
        device.vendor = profile.identity.vendor
        guard candidates.count == 1 else {
            device.availability = .ambiguous(profiles: candidates.map(\.id))
            return device
        }
        device.profile = profile.id
        device.model = profile.identity.model
        if profile.firmware.grammar == .deviceRelease {
            device.firmware = Self.version(summary.bcdDevice)
        }
        device.availability = availability(summary, profile, isCertain: !certain.isEmpty)
        return device
    }

    private func availability(
        _ summary: USBDeviceSummary, _ profile: DeviceProfile, isCertain: Bool
    ) -> DeviceAvailability {
        if profile.firmware.grammar == .deviceRelease,
            let version = FirmwareVersion(Self.version(summary.bcdDevice)),
            !profile.firmware.contains(version)
        {
            return .unsupportedFirmware(
                found: version.description, supported: Self.supported(profile.firmware))
        }
        guard factory(for: profile) != nil else { return .unknownModel }
        switch summary.access {
        case .available: return isCertain ? .ready : .ambiguous(profiles: [profile.id])
        case .permissionDenied(let node):
            let isCovered = profile.usb?.vendorID != nil && profile.usb?.productID != nil
            return .permissionDenied(node: node, isCovered ? .udevRules : .node)
        case .claimedByKernelDriver(let name):
            return .claimedByKernelDriver(
                name: name, interface: Self.interface(of: summary, profile.usb?.interface))
        case .busy: return .busy
        }
    }

    /// A board that instruments are built from, and other things too; nil when there are none.
    private static func possible(_ profiles: [DeviceProfile]) -> DeviceAvailability? {
        profiles.isEmpty ? nil : .undeclared(profiles: profiles.map(\.id))
    }

    /// A device that shares its numbers or its maker with a profile that does not fit.
    private static func nearMiss(
        _ summary: USBDeviceSummary, _ catalog: ProfileCatalog
    ) -> DeviceAvailability? {
        let cold = catalog.profiles.filter {
            $0.coldBoot?.vendorID == summary.vendorID
                && $0.coldBoot?.productID == summary.productID
        }
        if !cold.isEmpty { return coldAvailability(summary, profiles: cold.map(\.id)) }
        for profile in catalog.profiles {
            guard let usb = profile.usb, !usb.isGeneric else { continue }
            if let vendor = usb.vendorID, vendor == summary.vendorID,
                usb.productID == summary.productID
            {
                guard let range = usb.deviceRelease, !range.contains(summary.bcdDevice) else {
                    return .unknownModel
                }
                return .unsupportedFirmware(
                    found: version(summary.bcdDevice),
                    supported: "\(version(range.lowerBound)) to \(version(range.upperBound))")
            }
            if let maker = usb.manufacturer, let name = summary.manufacturer, maker.matches(name) {
                return .unknownModel
            }
        }
        return nil
    }

    /// A bare chip: what keeps it from being loaded, or that it waits for that.
    private static func coldAvailability(
        _ summary: USBDeviceSummary, profiles: [String]
    ) -> DeviceAvailability {
        switch summary.access {
        case .available: .awaitingFirmware(profiles: profiles)
        case .permissionDenied(let node): .permissionDenied(node: node, .udevRules)
        case .claimedByKernelDriver(let name):
            .claimedByKernelDriver(name: name, interface: interface(of: summary, nil))
        case .busy: .busy
        }
    }

    private func classify(
        _ port: SerialPortSummary, _ catalog: ProfileCatalog
    ) -> DiscoveredDevice? {
        guard let vendor = port.vendorID, let product = port.productID else { return nil }
        // The release is not part of a port's summary; profiles that ask for it do not match.
        let matches = catalog.profiles.filter { profile in
            guard let usb = profile.usb, profile.serialPort != nil else { return false }
            return usb.match.allSatisfy { field in
                switch field {
                case .vendorID: usb.vendorID == vendor
                case .productID: usb.productID == product
                case .deviceRelease: false
                case .manufacturer: Self.fits(usb.manufacturer, port.manufacturer)
                case .product: Self.fits(usb.product, port.product)
                case .serial: Self.fits(usb.serial, port.serial)
                }
            }
        }
        guard let profile = matches.first else { return nil }
        var device = DiscoveredDevice(
            address: .serialPort(path: port.path), profile: profile.id,
            vendor: profile.identity.vendor, model: profile.identity.model,
            serial: port.serial ?? "", firmware: "", isEmulated: false,
            availability: factory(for: profile) == nil ? .unknownModel : .ready)
        if let possible = Self.possible(matches.filter { $0.usb?.isGeneric ?? false }) {
            device.profile = nil
            device.vendor = port.manufacturer ?? Self.hex(vendor)
            device.model = port.product ?? Self.hex(product)
            device.availability = possible
        } else if matches.count > 1 {
            device.profile = nil
            device.availability = .ambiguous(profiles: matches.map(\.id))
        } else if device.availability == .ready {
            Self.attach(&device, to: port)
        }
        return device
    }

    private func classify(
        _ wiring: GPIOWiring, _ catalog: ProfileCatalog, chips: [GPIOChipSummary]
    ) -> DiscoveredDevice? {
        let profile = catalog[wiring.profile]
        let isKnown = profile.map { factory(for: $0) != nil } ?? false
        let names = Set(wiring.lines.values.map(\.chip))
        let used = chips.filter { names.contains($0.name) }
        return DiscoveredDevice(
            address: .wired(name: wiring.name), profile: profile?.id,
            vendor: profile?.identity.vendor ?? "",
            model: profile?.identity.model ?? wiring.profile, serial: wiring.name, firmware: "",
            isEmulated: used.contains { $0.isEmulated },
            availability: isKnown && used.count == names.count ? .ready : .unknownModel)
    }

    /// A device whose kernel driver offers a serial port is used through that port.
    private static func attach(_ device: inout DiscoveredDevice, to port: SerialPortSummary) {
        device.address = .serialPort(path: port.path)
        device.availability =
            port.isAccessible
            ? .ready : .permissionDenied(node: port.path, .group(serialGroup))
    }

    private static func belongs(_ port: SerialPortSummary, to device: USBDeviceSummary) -> Bool {
        port.vendorID == device.vendorID && port.productID == device.productID
            && port.serial == device.serial
    }

    private static func fits(_ pattern: TextPattern?, _ text: String?) -> Bool {
        guard let pattern, let text else { return false }
        return pattern.matches(text)
    }

    /// The group of serial ports on Debian.
    private static let serialGroup = "dialout"

    /// The name of an interface in sysfs. Devices of this kind have one configuration, number 1.
    private static func interface(of device: USBDeviceSummary, _ number: Int?) -> String {
        "\(device.id.path):1.\(number ?? device.interfaces.first.map { Int($0.number) } ?? 0)"
    }

    private static func hex(_ value: UInt16) -> String {
        "0x" + String(repeating: "0", count: 4 - String(value, radix: 16).count)
            + String(value, radix: 16)
    }

    private static func version(_ release: UInt16) -> String {
        // Binary-coded decimal: two digits before and two after the point.
        String(release >> 8, radix: 16) + "." + String(release & 0xFF, radix: 16)
    }

    private static func supported(_ range: FirmwareRange) -> String {
        switch (range.from, range.through) {
        case (let from?, let through?): "\(from) to \(through)"
        case (let from?, nil): "\(from) and later"
        case (nil, let through?): "up to \(through)"
        case (nil, nil): "any that is loaded"
        }
    }
}

extension USBSummary {
    /// What a profile is recognised by, from a device's descriptors.
    init(_ device: USBDeviceSummary) {
        self.init(
            vendorID: device.vendorID, productID: device.productID,
            deviceRelease: device.bcdDevice, manufacturer: device.manufacturer,
            product: device.product, serial: device.serial)
    }
}

extension SerialSettings {
    /// The line settings of a profile; 115200 baud without flow control when it has none.
    init(_ settings: SerialPortSettings?) {
        self.init(
            baud: settings?.baud ?? 115200,
            flowControl: settings?.flowControl == .rtsCTS ? .rtsCTS : .none)
    }
}
