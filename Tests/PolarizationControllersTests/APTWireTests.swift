import DeviceProfiles
import FirmwareProfiles
import Foundation
import Instruments
import PolarizationControllers
import Quantities
import TestSupport
import Testing

struct APTWireTests {
    let profile: DeviceProfile
    let wire: APTWire

    init() throws {
        profile = try #require(try FirmwareProfiles.catalog()["thorlabs-mpc320"])
        wire = try APTWire(profile)
    }

    /// Made with PyPI thorlabs-apt-protocol 29.0.0: `function(dest=0x50, source=0x01, …).hex()`.
    static let generated: [(name: String, frame: String)] = [
        ("hw_disconnect", "020000005001"),
        ("hw_req_info", "050000005001"),
        ("hw_start_updatemsgs", "110000005001"),
        ("hw_stop_updatemsgs", "120000005001"),
        ("mod_identify(1)", "230201005001"),
        ("mod_set_chanenablestate(7, 1)", "100207015001"),
        ("mod_req_chanenablestate(7)", "110207005001"),
        ("mot_req_poscounter(2)", "110402005001"),
        ("mot_move_home(2)", "430402005001"),
        ("mot_move_absolute(4, 685)", "53040600d0010400ad020000"),
        ("mot_move_absolute(1, 1370)", "53040600d00101005a050000"),
        ("mot_move_jog(1, 1)", "6a0401015001"),
        ("mot_move_stop(1, 2)", "650401025001"),
        ("mot_req_dcstatusupdate(1)", "900401005001"),
        ("mot_ack_dcstatusupdate", "920400005001"),
        ("pol_set_params(10, 685, 25, 25, 25)", "30050c00d00100000a00ad02190019001900"),
        ("pol_req_params", "310500005001"),
    ]

    /// A comparison with the package itself can be made from the file this writes when
    /// `BEREK_APT_FRAMES` names one.
    @Test func framesAreThoseOfAnotherEncoder() throws {
        let frames = try APTWire.referenceFrames(profile)
        #expect(frames.map(\.name) == Self.generated.map(\.name))
        #expect(frames.map { hex($0.bytes) } == Self.generated.map(\.frame))
        if let path = ProcessInfo.processInfo.environment["BEREK_APT_FRAMES"] {
            let lines = frames.map { "\($0.name)\t\(hex($0.bytes))\n" }
            try lines.joined().write(toFile: path, atomically: true, encoding: .utf8)
        }
    }

    @Test func refusesArgumentsOutsideTheProfile() throws {
        let move = try profile.command("move_absolute")
        #expect(throws: CommandEncodingError.self) { try wire.frame(move, [4, 1371]) }
        #expect(throws: CommandEncodingError.self) { try wire.frame(move, [4, -1]) }
        #expect(throws: CommandEncodingError.self) { try wire.frame(move, [4]) }
    }

    /// HW_GET_INFO as printed in the protocol document, with the addresses of this direction.
    private var infoFrame: [UInt8] {
        bytes(hex: "0600 5400 81 50 8953 9A05 494F4E303031 2000 2C00 02 01 39 00")
            + [UInt8](repeating: 0, count: 60) + bytes(hex: "0100 0300 0100")
    }

    private var traffic: [UInt8] {
        infoFrame
            + bytes(hex: "1202 0701 0150 0000")  // stray zeros follow
            + bytes(hex: "6404 0400 0150")
            + bytes(hex: "9104 0e00 8150 0200 ad020000 0000 0000 00050000")
            + bytes(hex: "6604 0100 0150")
    }

    @Test func readsTheIdentityOfTheDocument() throws {
        var unpacker = wire.unpacker()
        let frame = try #require(unpacker.take(infoFrame).first)
        let fields = try #require(profile.identification?.fields)
        let data = try #require(frame.data)
        #expect(fields["serial"]?.number(in: data) == 94_000_009)
        #expect(fields["model"]?.string(in: data) == "ION001")
        #expect(fields["type"]?.number(in: data) == 44)
        #expect(fields["firmware_major"]?.number(in: data) == 0x39)
        #expect(fields["channels"]?.number(in: data) == 1)
    }

    @Test func findsFramesAtEverySplit() throws {
        let messages: [UInt16] = [0x0006, 0x0212, 0x0464, 0x0491, 0x0466]
        for split in 0...traffic.count {
            var unpacker = wire.unpacker()
            let frames =
                unpacker.take(Array(traffic[..<split])) + unpacker.take(Array(traffic[split...]))
            #expect(frames.map(\.message) == messages)
            #expect(unpacker.droppedBytes == 2)
            #expect(!unpacker.isWaitingForRest)
        }
    }

    @Test func readsStatusAndShortCompletion() throws {
        var unpacker = wire.unpacker()
        let frames = unpacker.take(traffic)
        #expect(frames[2].data == nil && frames[2].parameter1 == 4)
        let fields = try #require(profile.dialect?.messages["status"]?.fields)
        let status = try #require(APTStatus(frames[3].data ?? [], fields: fields))
        #expect(status.mask == 2 && status.position == 685)
        #expect(status.bits == 1 << 10 | 1 << 8)
        #expect(APTStatus(Array((frames[3].data ?? []).dropLast()), fields: fields) == nil)
    }

    @Test func passesOverUnknownMessagesAndWrongAddresses() {
        var unpacker = wire.unpacker()
        #expect(unpacker.take(bytes(hex: "ff0f 0000 0150")).isEmpty)
        #expect(unpacker.take(bytes(hex: "6404 0100 5001")).isEmpty)
        #expect(unpacker.take(bytes(hex: "9104 0010 8150")).isEmpty)  // 4096 bytes of data
        #expect(unpacker.take(bytes(hex: "6404 0100 0150")).map(\.message) == [0x0464])
    }

    /// A damaged stream never stops the unpacker for good, and what it yields is well formed.
    @Test(arguments: seeds(60)) func recoversFromAnyDamage(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "apt")
        var unpacker = wire.unpacker()
        for _ in 0..<50 {
            for frame in unpacker.take(mutated(traffic, using: &generator)) {
                #expect(frame.source == 0x50 && frame.destination == 0x01)
                #expect((frame.data?.count ?? 0) <= APTWire.maxDataBytes)
            }
        }
        // At most one frame's length of waiting, then a good frame is found.
        while unpacker.isWaitingForRest { _ = unpacker.skipIncomplete() }
        #expect(unpacker.take(bytes(hex: "6404 0200 0150")).map(\.parameter1) == [2])
    }
}
