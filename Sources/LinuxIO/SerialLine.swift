import Glibc
import HostIO

/// Line settings of a terminal device (termios(3), tty_ioctl(4)).
enum SerialLine {
    private static let rates: [Int: speed_t] = [
        1200: speed_t(B1200), 2400: speed_t(B2400), 4800: speed_t(B4800), 9600: speed_t(B9600),
        19200: speed_t(B19200), 38400: speed_t(B38400), 57600: speed_t(B57600),
        115_200: speed_t(B115200), 230_400: speed_t(B230400), 460_800: speed_t(B460800),
        921_600: speed_t(B921600),
    ]

    /// Raw mode, 8 data bits, no parity, one stop bit, at the given rate and flow control.
    static func configure(
        _ descriptor: Int32, name: String, _ settings: SerialSettings
    ) throws(ByteStreamError) {
        guard let rate = rates[settings.baud] else {
            throw .notSupported("a rate of \(settings.baud) baud on \(name)")
        }
        var attributes = termios()
        guard tcgetattr(descriptor, &attributes) == 0 else { throw failure(name) }
        cfmakeraw(&attributes)
        attributes.c_cflag |= tcflag_t(CLOCAL | CREAD)
        attributes.c_cflag &= ~tcflag_t(CSTOPB)
        if settings.flowControl == .rtsCTS {
            attributes.c_cflag |= tcflag_t(CRTSCTS)
        } else {
            attributes.c_cflag &= ~tcflag_t(CRTSCTS)
        }
        // With VMIN 1 an empty non-blocking read says EAGAIN; with 0 it would look like the end.
        attributes.c_cc.6 = 1  // VMIN
        attributes.c_cc.5 = 0  // VTIME
        cfsetispeed(&attributes, rate)
        cfsetospeed(&attributes, rate)
        guard tcsetattr(descriptor, TCSANOW, &attributes) == 0 else { throw failure(name) }
    }

    static func setModemLines(
        _ descriptor: Int32, name: String, dtr: Bool, rts: Bool
    ) throws(ByteStreamError) {
        var lines: Int32 = 0
        guard ioctl(descriptor, UInt(TIOCMGET), &lines) == 0 else { throw failure(name) }
        lines &= ~(TIOCM_DTR | TIOCM_RTS)
        if dtr { lines |= TIOCM_DTR }
        if rts { lines |= TIOCM_RTS }
        guard ioctl(descriptor, UInt(TIOCMSET), &lines) == 0 else { throw failure(name) }
    }

    /// The error of the last system call on `name`.
    static func failure(_ name: String) -> ByteStreamError {
        let code = errno
        switch code {
        case EACCES, EPERM: return .accessDenied(name)
        case ENOENT, ENODEV, ENXIO: return .notFound(name)
        case EBUSY: return .busy(name)
        default: return .system(code: code, message: "\(name): \(String(cString: strerror(code)))")
        }
    }
}
