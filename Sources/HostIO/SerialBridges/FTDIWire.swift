/// The USB side of FTDI's single-port serial converters with a 3 MHz baud base: FT232B, FT232R and
/// the FT-X series. Pure encoding and decoding.
///
/// Sources: FTDI application note AN232B-05 "Configuring FT232R, FT2232 and FT232B baud rates"
/// (divisor encoding), `drivers/usb/serial/ftdi_sio.h` of Linux (requests, flow control, the two
/// status bytes), pyftdi 0.57 `ftdi.py` (cross-check of every request number).
package enum FTDIWire {
    /// `bRequest` of the vendor requests used here.
    package enum Request: UInt8, Sendable {
        case reset = 0
        case setModemControl = 1
        case setFlowControl = 2
        case setBaudRate = 3
        case setData = 4
        case setLatencyTimer = 9
        case getLatencyTimer = 10
    }

    /// `wValue` of `Request.reset`.
    package enum Reset: UInt16, Sendable {
        case device = 0
        case purgeReceive = 1
        case purgeTransmit = 2
    }

    /// Bytes of status at the start of every packet from the device.
    package static let statusBytes = 2

    /// Eight data bits, no parity, one stop bit, as `wValue` of `Request.setData`.
    package static let eightDataBitsNoParity: UInt16 = 0x0008

    /// `wValue` that drives both lines: the low byte holds the levels, the high byte says which of
    /// them are meant.
    package static func modemControl(dtr: Bool, rts: Bool) -> UInt16 {
        0x0300 | (dtr ? 1 : 0) | (rts ? 2 : 0)
    }

    /// The high byte of `wIndex` of `Request.setFlowControl`.
    package static func flowControlIndex(_ flow: SerialFlowControl) -> UInt16 {
        switch flow {
        case .none: 0x0000
        case .rtsCTS: 0x0100
        }
    }

    /// The divisor of a baud rate, split into `wValue` and `wIndex`.
    package struct BaudDivisor: Hashable, Sendable {
        /// Integer part and the low two bits of the fraction code.
        package let value: UInt16
        /// The high bit of the fraction code.
        package let index: UInt16
        /// The divisor of 3 MHz in eighths.
        package let eighths: Int
        /// The rate the chip will run at.
        package var actualBaud: Double { 24e6 / Double(eighths) }
    }

    /// The code of each fraction of the divisor in eighths (AN232B-05, "sub-integer divisor").
    private static let fractionCodes: [UInt16] = [0, 3, 2, 4, 1, 5, 6, 7]

    /// The divisor closest to `baud`, or nil when no divisor is within 3 %.
    ///
    /// Divisors 1 (3 Mbaud) and 1.5 (2 Mbaud) are encoded as 0 and 1; between them, and up to 2,
    /// there is nothing.
    package static func baudDivisor(_ baud: Int) -> BaudDivisor? {
        guard baud > 0, baud <= 3_100_000 else { return nil }
        let exact = (24_000_000 + baud / 2) / baud
        let eighths: Int
        switch exact {
        case ..<10: eighths = 8
        case 10..<14: eighths = 12
        case 14..<16: eighths = 16
        default: eighths = exact
        }
        guard eighths < 16384 * 8 else { return nil }
        let value: UInt16
        let code: UInt16
        switch eighths {
        case 8: (value, code) = (0, 0)
        case 12: (value, code) = (1, 0)
        default: (value, code) = (UInt16(eighths / 8), fractionCodes[eighths % 8])
        }
        let divisor = BaudDivisor(
            value: value | (code & 3) << 14, index: code >> 2, eighths: eighths)
        let deviation = divisor.actualBaud / Double(baud) - 1
        return abs(deviation) <= 0.03 ? divisor : nil
    }

    /// What the status bytes of a transfer said.
    package struct LineStatus: Hashable, Sendable {
        /// The modem lines of the last packet: bit 4 CTS, 5 DSR, 6 RI, 7 DCD.
        package var modemLines: UInt8 = 0
        /// Line error bits of any packet: bit 1 overrun, 2 parity, 3 framing, 4 break, 7 FIFO error.
        package var errors: UInt8 = 0
        /// Packets too short to hold the status bytes.
        package var malformedPackets = 0

        /// The bits of the second status byte that mean damage; the others tell of empty buffers.
        package static let errorMask: UInt8 = 0b1001_1110

        /// The errors in words, or nil when there are none.
        package var errorDescription: String? {
            var names: [String] = []
            if errors & 0x02 != 0 { names.append("overrun") }
            if errors & 0x04 != 0 { names.append("parity") }
            if errors & 0x08 != 0 { names.append("framing") }
            if errors & 0x10 != 0 { names.append("break") }
            if errors & 0x80 != 0 { names.append("receive buffer") }
            if malformedPackets > 0 { names.append("packet without status") }
            return names.isEmpty ? nil : names.joined(separator: ", ")
        }
    }

    /// Removes the status bytes of every packet of one transfer.
    ///
    /// - Parameters:
    ///   - transfer: the bytes of the transfer; every packet but the last is full.
    ///   - packetSize: `wMaxPacketSize` of the endpoint, more than 2.
    package static func payload(
        of transfer: UnsafeRawBufferPointer, packetSize: Int
    ) -> (bytes: [UInt8], status: LineStatus) {
        precondition(packetSize > statusBytes, "a packet holds more than its status")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(transfer.count)
        var status = LineStatus()
        var start = 0
        while start < transfer.count {
            let end = min(start + packetSize, transfer.count)
            if end - start >= statusBytes {
                status.modemLines = transfer[start] & 0xF0
                status.errors |= transfer[start + 1] & LineStatus.errorMask
                bytes += transfer[start + statusBytes..<end]
            } else {
                status.malformedPackets += 1
            }
            start = end
        }
        return (bytes, status)
    }
}
