import DeviceProfiles
import Emulated
import Glibc
import HostIO
import Quantities
import TestSupport
import Testing

/// Instruments on a pseudo-terminal, as a client of the system sees them. The client runs in the
/// callback that the front asks whether to stop.
struct PtyTests {
    /// A client that sends `request` and reads until the reply satisfies `isComplete`.
    private static func exchange(
        _ device: PtyDevice, _ request: [UInt8], isComplete: ([UInt8]) -> Bool
    ) throws -> [UInt8] {
        var descriptor: Int32 = -1
        var reply: [UInt8] = []
        var rounds = 0
        try serveOnPty(
            device, profile: try profile(device.profileID), seed: 1,
            onReady: { path in
                descriptor = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK)
                _ = request.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            },
            until: {
                var chunk = [UInt8](repeating: 0, count: 4096)
                let count = read(descriptor, &chunk, chunk.count)
                if count > 0 { reply += chunk[..<count] }
                rounds += 1
                return isComplete(reply) || rounds > 2000
            })
        close(descriptor)
        return reply
    }

    @Test("the TDC1 answers on a pseudo-terminal")
    func tdc1() throws {
        let reply = try Self.exchange(.tdc1, Array("*IDN?;mode?\r\n".utf8)) {
            $0.filter { $0 == 10 }.count == 2
        }
        #expect(String(decoding: reply, as: UTF8.self) == "TDC1 emulated\r\n0\r\n")
    }

    @Test("the MPC320 answers in raw bytes, none of them translated")
    func mpc320() throws {
        let reply = try Self.exchange(.mpc320, bytes(hex: "050000005001" + "110202005001")) {
            $0.count >= 97
        }
        #expect(hex(reply.prefix(6)) == "060054008150")
        #expect(hex(reply.suffix(7)) == "12020202015000")
    }

    @Test("the detector module answers on a pseudo-terminal")
    func spd() throws {
        let reply = try Self.exchange(.spd, Array("hvolt?;".utf8)) { $0.contains(10) }
        #expect(String(decoding: reply, as: UTF8.self) == "0.00\r\n")
    }

    @Test("three Elliptec mounts answer on one pseudo-terminal, each at its address")
    func ell14() throws {
        let reply = try Self.exchange(.ell14, Array("2gs\r3gp\r8gs\r".utf8)) {
            $0.filter { $0 == 10 }.count == 3
        }
        #expect(
            String(decoding: reply, as: UTF8.self) == "2GS00\r\n3PO00000000\r\n8GS00\r\n")
    }

    @Test("the Elliptec paddles answer on a pseudo-terminal")
    func ell3() throws {
        let reply = try Self.exchange(.ell3, Array("Ap1".utf8)) { $0.contains(10) }
        #expect(String(decoding: reply, as: UTF8.self) == "AP10200\r\n")
    }

    @Test("a link that can not be made is an error with the system's reason")
    func badLink() throws {
        #expect(throws: PtyError.self) {
            try serveOnPty(
                .spd, profile: try profile("s15-spd"), link: "/nonexistent/link", seed: 1,
                onReady: { _ in }, until: { true })
        }
    }
}
