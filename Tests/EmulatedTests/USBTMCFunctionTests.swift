import DeviceProfiles
import Emulated
import HostIO
import Quantities
import TestSupport
import Testing

/// The device's side of USBTMC 1.0 and USB488 1.0, by section.
struct USBTMCFunctionTests {
    private static let power = "thorlabs-pm100d"

    @Test("frames of python-usbtmc 0.8 are understood and answered")
    func knownFrames() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.raw(
                bytes(hex: "01 01 fe 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00"))
            try await client.raw(bytes(hex: "02 02 fd 00 00 00 10 00 00 00 00 00"))
            let text = Array("Thorlabs,PM100D,P0000001,2.4.0\n".utf8)
            #expect(
                try await client.transfer()
                    == bytes(hex: "02 02 fd 00 1f 00 00 00 01 00 00 00") + text + [0])
        }
    }

    @Test("section 4.2.1.8, USB488 4.2.2: capabilities, and what they promise")
    func capabilities() throws {
        try withInstrument(Self.power) { client, _ in
            let reply = try await client.control(7, length: 24)
            #expect(
                reply
                    == bytes(
                        hex:
                            "01 00 00 01 04 01 00 00 00 00 00 00 00 01 06 0f 00 00 00 00 00 00 00 00"
                    ))
            for (number, value) in [(UInt8(64), UInt16(0)), (160, 1), (161, 0), (162, 0)] {
                #expect(try await client.control(number, value: value, length: 1) == [1])
            }
            for number in [UInt8(8), 127, 163] {
                #expect(
                    await usbError { _ = try await client.control(number) } == .stall, "\(number)")
            }
        }
        try withInstrument("idq-id120") { client, _ in
            for number in [UInt8(64), 160, 161, 162] {
                #expect(
                    await usbError { _ = try await client.control(number) } == .stall, "\(number)")
            }
        }
    }

    @Test("a request with nothing to say is not refused: Bulk-IN waits")
    func nothingPending() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.request(100)
            #expect(
                await usbError { _ = try await client.transfer() } == .timedOut(transferred: 0))
            // The answer to a later query, with the tag of the later request.
            #expect(try await client.ask("*OPC?") == "1")
            #expect(try await client.errors().first == "-420,\"Query UNTERMINATED\"")
        }
    }

    @Test("an answer longer than was asked for comes in several transfers")
    func severalTransfers() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("*IDN?")
            #expect(try await client.read(7) == "Thorlabs,PM100D,P0000001,2.4.0\n")
            try await client.write("*IDN?")
            try await client.request(100, termination: UInt8(ascii: ","))
            let frame = try await client.transfer()
            #expect(frame[8] == 2, "ended by the termination character, not by the end")
            #expect(Array(frame[12..<12 + Int(frame[4])]) == Array("Thorlabs,".utf8))
            #expect(try await client.read() == "PM100D,P0000001,2.4.0\n")
        }
    }

    @Test("section 3.3: a transfer of whole packets ends with an empty one")
    func emptyPacket() throws {
        try withInstrument(Self.power) { client, _ in
            // 52 characters and the header fill a packet of 64.
            try await client.write("*OPC?" + String(repeating: ";*OPC?", count: 25))
            try await client.request(1024)
            let first = try await client.device.read(
                from: 0x82, upTo: 64, timeout: .milliseconds(100))
            #expect(first.count == 64 && first[4] == 52 && first[8] == 1)
            #expect(
                try await client.device.read(from: 0x82, upTo: 64, timeout: .milliseconds(100))
                    == [])
            #expect(try await client.errors() == [])
        }
    }

    @Test("a message in several transfers is carried out at its end")
    func messageInParts() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("SENS:CORR:", isEnd: false)
            try await client.write("WAV 700")
            #expect(try await client.ask("SENS:CORR:WAV?") == "7.000000E+02")
            // More than one packet.
            let long = String(repeating: " ", count: 200)
            #expect(try await client.ask("*OPC?" + long + ";*OPC?") == "1;1")
        }
    }

    @Test(
        "section 3.2.2: frames that break the rules halt Bulk-OUT until it is cleared",
        arguments: [
            "01 01 ff 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00",
            "01 00 ff 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00",
            "09 01 fe 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00",
            "01 01 fe 00 00 00 00 00 01 00 00 00", "01 01 fe 00 06 00 00 00",
            "01 01 fe 00 40 00 00 00 01 00 00 00 2a 49 44 4e", "80 01 fe 00 00 00 00 00",
        ])
    func brokenFrames(hex: String) throws {
        try withInstrument(Self.power) { client, _ in
            #expect(await usbError { try await client.raw(bytes(hex: hex)) } == .stall)
            #expect(await usbError { try await client.write("*OPC?") } == .stall)
            try await client.device.clearHalt(endpoint: 0x02)
            #expect(try await client.ask("*OPC?") == "1")
        }
    }

    @Test("section 4.2.1.4: what waits for an answer can be aborted, by its tag")
    func abortIn() throws {
        try withInstrument(Self.power) { client, _ in
            #expect(try await client.control(3, value: 1, index: 0x82, length: 2) == [0x80, 0])
            try await client.request(100)
            let tag = UInt16(client.tag)
            #expect(
                try await client.control(3, value: tag + 1, index: 0x82, length: 2)
                    == [0x81, UInt8(tag)])
            #expect(
                try await client.control(3, value: tag, index: 0x82, length: 2)
                    == [1, UInt8(tag)])
            // Nothing had left, so the status does not depend on who reads the last packet.
            #expect(
                try await client.control(4, index: 0x82, length: 8) == [1, 0, 0, 0, 0, 0, 0, 0])
            #expect(try await client.transfer() == [], "it ends with a short packet")
            #expect(try await client.ask("*OPC?") == "1")
        }
    }

    @Test("section 4.2.1.5: an answer under way is ended by a short packet")
    func abortInTheMiddle() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("*IDN?;*IDN?;*IDN?")
            try await client.request(1024)
            let part = try await client.device.read(
                from: 0x82, upTo: 64, timeout: .milliseconds(100))
            #expect(part.count == 64)
            let tag = UInt16(client.tag)
            #expect(try await client.control(3, value: tag, index: 0x82, length: 2)[0] == 1)
            #expect(
                try await client.control(4, index: 0x82, length: 8) == [2, 1, 0, 0, 64, 0, 0, 0])
            #expect(try await client.transfer() == [])
            #expect(
                try await client.control(4, index: 0x82, length: 8) == [1, 0, 0, 0, 64, 0, 0, 0])
            #expect(try await client.ask("*OPC?") == "1")
        }
    }

    @Test("section 4.2.1.2: a message under way can be aborted")
    func abortOut() throws {
        try withInstrument(Self.power) { client, _ in
            #expect(try await client.control(1, value: 1, index: 0x02, length: 2) == [0x80, 0])
            // The first packet of a message of 100 bytes.
            let head = bytes(hex: "01 21 de 00 64 00 00 00 01 00 00 00")
            try await client.raw(head + [UInt8](repeating: 0x20, count: 52))
            #expect(
                try await client.control(1, value: 0x20, index: 0x02, length: 2) == [0x81, 0x21])
            #expect(
                try await client.control(1, value: 0x21, index: 0x02, length: 2) == [1, 0x21])
            #expect(
                try await client.control(2, index: 0x02, length: 8) == [1, 0, 0, 0, 52, 0, 0, 0])
            #expect(await usbError { try await client.write("*OPC?") } == .stall)
            try await client.device.clearHalt(endpoint: 0x02)
            #expect(try await client.ask("*OPC?") == "1")
        }
    }

    @Test("section 4.2.1.6: a clear forgets answers and messages, and halts Bulk-OUT")
    func clear() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("*IDN?;FOO")
            try await client.write("SENS:CORR:WAV ", isEnd: false)
            #expect(try await client.control(5, length: 1) == [1])
            #expect(await usbError { try await client.write("*OPC?") } == .stall)
            try await client.clear()
            #expect(try await client.ask("*OPC?") == "1", "nothing of the old answer")
            #expect(try await client.errors() == ["-113,\"Undefined header\""], "errors stay")
        }
    }

    @Test("USB488 4.3.1: the status byte comes on the interrupt endpoint")
    func statusByte() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("*IDN?")
            #expect(try await client.control(128, value: 2, length: 3) == [1, 2, 0])
            let busy = try await client.control(128, value: 3, length: 3)
            #expect(busy == [0x20, 3, 0])
            let packet = try await client.device.read(
                from: 0x81, upTo: 2, timeout: .milliseconds(100))
            #expect(packet == [0x82, 0x10], "message available")
            #expect(try await client.control(128, value: 1, length: 3)[0] == 0x80)
        }
        try withInstrument("idq-id120") { client, _ in
            try await client.write("*IDN?")
            #expect(try await client.control(128, value: 2, length: 3) == [1, 2, 0x10])
        }
    }

    @Test("USB488 3.4.1: a service request")
    func serviceRequest() throws {
        try withInstrument(Self.power) { client, _ in
            try await client.write("*CLS;*SRE 4")
            try await client.write("FOO")
            let packet = try await client.device.read(
                from: 0x81, upTo: 2, timeout: .milliseconds(100))
            #expect(packet == [0x81, 0x44])
        }
    }

    @Test("a PM101U takes no command before it is remote")
    func remoteEnable() throws {
        try withInstrument("thorlabs-pm101u") { client, _ in
            try await client.write("*IDN?")
            try await client.request(100)
            #expect(
                await usbError { _ = try await client.transfer() } == .timedOut(transferred: 0))
            #expect(try await client.control(160, value: 1, length: 1) == [1])
            #expect(try await client.ask("*IDN?").contains("PM101U"))
        }
    }

    @Test("damaged frames end in a stall, a time-out or an answer, and a clear restores order")
    func mutations() throws {
        let frame = bytes(hex: "01 01 fe 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00")
        try withInstrument(Self.power) { client, _ in
            var generator = SeededGenerator(seed: 43, label: "usbtmc frames")
            for round in 0..<300 {
                try? await client.raw(mutated(frame, using: &generator))
                try? await client.device.clearHalt(endpoint: 0x02)
                try await client.clear()
                guard round % 10 == 0 else { continue }
                #expect(try await client.ask("*OPC?") == "1", "round \(round)")
            }
        }
    }
}
