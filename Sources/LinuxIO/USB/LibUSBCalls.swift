import CLibUSB

/// The libusb functions that act on open devices and transfers, as a table.
///
/// Production uses `live`; the lifetime tests replace the table, so that completions can be made to
/// arrive late, twice, or while a device is being closed.
package struct LibUSBCalls: Sendable {
    package typealias Transfer = UnsafeMutablePointer<libusb_transfer>

    package var allocTransfer: @Sendable () -> Transfer?
    package var freeTransfer: @Sendable (Transfer) -> Void
    package var submitTransfer: @Sendable (Transfer) -> Int32
    package var cancelTransfer: @Sendable (Transfer) -> Int32
    package var claimInterface: @Sendable (OpaquePointer, Int32) -> Int32
    package var releaseInterface: @Sendable (OpaquePointer, Int32) -> Int32
    package var setAlternate: @Sendable (OpaquePointer, Int32, Int32) -> Int32
    package var clearHalt: @Sendable (OpaquePointer, UInt8) -> Int32
    package var closeDevice: @Sendable (OpaquePointer) -> Void

    package init(
        allocTransfer: @escaping @Sendable () -> Transfer?,
        freeTransfer: @escaping @Sendable (Transfer) -> Void,
        submitTransfer: @escaping @Sendable (Transfer) -> Int32,
        cancelTransfer: @escaping @Sendable (Transfer) -> Int32,
        claimInterface: @escaping @Sendable (OpaquePointer, Int32) -> Int32,
        releaseInterface: @escaping @Sendable (OpaquePointer, Int32) -> Int32,
        setAlternate: @escaping @Sendable (OpaquePointer, Int32, Int32) -> Int32,
        clearHalt: @escaping @Sendable (OpaquePointer, UInt8) -> Int32,
        closeDevice: @escaping @Sendable (OpaquePointer) -> Void
    ) {
        self.allocTransfer = allocTransfer
        self.freeTransfer = freeTransfer
        self.submitTransfer = submitTransfer
        self.cancelTransfer = cancelTransfer
        self.claimInterface = claimInterface
        self.releaseInterface = releaseInterface
        self.setAlternate = setAlternate
        self.clearHalt = clearHalt
        self.closeDevice = closeDevice
    }

    /// libusb itself.
    package static let live = LibUSBCalls(
        allocTransfer: { libusb_alloc_transfer(0) },
        freeTransfer: { libusb_free_transfer($0) },
        submitTransfer: { libusb_submit_transfer($0) },
        cancelTransfer: { libusb_cancel_transfer($0) },
        claimInterface: { libusb_claim_interface($0, $1) },
        releaseInterface: { libusb_release_interface($0, $1) },
        setAlternate: { libusb_set_interface_alt_setting($0, $1, $2) },
        clearHalt: { libusb_clear_halt($0, $1) },
        closeDevice: { libusb_close($0) })
}
