import HostIO
import Quantities

/// What a host elsewhere learns of an exported device before it asks the device itself.
public struct USBExportIdentity: Hashable, Sendable {
    /// The port it is plugged into, such as `1-1`; shorter than 32 bytes of ASCII.
    public let busID: String
    /// The number of the bus, 1 to 255.
    public let bus: Int
    /// The number of the device on the bus, 2 to 127; a device that returns gets another.
    public let device: Int
    /// The signalling rate.
    public let speed: USBSpeed
    /// The vendor identifier.
    public let vendorID: UInt16
    /// The product identifier.
    public let productID: UInt16
    /// The device release number in binary-coded decimal.
    public let bcdDevice: UInt16
    /// Device class, subclass and protocol.
    public let classTriple: [UInt8]
    /// The value of the configuration that is in force once the device is exported.
    public let configuration: UInt8
    /// Class, subclass and protocol of the first alternate setting of each interface, by number.
    public let interfaces: [[UInt8]]

    /// The identity of an attached device; nil when its port's name is no USB/IP bus identifier.
    init?(_ summary: USBDeviceSummary, configuration: UInt8) {
        let path = summary.id.path
        guard !path.isEmpty, path.utf8.count < 32, path.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { return nil }
        busID = path
        // The usbip tool keeps both numbers in a byte; Linux gives out addresses up to 127.
        bus = min(255, max(1, Int(path.prefix { $0 != "-" }) ?? 1))
        device = 2 + Int((summary.id.address &- 1) % 126)
        speed = summary.speed
        vendorID = summary.vendorID
        productID = summary.productID
        bcdDevice = summary.bcdDevice
        classTriple = summary.classTriple
        self.configuration = configuration
        let numbers = Set(summary.interfaces.map(\.number)).sorted()
        interfaces = numbers.compactMap { number in
            summary.interfaces.first { $0.number == number && $0.alternate == 0 }?.classTriple
        }
    }

    /// Bus and device in one number, as USB/IP requests carry it.
    public var deviceID: UInt32 { UInt32(bus) << 16 | UInt32(device) }
}

/// An attached device handed over to a host elsewhere, which drives it by request blocks on any
/// endpoint.
///
/// While it is exported the in-process host refuses to open it. Request blocks of one endpoint end
/// in the order of submission; a block that waits does not hold up other endpoints.
public final class EmulatedUSBExport: @unchecked Sendable {
    // @unchecked: the mutable state is touched only under the lock of the context.
    private enum Entry {
        case data(TransferReference)
        case control(USBControlTransfer)
    }

    /// Takes the end of a request block; called once, under the lock of the emulated bench: it must
    /// return soon and not call back into the bench.
    public typealias Completion = @Sendable (USBRequestResult) -> Void

    /// Who it is.
    public let identity: USBExportIdentity
    private let context: EmulationContext
    private let slot: USBSlot
    private var pending: [UInt32: Entry] = [:]
    private var isEnded = false
    private let onUnplug: @Sendable () -> Void

    init(
        context: EmulationContext, slot: USBSlot, identity: USBExportIdentity,
        onUnplug: @escaping @Sendable () -> Void
    ) {
        self.context = context
        self.slot = slot
        self.identity = identity
        self.onUnplug = onUnplug
    }

    /// Called by the slot, under the lock, when the device has left the bus.
    func unplugged() {
        guard !isEnded else { return }
        isEnded = true
        pending = [:]
        onUnplug()
    }

    /// The transfer type of an endpoint of the present configuration.
    public func kind(of endpoint: UInt8) -> USBEndpointKind? {
        if endpoint & 0x0F == 0 { return .control }
        return context.exclusively { isEnded ? nil : slot.exportedPipe(endpoint)?.endpoint.kind }
    }

    /// Submits a request block under a number that no pending block has.
    public func submit(
        _ block: USBRequestBlock, number: UInt32, completion: @escaping Completion
    ) {
        context.exclusively {
            precondition(pending[number] == nil, "request \(number) is pending already")
            guard !isEnded else { return completion(USBRequestResult(.shutDown)) }
            if block.endpoint & 0x0F == 0 {
                submitControl(block, number, completion)
            } else {
                submitData(block, number, completion)
            }
        }
    }

    /// Withdraws a pending request block, which then ends with `withdrawn` before this returns.
    /// Does nothing to a block that has ended or whose last packet has been moved.
    public func withdraw(_ number: UInt32) {
        context.exclusively {
            switch pending[number] {
            case .data(let reference): slot.withdraw(reference, error: .cancelled)
            case .control(let transfer): slot.withdraw(transfer)
            case nil: break
            }
        }
    }

    /// Gives the device back to the bench, reset. Pending blocks end without a word.
    public func end() {
        context.exclusively {
            guard !isEnded else { return }
            isEnded = true
            pending = [:]
            slot.endExport()
        }
    }

    // MARK: - Under the lock

    private func submitControl(
        _ block: USBRequestBlock, _ number: UInt32, _ completion: @escaping Completion
    ) {
        let isIn = block.endpoint & 0x80 != 0
        guard let setup = block.setup, isIn == (setup.requestType & 0x80 != 0) || block.length == 0
        else { return completion(USBRequestResult(.refused)) }
        let transfer = USBControlTransfer(setup, data: block.data, length: block.length) {
            [weak self] result in
            guard let self, !isEnded else { return }
            pending[number] = nil
            completion(Self.result(result, of: block, isIn: isIn))
        }
        pending[number] = .control(transfer)
        slot.submit(transfer)
    }

    private func submitData(
        _ block: USBRequestBlock, _ number: UInt32, _ completion: @escaping Completion
    ) {
        guard let pipe = slot.exportedPipe(block.endpoint) else {
            return completion(USBRequestResult(.noAnswer))
        }
        guard pipe.endpoint.kind != .isochronous else {
            return completion(USBRequestResult(.refused))
        }
        let size = max(1, pipe.endpoint.maxPacketSize)
        let transfer = USBTransfer(
            buffer: pipe.isIn ? USBBuffer(capacity: max(1, block.length)) : nil,
            length: pipe.isIn ? block.length : block.data.count, outgoing: block.data,
            // Linux honours the flag on bulk endpoints only.
            endsWithEmptyPacket: block.endsWithEmptyPacket && pipe.endpoint.kind == .bulk
                && !block.data.isEmpty && block.data.count % size == 0
        ) { [weak self] transfer in
            guard let self, !isEnded else { return }
            pending[number] = nil
            completion(Self.result(transfer, of: block, isIn: pipe.isIn))
        }
        pending[number] = .data(TransferReference(transfer: transfer, pipe: pipe))
        slot.submit(transfer, to: pipe)
    }

    private static func result(
        _ result: Result<[UInt8], USBTransferError>, of block: USBRequestBlock, isIn: Bool
    ) -> USBRequestResult {
        switch result {
        case .failure(let error): return USBRequestResult(status(error))
        case .success(let bytes) where isIn:
            let isShort = block.shortIsError && bytes.count < block.length
            return USBRequestResult(isShort ? .short : .done, moved: bytes.count, data: bytes)
        case .success: return USBRequestResult(.done, moved: block.length)
        }
    }

    private static func result(
        _ transfer: USBTransfer, of block: USBRequestBlock, isIn: Bool
    ) -> USBRequestResult {
        let bytes = isIn ? transfer.receivedBytes() : []
        let isShort = isIn && block.shortIsError && transfer.moved < block.length
        return USBRequestResult(
            transfer.error.map(status) ?? (isShort ? .short : .done), moved: transfer.moved,
            data: bytes)
    }

    private static func status(_ error: USBTransferError) -> USBRequestStatus {
        switch error {
        case .stall: .stall
        case .overflow: .overflow
        case .cancelled: .withdrawn
        case .disconnected: .shutDown
        default: .refused
        }
    }
}
