import Quantities

/// Names a device attached to one USB host for as long as it stays attached.
public struct USBDeviceID: Hashable, Sendable, CustomStringConvertible {
    /// The bus and port path, such as `1-2.4`, or the bench's own name for an emulated device.
    public let path: String
    /// The address the host gave it; a device that returns gets another.
    public let address: UInt32
    /// A device at `path` with address `address`.
    public init(path: String, address: UInt32) {
        self.path = path
        self.address = address
    }
    /// Path and address.
    public var description: String { "\(path)#\(address)" }
}

/// The signalling rate of a device.
public enum USBSpeed: String, Hashable, Sendable {
    /// 1.5 Mbit/s.
    case low
    /// 12 Mbit/s.
    case full
    /// 480 Mbit/s.
    case high
    /// 5 Gbit/s and faster.
    case superSpeed
}

/// How an endpoint moves data (USB 2.0 specification, table 9-13, bmAttributes).
public enum USBEndpointKind: UInt8, Hashable, Sendable {
    /// Control transfers.
    case control = 0
    /// Isochronous transfers.
    case isochronous = 1
    /// Bulk transfers.
    case bulk = 2
    /// Interrupt transfers.
    case interrupt = 3
}

/// One endpoint of an interface.
public struct USBEndpoint: Hashable, Sendable {
    /// The address; bit 7 set means towards the host.
    public var address: UInt8
    /// The transfer type.
    public var kind: USBEndpointKind
    /// The largest packet in bytes.
    public var maxPacketSize: Int
    /// An endpoint.
    public init(address: UInt8, kind: USBEndpointKind, maxPacketSize: Int) {
        self.address = address
        self.kind = kind
        self.maxPacketSize = maxPacketSize
    }
}

/// One alternate setting of an interface.
public struct USBInterface: Hashable, Sendable {
    /// The interface number.
    public var number: UInt8
    /// The alternate setting.
    public var alternate: UInt8
    /// Class, subclass and protocol codes.
    public var classTriple: [UInt8]
    /// The endpoints besides endpoint 0.
    public var endpoints: [USBEndpoint]
    /// An alternate setting.
    public init(number: UInt8, alternate: UInt8, classTriple: [UInt8], endpoints: [USBEndpoint]) {
        self.number = number
        self.alternate = alternate
        self.classTriple = classTriple
        self.endpoints = endpoints
    }
}

/// Whether a device can be opened, and if not, why.
public enum USBAccess: Hashable, Sendable {
    /// It can be opened.
    case available
    /// The user may not open its node; `node` is the file concerned.
    case permissionDenied(node: String)
    /// A kernel driver has claimed its interface.
    case claimedByKernelDriver(name: String)
    /// Another program has claimed it.
    case busy
}

/// What can be known of a device without using it.
public struct USBDeviceSummary: Hashable, Sendable {
    /// Which device.
    public var id: USBDeviceID
    /// The vendor identifier.
    public var vendorID: UInt16
    /// The product identifier.
    public var productID: UInt16
    /// The device release number in binary-coded decimal.
    public var bcdDevice: UInt16
    /// Device class, subclass and protocol.
    public var classTriple: [UInt8]
    /// The signalling rate.
    public var speed: USBSpeed
    /// The manufacturer string, if it has one and it could be read.
    public var manufacturer: String?
    /// The product string, if it has one and it could be read.
    public var product: String?
    /// The serial number string, if it has one and it could be read.
    public var serial: String?
    /// Every alternate setting of the active configuration.
    public var interfaces: [USBInterface]
    /// Whether it can be opened.
    public var access: USBAccess
    /// Whether the device is a model of one; never lost on the way to a record.
    public var isEmulated: Bool

    /// A summary.
    public init(
        id: USBDeviceID, vendorID: UInt16, productID: UInt16, bcdDevice: UInt16,
        classTriple: [UInt8], speed: USBSpeed, manufacturer: String?, product: String?,
        serial: String?, interfaces: [USBInterface], access: USBAccess, isEmulated: Bool
    ) {
        self.id = id
        self.vendorID = vendorID
        self.productID = productID
        self.bcdDevice = bcdDevice
        self.classTriple = classTriple
        self.speed = speed
        self.manufacturer = manufacturer
        self.product = product
        self.serial = serial
        self.interfaces = interfaces
        self.access = access
        self.isEmulated = isEmulated
    }
}

/// Something that happened on the bus.
public enum USBHostEvent: Hashable, Sendable {
    /// A device was attached.
    case arrived(USBDeviceSummary, at: HostInstant)
    /// A device was removed.
    case left(USBDeviceID, at: HostInstant)
    /// Events were dropped because nobody read them: list the devices again.
    case overflowed
}

/// The setup stage of a control transfer (USB 2.0 specification, table 9-2).
public struct USBControlRequest: Hashable, Sendable {
    /// bmRequestType: direction, type and recipient.
    public var requestType: UInt8
    /// bRequest.
    public var request: UInt8
    /// wValue.
    public var value: UInt16
    /// wIndex.
    public var index: UInt16
    /// A request.
    public init(requestType: UInt8, request: UInt8, value: UInt16, index: UInt16) {
        self.requestType = requestType
        self.request = request
        self.value = value
        self.index = index
    }
}

/// Why a USB operation did not succeed.
public enum USBTransferError: Error, Hashable, Sendable {
    /// It was cancelled before it completed.
    case cancelled
    /// The endpoint is halted or the request was refused.
    case stall
    /// The device is gone.
    case disconnected
    /// The device sent more than was asked for.
    case overflow
    /// It did not complete in time; so many bytes had been moved.
    case timedOut(transferred: Int)
    /// The user may not open the device.
    case accessDenied(node: String)
    /// Someone else has claimed it.
    case busy(holder: String)
    /// There is no such device, interface or endpoint.
    case notFound(String)
    /// The transfer failed on the bus.
    case io
    /// Anything else the system reported.
    case system(code: Int32, message: String)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .cancelled: "BRK-USB-001"
        case .stall: "BRK-USB-002"
        case .disconnected: "BRK-USB-003"
        case .overflow: "BRK-USB-004"
        case .timedOut: "BRK-USB-005"
        case .accessDenied: "BRK-USB-006"
        case .busy: "BRK-USB-007"
        case .notFound: "BRK-USB-008"
        case .io: "BRK-USB-009"
        case .system: "BRK-USB-010"
        }
    }
}

extension USBTransferError: CustomStringConvertible {
    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .cancelled: "transfer cancelled"
        case .stall: "endpoint stalled"
        case .disconnected: "device disconnected"
        case .overflow: "device sent more data than requested"
        case .timedOut(let transferred): "timed out after \(transferred) bytes"
        case .accessDenied(let node): "no permission to open \(node)"
        case .busy(let holder): "claimed by \(holder)"
        case .notFound(let what): "\(what) not found"
        case .io: "transfer failed on the bus"
        case .system(let code, let message): "\(message) (code \(code))"
        }
    }
}

/// The USB devices of this machine, or of an emulated bench.
public protocol USBHost: AnyObject, Sendable {
    /// The devices attached now, ordered by path.
    func devices() async throws(USBTransferError) -> [USBDeviceSummary]

    /// Arrivals and removals from now on.
    func events() -> AsyncStream<USBHostEvent>

    /// Opens a device.
    func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice
}

/// An open USB device.
public protocol USBDevice: AnyObject, Sendable {
    /// What was known of it when it was opened.
    var summary: USBDeviceSummary { get }

    /// Claims an interface and selects an alternate setting.
    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError)

    /// Gives an interface back.
    func release(interface: UInt8) async

    /// A control transfer that sends `data`.
    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError)

    /// A control transfer that receives up to `length` bytes.
    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8]

    /// Sends `bytes` to a bulk or interrupt endpoint; returns when all are accepted.
    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError)

    /// One bulk or interrupt transfer of up to `length` bytes; ends at the first short packet.
    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8]

    /// Clears the halt of a bulk or interrupt endpoint of a claimed interface, on both sides: the
    /// device accepts transfers again, and both start with the same data toggle (USB 2.0
    /// specification, section 9.4.1 and 5.8.5). No transfer may be pending at the endpoint.
    func clearHalt(endpoint: UInt8) async throws(USBTransferError)

    /// Starts `transferCount` transfers of `transferSize` bytes (a multiple of the packet size) on
    /// an IN endpoint.
    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue

    /// Cancels what is pending, waits for it, and closes the device. May be called twice.
    func close() async
}

/// An ordered queue of IN transfers on one endpoint.
///
/// Back-pressure is not handing a buffer back: the device then waits.
public protocol USBInQueue: AnyObject, Sendable {
    /// The next completion, in the order of submission. After cancellation or disconnection every
    /// pending transfer still completes, with its error.
    func next() async -> USBCompletion

    /// Hands a buffer back for another transfer. Never fails: an error arrives as a completion.
    func submit(_ buffer: consuming USBBuffer)

    /// Cancels every pending transfer and waits until each has completed and is freed. A buffer that is
    /// handed back later comes back at once, with `cancelled`.
    func cancelAll() async
}

/// Memory for one transfer, owned either by us or, while a transfer is pending, by the host stack.
public struct USBBuffer: ~Copyable, @unchecked Sendable {
    // @unchecked: the memory is reachable only through the one owner of the value.
    private let memory: UnsafeMutableRawBufferPointer

    /// The number of bytes a transfer may fill.
    public var capacity: Int { memory.count }

    /// `capacity` zeroed bytes, aligned to a page.
    public init(capacity: Int) {
        precondition(capacity > 0, "a transfer buffer holds at least one byte")
        memory = .allocate(byteCount: capacity, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Lends the memory for reading.
    public borrowing func withBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeRawBufferPointer(memory))
    }

    /// Lends the memory for filling; for host implementations.
    public borrowing func withMutableBytes<R, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(memory)
    }

    deinit { memory.deallocate() }
}

/// The end of one transfer: the buffer always comes back, even on an error.
public struct USBCompletion: ~Copyable, Sendable {
    /// The memory of the transfer.
    public var buffer: USBBuffer
    /// How many bytes of it were filled.
    public let byteCount: Int
    /// What went wrong, if anything; bytes may have been filled all the same.
    public let error: USBTransferError?

    /// A completion.
    public init(buffer: consuming USBBuffer, byteCount: Int, error: USBTransferError?) {
        self.buffer = buffer
        self.byteCount = byteCount
        self.error = error
    }

    /// The bytes received, copied.
    public borrowing func bytes() -> [UInt8] {
        let count = byteCount
        return buffer.withBytes { Array($0[..<count]) }
    }

    /// Takes the buffer out, to hand it back to the queue.
    public consuming func takeBuffer() -> USBBuffer { buffer }
}
