import HostIO
import Quantities
import Testing

@Suite struct FTDIWireTests {
    /// FTDI application note AN232B-05, "Standard baud rate divisors": value and sub-integer code in
    /// bits 14 to 16 of one number; the last three were computed with pyftdi 0.57.2.
    @Test(arguments: [
        (300, 0x2710), (600, 0x1388), (1200, 0x09C4), (2400, 0x04E2), (4800, 0x0271),
        (9600, 0x4138), (19200, 0x809C), (38400, 0xC04E), (57600, 0xC034), (115_200, 0x001A),
        (230_400, 0x000D), (460_800, 0x4006), (921_600, 0x8003), (2_000_000, 0x0001),
        (3_000_000, 0x0000), (490_000, 0xC006),
    ])
    func divisorMatchesApplicationNote(baud: Int, word: Int) throws {
        let divisor = try #require(FTDIWire.baudDivisor(baud))
        #expect(Int(divisor.value) | Int(divisor.index) << 16 == word)
    }

    /// AN232B-05, section "Sub-integer divisors": bits 16, 15, 14.
    @Test(arguments: zip(0..<8, [0b000, 0b011, 0b010, 0b100, 0b001, 0b101, 0b110, 0b111]))
    func fractionCodes(eighths: Int, code: Int) throws {
        let baud = Int((24e6 / Double(53 * 8 + eighths)).rounded())
        let divisor = try #require(FTDIWire.baudDivisor(baud))
        #expect(divisor.eighths == 53 * 8 + eighths)
        #expect(Int(divisor.value) & 0x3FFF == 53)
        #expect(Int(divisor.value) >> 14 | Int(divisor.index) << 2 == code)
    }

    @Test func refusesWhatTheChipCanNotMake() {
        #expect(FTDIWire.baudDivisor(0) == nil)
        #expect(FTDIWire.baudDivisor(-9600) == nil)
        #expect(FTDIWire.baudDivisor(100) == nil)
        #expect(FTDIWire.baudDivisor(2_500_000) == nil)
        #expect(FTDIWire.baudDivisor(1_700_000) == nil)
        #expect(FTDIWire.baudDivisor(12_000_000) == nil)
    }

    @Test func everyAcceptedRateIsWithinThreePerCent() {
        var generator = SeededGenerator(seed: 1, label: "baud")
        for _ in 0..<20_000 {
            let baud = Int.random(in: 100...3_200_000, using: &generator)
            guard let divisor = FTDIWire.baudDivisor(baud) else { continue }
            #expect(abs(divisor.actualBaud / Double(baud) - 1) <= 0.03, "\(baud)")
        }
    }

    @Test(arguments: [64, 512])
    func stripsStatusOfEveryPacketAtEverySplit(packetSize: Int) {
        // Payloads of every length around one, two and three packets.
        for length in 0...(3 * (packetSize - 2) + 1) {
            let payload = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 3) }
            let transfer = packets(payload, packetSize: packetSize, status: [0x11, 0x60])
            let (bytes, status) = transfer.withUnsafeBytes {
                FTDIWire.payload(of: $0, packetSize: packetSize)
            }
            #expect(bytes == payload)
            #expect(status.modemLines == 0x10)
            #expect(status.errorDescription == nil)
        }
    }

    @Test func reportsLineErrorsOfAnyPacket() {
        for (bit, name) in [
            (1, "overrun"), (2, "parity"), (3, "framing"), (4, "break"), (7, "receive buffer"),
        ] {
            var transfer = packets(
                Array(repeating: 5, count: 150), packetSize: 64, status: [1, 0x60])
            transfer[64 + 1] |= 1 << UInt8(bit)
            let (bytes, status) = transfer.withUnsafeBytes {
                FTDIWire.payload(of: $0, packetSize: 64)
            }
            #expect(bytes.count == 150)
            #expect(status.errorDescription == name)
        }
    }

    @Test func anyBytesAreHandled() {
        var generator = SeededGenerator(seed: 2, label: "ftdi")
        for _ in 0..<5000 {
            let count = Int.random(in: 0...300, using: &generator)
            let transfer = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let (bytes, status) = transfer.withUnsafeBytes {
                FTDIWire.payload(of: $0, packetSize: 64)
            }
            let packetCount = (count + 63) / 64
            let lost = status.malformedPackets + 2 * (packetCount - status.malformedPackets)
            #expect(bytes.count == count - lost)
        }
    }

    private func packets(_ payload: [UInt8], packetSize: Int, status: [UInt8]) -> [UInt8] {
        var transfer: [UInt8] = []
        var rest = payload[...]
        repeat {
            transfer += status + rest.prefix(packetSize - 2)
            rest = rest.dropFirst(packetSize - 2)
        } while !rest.isEmpty
        return transfer
    }
}
