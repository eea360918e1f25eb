import CLibUSB
import CSystemShims
import Glibc
import HostIO
import Quantities

/// The USB devices of this machine through libusb-1.0. Runs on the reactor, whose epoll set holds
/// libusb's descriptors: no thread of libusb's own, callbacks arrive on the reactor.
public actor LibUSBHost: USBHost {
    private let reactor: EpollReactor
    private nonisolated(unsafe) let context: OpaquePointer  // used on the reactor only
    private var subscribers: [Int: AsyncStream<USBHostEvent>.Continuation] = [:]
    private var nextSubscriber = 0
    private var hotplugHandle: libusb_hotplug_callback_handle?

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// Initialises libusb and joins its descriptors to the reactor.
    ///
    /// - Throws: `USBTransferError.system` when libusb can not be initialised.
    public init(reactor: EpollReactor) async throws(USBTransferError) {
        var context: OpaquePointer?
        let code = libusb_init(&context)
        guard code == 0, let context else {
            throw USBTransferError(libusb: code, subject: "libusb")
        }
        self.context = context
        self.reactor = reactor
        watchDescriptors()
        registerHotplug()
    }

    deinit {
        if let hotplugHandle { libusb_hotplug_deregister_callback(context, hotplugHandle) }
        libusb_set_pollfd_notifiers(context, nil, nil, nil)
        if let list = libusb_get_pollfds(context) {
            var index = 0
            while let descriptor = list[index] {
                reactor.unwatch(descriptor.pointee.fd)
                index += 1
            }
            libusb_free_pollfds(list)
        }
        libusb_exit(context)
    }

    private func watchDescriptors() {
        libusb_set_pollfd_notifiers(
            context,
            { descriptor, events, user in
                guard let user else { return }
                let host = Unmanaged<LibUSBHost>.fromOpaque(user).takeUnretainedValue()
                host.assumeIsolated { $0.watch(descriptor, events: events) }
            },
            { descriptor, user in
                guard let user else { return }
                Unmanaged<LibUSBHost>.fromOpaque(user).takeUnretainedValue()
                    .reactor.unwatch(descriptor)
            }, Unmanaged.passUnretained(self).toOpaque())
        guard let list = libusb_get_pollfds(context) else { return }
        var index = 0
        while let descriptor = list[index] {
            watch(descriptor.pointee.fd, events: descriptor.pointee.events)
            index += 1
        }
        libusb_free_pollfds(list)
        handleEvents()
    }

    private func watch(_ descriptor: Int32, events: Int16) {
        // poll(2) and epoll share the values of IN and OUT.
        try? reactor.watch(descriptor, events: UInt32(UInt16(bitPattern: events))) {
            [weak self] _ in
            self?.assumeIsolated { $0.handleEvents() }
        }
    }

    private func handleEvents() {
        // Never blocks: it is called when a descriptor of libusb is ready, and its timeouts have a
        // descriptor too.
        berek_libusb_handle_ready_events(context)
    }

    /// The devices attached now, ordered by path.
    public func devices() async throws(USBTransferError) -> [USBDeviceSummary] {
        var result: [USBDeviceSummary] = []
        try withDevices { device in result.append(Self.summary(of: device)) }
        return result.sorted { ($0.id.path, $0.id.address) < ($1.id.path, $1.id.address) }
    }

    private func withDevices(_ body: (OpaquePointer) -> Void) throws(USBTransferError) {
        var list: UnsafeMutablePointer<OpaquePointer?>?
        let count = libusb_get_device_list(context, &list)
        guard count >= 0, let list else {
            throw USBTransferError(libusb: Int32(count), subject: "device list")
        }
        defer { libusb_free_device_list(list, 1) }
        for index in 0..<count {
            if let device = list[index] { body(device) }
        }
    }

    /// Arrivals and removals from now on; the newest 64 are kept for a slow reader.
    public nonisolated func events() -> AsyncStream<USBHostEvent> {
        AsyncStream(bufferingPolicy: .bufferingNewest(64)) { continuation in
            reactor.schedule(at: reactor.now) {
                self.assumeIsolated { $0.subscribe(continuation) }
            }
        }
    }

    private func subscribe(_ continuation: AsyncStream<USBHostEvent>.Continuation) {
        let key = nextSubscriber
        nextSubscriber += 1
        subscribers[key] = continuation
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            self.reactor.schedule(at: self.reactor.now) {
                self.assumeIsolated { $0.subscribers[key] = nil }
            }
        }
    }

    private func registerHotplug() {
        guard libusb_has_capability(LIBUSB_CAP_HAS_HOTPLUG.rawValue) != 0 else { return }
        var handle: libusb_hotplug_callback_handle = 0
        let any = LIBUSB_HOTPLUG_MATCH_ANY
        let code = libusb_hotplug_register_callback(
            context,
            Int32(
                LIBUSB_HOTPLUG_EVENT_DEVICE_ARRIVED.rawValue
                    | LIBUSB_HOTPLUG_EVENT_DEVICE_LEFT.rawValue), 0, any, any, any,
            { _, device, event, user in
                guard let device, let user else { return 0 }
                let host = Unmanaged<LibUSBHost>.fromOpaque(user).takeUnretainedValue()
                let summary = LibUSBHost.summary(of: device)
                let hasArrived = event == LIBUSB_HOTPLUG_EVENT_DEVICE_ARRIVED
                host.assumeIsolated { $0.changed(summary, hasArrived: hasArrived) }
                return 0
            }, Unmanaged.passUnretained(self).toOpaque(), &handle)
        // Without udev there are no events; `devices` still tells the truth when asked.
        if code == 0 { hotplugHandle = handle }
    }

    private func changed(_ summary: USBDeviceSummary, hasArrived: Bool) {
        let event: USBHostEvent =
            hasArrived ? .arrived(summary, at: reactor.now) : .left(summary.id, at: reactor.now)
        for key in subscribers.keys.sorted() {
            guard let continuation = subscribers[key] else { continue }
            if case .dropped = continuation.yield(event) { continuation.yield(.overflowed) }
        }
    }

    /// Opens a device.
    public func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        var handle: OpaquePointer?
        var summary: USBDeviceSummary?
        var code = Int32(LIBUSB_ERROR_NOT_FOUND.rawValue)
        try withDevices { device in
            guard summary == nil else { return }
            let found = Self.summary(of: device)
            guard found.id == id else { return }
            summary = found
            code = libusb_open(device, &handle)
        }
        guard let handle, let summary else {
            throw USBTransferError(libusb: code, subject: "device \(id)")
        }
        nonisolated(unsafe) let opened = handle  // from here on the device's alone
        return LibUSBDevice(handle: opened, summary: summary, calls: .live, reactor: reactor)
    }

    /// What libusb and sysfs tell of a device without opening it.
    private static func summary(of device: OpaquePointer) -> USBDeviceSummary {
        var descriptor = libusb_device_descriptor()
        libusb_get_device_descriptor(device, &descriptor)
        let path = path(of: device)
        let bus = libusb_get_bus_number(device)
        let address = libusb_get_device_address(device)
        let folder = "/sys/bus/usb/devices/\(path)"
        let interfaces = interfaces(of: device)
        return USBDeviceSummary(
            id: USBDeviceID(path: path, address: UInt32(bus) << 8 | UInt32(address)),
            vendorID: descriptor.idVendor, productID: descriptor.idProduct,
            bcdDevice: descriptor.bcdDevice,
            classTriple: [
                descriptor.bDeviceClass, descriptor.bDeviceSubClass, descriptor.bDeviceProtocol,
            ],
            speed: speed(of: device), manufacturer: Sysfs.read("\(folder)/manufacturer"),
            product: Sysfs.read("\(folder)/product"), serial: Sysfs.read("\(folder)/serial"),
            interfaces: interfaces,
            access: access(bus: bus, address: address, folder: folder, interfaces: interfaces),
            isEmulated: false)
    }

    private static func path(of device: OpaquePointer) -> String {
        var ports = [UInt8](repeating: 0, count: 7)
        let count = libusb_get_port_numbers(device, &ports, Int32(ports.count))
        let bus = libusb_get_bus_number(device)
        guard count > 0 else { return "usb\(bus)" }
        return "\(bus)-" + ports[..<Int(count)].map(String.init).joined(separator: ".")
    }

    private static func speed(of device: OpaquePointer) -> USBSpeed {
        switch libusb_get_device_speed(device) {
        case Int32(LIBUSB_SPEED_LOW.rawValue): .low
        case Int32(LIBUSB_SPEED_FULL.rawValue): .full
        case Int32(LIBUSB_SPEED_HIGH.rawValue): .high
        default: .superSpeed
        }
    }

    private static func access(
        bus: UInt8, address: UInt8, folder: String, interfaces: [USBInterface]
    ) -> USBAccess {
        func padded(_ number: UInt8) -> String {
            String(repeating: "0", count: 3 - String(number).count) + String(number)
        }
        let node = "/dev/bus/usb/\(padded(bus))/\(padded(address))"
        if Glibc.access(node, R_OK | W_OK) != 0 { return .permissionDenied(node: node) }
        for interface in interfaces {
            let link =
                "\(folder)/\(folder.split(separator: "/").last ?? ""):1.\(interface.number)/driver"
            guard let driver = Sysfs.resolved(link)?.split(separator: "/").last else { continue }
            return driver == "usbfs" ? .busy : .claimedByKernelDriver(name: String(driver))
        }
        return .available
    }

    private static func interfaces(of device: OpaquePointer) -> [USBInterface] {
        var configuration: UnsafeMutablePointer<libusb_config_descriptor>?
        guard libusb_get_active_config_descriptor(device, &configuration) == 0, let configuration
        else { return [] }
        defer { libusb_free_config_descriptor(configuration) }
        var result: [USBInterface] = []
        for index in 0..<Int(configuration.pointee.bNumInterfaces) {
            let interface = configuration.pointee.interface[index]
            for alternate in 0..<Int(interface.num_altsetting) {
                result.append(Self.interface(interface.altsetting[alternate]))
            }
        }
        return result
    }

    private static func interface(_ descriptor: libusb_interface_descriptor) -> USBInterface {
        let endpoints = (0..<Int(descriptor.bNumEndpoints)).map { index in
            let endpoint = descriptor.endpoint[index]
            return USBEndpoint(
                address: endpoint.bEndpointAddress,
                kind: USBEndpointKind(rawValue: endpoint.bmAttributes & 3) ?? .control,
                // The upper bits count additional packets of high-bandwidth endpoints.
                maxPacketSize: Int(endpoint.wMaxPacketSize & 0x7FF))
        }
        return USBInterface(
            number: descriptor.bInterfaceNumber, alternate: descriptor.bAlternateSetting,
            classTriple: [
                descriptor.bInterfaceClass, descriptor.bInterfaceSubClass,
                descriptor.bInterfaceProtocol,
            ], endpoints: endpoints)
    }
}
