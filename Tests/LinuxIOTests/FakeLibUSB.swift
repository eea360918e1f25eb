import CLibUSB
import HostIO
import LinuxIO
import Synchronization

/// A libusb that does nothing by itself: tests say when each transfer completes, and read the order
/// of the calls.
final class FakeLibUSB: @unchecked Sendable {
    // @unchecked: used on the virtual reactor's one thread.
    private(set) var log: [String] = []
    private(set) var submitted: [LibUSBCalls.Transfer] = []
    private var memory: [LibUSBCalls.Transfer] = []
    private var names: [LibUSBCalls.Transfer: Int] = [:]
    /// What the next submissions return.
    var submitResult: Int32 = 0
    /// What clearing a halt returns.
    var clearHaltResult: Int32 = 0
    /// Called inside `cancelTransfer`, before it returns.
    var onCancel: ((LibUSBCalls.Transfer) -> Void)?

    /// A handle that is never dereferenced.
    static var handle: OpaquePointer {
        guard let pointer = OpaquePointer(bitPattern: 0x1000) else {
            preconditionFailure("a nonzero pattern is a pointer")
        }
        return pointer
    }

    static let summary = USBDeviceSummary(
        id: USBDeviceID(path: "1-1", address: 5), vendorID: 0x04B4, productID: 0x1234,
        bcdDevice: 0x0201, classTriple: [0xFF, 0xFF, 0xFF], speed: .high, manufacturer: nil,
        product: nil, serial: nil,
        interfaces: [
            USBInterface(
                number: 0, alternate: 1, classTriple: [0xFF, 0xFF, 0xFF],
                endpoints: [
                    USBEndpoint(address: 0x01, kind: .bulk, maxPacketSize: 512),
                    USBEndpoint(address: 0x82, kind: .bulk, maxPacketSize: 512),
                ])
        ], access: .available, isEmulated: false)

    var calls: LibUSBCalls {
        LibUSBCalls(
            allocTransfer: { [self] in
                let transfer = LibUSBCalls.Transfer.allocate(capacity: 1)
                transfer.initialize(to: libusb_transfer())
                memory.append(transfer)
                names[transfer] = names.count
                log.append("alloc \(names.count - 1)")
                return transfer
            },
            freeTransfer: { [self] in log.append("free \(names[$0] ?? -1)") },
            submitTransfer: { [self] in
                log.append("submit \(names[$0] ?? -1)")
                if submitResult == 0 { submitted.append($0) }
                return submitResult
            },
            cancelTransfer: { [self] in
                log.append("cancel \(names[$0] ?? -1)")
                onCancel?($0)
                return 0
            },
            claimInterface: { [self] _, number in
                log.append("claim \(number)"); return 0
            },
            releaseInterface: { [self] _, number in
                log.append("release \(number)"); return 0
            },
            setAlternate: { [self] _, _, alternate in
                log.append("alternate \(alternate)"); return 0
            },
            clearHalt: { [self] _, endpoint in
                log.append("clear halt \(endpoint)"); return clearHaltResult
            },
            closeDevice: { [self] _ in log.append("close") })
    }

    /// Delivers the terminal callback of a submitted transfer.
    func complete(
        _ transfer: LibUSBCalls.Transfer,
        status: libusb_transfer_status = LIBUSB_TRANSFER_COMPLETED, bytes: [UInt8] = []
    ) {
        log.append("callback \(names[transfer] ?? -1)")
        transfer.pointee.status = status
        transfer.pointee.actual_length = Int32(bytes.count)
        for (offset, byte) in bytes.enumerated() { transfer.pointee.buffer[offset] = byte }
        transfer.pointee.callback(transfer)
    }

    deinit { for transfer in memory { transfer.deallocate() } }
}
