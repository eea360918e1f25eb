import CLibUSB
import HostIO

extension USBTransferError {
    /// The error for a negative return code of a libusb call.
    init(libusb code: Int32, subject: String) {
        switch code {
        case LIBUSB_ERROR_NO_DEVICE.rawValue: self = .disconnected
        case LIBUSB_ERROR_NOT_FOUND.rawValue: self = .notFound(subject)
        case LIBUSB_ERROR_ACCESS.rawValue: self = .accessDenied(node: subject)
        case LIBUSB_ERROR_BUSY.rawValue: self = .busy(holder: "another program or kernel driver")
        case LIBUSB_ERROR_TIMEOUT.rawValue: self = .timedOut(transferred: 0)
        case LIBUSB_ERROR_PIPE.rawValue: self = .stall
        case LIBUSB_ERROR_OVERFLOW.rawValue: self = .overflow
        case LIBUSB_ERROR_IO.rawValue: self = .io
        default:
            self = .system(code: code, message: String(cString: libusb_strerror(code)))
        }
    }

    /// The error a finished transfer reports; `nil` for success.
    static func ofTransfer(
        _ status: libusb_transfer_status, transferred: Int
    ) -> USBTransferError? {
        switch status {
        case LIBUSB_TRANSFER_COMPLETED: nil
        case LIBUSB_TRANSFER_CANCELLED: .cancelled
        case LIBUSB_TRANSFER_STALL: .stall
        case LIBUSB_TRANSFER_NO_DEVICE: .disconnected
        case LIBUSB_TRANSFER_TIMED_OUT: .timedOut(transferred: transferred)
        case LIBUSB_TRANSFER_OVERFLOW: .overflow
        default: .io
        }
    }
}
