import DeviceProfiles
import FirmwareProfiles
import Instruments
import PolarizationControllers
import Quantities
import TestSupport
import Testing

struct ElliptecWireTests {
    let mount: DeviceProfile
    let paddles: DeviceProfile
    let wire: ElliptecWire

    /// Read once, not for every seed.
    private static let catalog = Result { try FirmwareProfiles.catalog() }

    init() throws {
        let catalog = try Self.catalog.get()
        mount = try #require(catalog["thorlabs-ell14"])
        paddles = try #require(catalog["thorlabs-ell3"])
        wire = try ElliptecWire(mount)
    }

    private func packet(
        _ profile: DeviceProfile, _ command: String, _ values: [Double] = [], to address: UInt8
    ) throws -> String {
        let bytes = try ElliptecWire(profile).packet(
            profile.command(command), values, to: address)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The examples of the protocol manual, Issue 10, with the return that ends our packets.
    @Test func packetsAreThoseOfTheManual() throws {
        #expect(try packet(mount, "identify", to: 0) == "0in\r")
        #expect(try packet(mount, "status", to: 0) == "0gs\r")
        #expect(try packet(mount, "change_address", [10], to: 0) == "0caA\r")
        #expect(try packet(mount, "set_forward_period_1", [0x804E], to: 0) == "0f1804E\r")
        #expect(try packet(mount, "isolate", [60], to: 0) == "0is3C\r")
        #expect(try packet(mount, "home", [0], to: 0) == "0ho0\r")
        #expect(try packet(mount, "move_absolute", [8192], to: 10) == "Ama00002000\r")
        #expect(try packet(mount, "move_relative", [4096], to: 10) == "Amr00001000\r")
        #expect(try packet(mount, "set_jog_step", [512], to: 10) == "Asj00000200\r")
        #expect(try packet(mount, "set_velocity", [50], to: 10) == "Asv32\r")
        #expect(try packet(mount, "group_address", [10], to: 0) == "0gaA\r")
        // Format specifiers: -1 and -123456789 in two's complement.
        #expect(try packet(mount, "move_absolute", [-1], to: 15) == "FmaFFFFFFFF\r")
        #expect(try packet(mount, "move_absolute", [-123_456_789], to: 0) == "0maF8A432EB\r")
    }

    /// The commands of ELLPaddlePolariser.cs: paddle characters, four digits, the mask of homing.
    @Test func packetsOfPaddlesAreThoseOfTheMaker() throws {
        #expect(try packet(paddles, "home", [7], to: 0) == "0ho7\r")
        #expect(try packet(paddles, "move_paddle_2", [512], to: 0) == "0a20200\r")
        #expect(try packet(paddles, "move_paddle_3_by", [-15], to: 1) == "1r3FFF1\r")
        #expect(try packet(paddles, "drive_paddle_1", [0x8064], to: 1) == "1t18064\r")
        #expect(try packet(paddles, "paddle_1", to: 1) == "1p1\r")
        #expect(paddles.provenance.vectors["home_all"]?.bytes == Array("0ho7".utf8))
    }

    @Test func refusesArgumentsOutsideTheProfile() throws {
        let command = try mount.command("set_velocity")
        for values in [[101.0], [-1], [.nan], [], [1, 2]] {
            #expect(throws: CommandEncodingError.self) { try wire.packet(command, values, to: 0) }
        }
        let paddle = try paddles.command("move_paddle_1")
        #expect(throws: CommandEncodingError.self) { try wire.packet(paddle, [1024], to: 0) }
    }

    /// Replies of three mounts on one line, as published with github.com/TheFermiSea's clients, and of
    /// one in issue 161 of pyftdi.
    @Test func repliesOfRealUnitsAreRead() throws {
        var unpacker = wire.unpacker()
        let text =
            "2IN0E1140051720231701016800023000\r\n3IN0E1140028420211501016800023000\r\n"
            + "8IN0E1140060920231701016800023000\r\n2POFFFFDA9C\r\n3POFFFFD000\r\n"
            + "8POFFFFDA9D\r\n0POFFFFFFFE\r\n"
        let frames = unpacker.take(Array(text.utf8)).compactMap { arrival in
            if case .frame(let frame) = arrival { frame } else { nil }
        }
        #expect(frames.map(\.address) == [2, 3, 8, 2, 3, 8, 0])
        let information = frames[..<3].map { wire.information(in: $0.data) }
        #expect(information.map { $0?.serial } == ["11400517", "11400284", "11400609"])
        #expect(information.map { $0?.firmware } == ["1.7", "1.5", "1.7"])
        #expect(information.allSatisfy { $0?.type == 14 && $0?.pulses == 143_360 })
        #expect(information.allSatisfy { $0?.travel == 360 })
        #expect(
            frames[3...].map { wire.number("position", in: $0) } == [-9572, -12288, -9571, -2])
        #expect(
            mount.provenance.vectors["negative_position"]?.bytes == Array("8POFFFFDA9D\r\n".utf8))
    }

    /// "I1" as the manual takes it apart.
    @Test func motorReplyIsRead() throws {
        var unpacker = wire.unpacker()
        guard
            case .frame(let frame)? = unpacker.take(Array("0I1100428FFFFFFFF00BD008B\r\n".utf8))
                .first
        else {
            Issue.record("no frame")
            return
        }
        #expect(wire.name(of: frame) == "motor_1")
        #expect(wire.number("loop", in: frame) == 1 && wire.number("running", in: frame) == 0)
        let current = try mount.scale("current")
            .physicalValue(Double(try #require(wire.number("current", in: frame))))
        #expect(abs(current - 570) < 1)
        #expect(wire.number("forward_period", in: frame) == 0xBD)
        #expect(wire.number("backward_period", in: frame) == 0x8B)
    }

    @Test func brokenLinesAreReportedAndTheNextIsRead() {
        var unpacker = wire.unpacker()
        let broken = [
            "2PO0000200", "2PO000020000", "2PO0000200G", "XPO00002000", "2po00002000", "2P", "GS00",
            String(repeating: "F", count: 500),
        ]
        for text in broken {
            let arrivals = unpacker.take(Array((text + "\r\n3GS0A\r\n").utf8))
            #expect(arrivals.count == 2, "\(text)")
            if case .frame? = arrivals.first { Issue.record("\(text) was taken for a message") }
            #expect(
                arrivals.last
                    == .frame(
                        ElliptecFrame(address: 3, message: 0x4753, data: Array("0A".utf8))))
        }
        // A lost return or line feed costs nothing.
        #expect(unpacker.take(Array("2GS00\n3GS00\r".utf8)).count == 2)
    }

    /// An encoder written from the manual for the way back.
    private static func message(_ address: UInt8, _ code: String, _ position: Int32) -> [UInt8] {
        let digits = String(UInt32(bitPattern: position), radix: 16, uppercase: true)
        let padded = String(repeating: "0", count: 8 - digits.count) + digits
        return Array((String(address, radix: 16, uppercase: true) + code + padded + "\r\n").utf8)
    }

    @Test(arguments: seeds(50))
    func positionsComeBack(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "positions")
        var unpacker = wire.unpacker()
        for _ in 0..<50 {
            let position = Int32(truncatingIfNeeded: generator.next())
            let address = UInt8(generator.next() % 16)
            let bytes = Self.message(address, "PO", position)
            // In two pieces, as a bridge delivers them.
            let cut = Int(generator.next() % UInt64(bytes.count))
            let arrivals =
                unpacker.take(Array(bytes[..<cut])) + unpacker.take(Array(bytes[cut...]))
            guard case .frame(let frame)? = arrivals.first, arrivals.count == 1 else {
                Issue.record("\(position)")
                return
            }
            #expect(frame.address == address)
            #expect(wire.number("position", in: frame) == Int64(position))
        }
    }

    @Test(arguments: seeds(300))
    func mutatedBytesNeverHarmAndNeverLastLong(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "mutation")
        var unpacker = wire.unpacker()
        let text = Array("2IN0E1140051720231701016800023000\r\n8POFFFFDA9D\r\n3GS00\r\n".utf8)
        for _ in 0..<10 {
            for arrival in unpacker.take(mutated(text, using: &generator)) {
                guard case .frame(let frame) = arrival else { continue }
                #expect(frame.address < 16 && wire.name(of: frame) != nil)
                _ = wire.information(in: frame.data)
            }
        }
        let end = unpacker.take(Array("\r\n5GS00\r\n".utf8)).last
        #expect(end == .frame(ElliptecFrame(address: 5, message: 0x4753, data: [0x30, 0x30])))
    }
}
