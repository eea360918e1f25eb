import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The model of the MPC320 with the profile of the MPC220: two paddles, and nothing else differs.
struct MPC220Tests {
    private static func ask(_ port: EmulatedSerialPort, _ frame: String) async throws -> String {
        try await port.write(bytes(hex: frame), timeout: .seconds(1))
        var received: [UInt8] = []
        while let more = try? await port.read(upTo: 4096, timeout: .seconds(1)) {
            received += more
        }
        return hex(received)
    }

    @Test("it names itself, has two channels and refuses a third")
    func twoPaddles() throws {
        let plates = RecordingWaveplates(plateCount: 2)
        try onVirtualTime { [shared = Shared(plates)] reactor in
            let context = EmulationContext(reactor: reactor, seed: 1)
            let controller = try MPC320Controller(
                profile: try profile("thorlabs-mpc220"), context: context, plates: shared.value,
                serial: "38200001")
            let port = EmulatedSerialPort(context: context, device: controller, baud: 115_200)
            let info = bytes(hex: try await Self.ask(port, "050000005001"))
            #expect(info.count == 90)
            #expect(String(decoding: info[10..<16], as: UTF8.self) == "MPC220")
            #expect(info[88...89] == [2, 0])
            #expect(try await Self.ask(port, "100203015001") == "")
            #expect(controller.enabledMask == 3)
            #expect(
                try await Self.ask(port, "53040600d001" + "020000000000") == "640402000150")
            #expect(controller.encoders == [685, 0])
            // MGMSG_HW_RICHRESPONSE about MOVE_ABSOLUTE of a channel that is not there.
            let refused = try await Self.ask(port, "53040600d001" + "040000000000")
            #expect(refused.hasPrefix("8100440081505304"))
            #expect(controller.encoders == [685, 0])
        }
        #expect(abs(plates.angles[1].degrees) < 0.06)
    }
}
