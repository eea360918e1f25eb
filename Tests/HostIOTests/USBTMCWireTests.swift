import HostIO
import Quantities
import TestSupport
import Testing

/// Frames against those of python-usbtmc 0.8 (PyPI), made with its own functions, and against a
/// capture of a real instrument (github.com/dpenkler/linux-usbtmc, issue 8).
struct USBTMCWireTests {
    @Test func messagesAreThoseOfPythonUSBTMC() {
        #expect(
            USBTMCWire.messageOut(Array("*IDN?\n".utf8), tag: 1, isEnd: true)
                == bytes(hex: "01 01 fe 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00"))
        #expect(
            USBTMCWire.messageOut(Array("BIAS:VOLTAGE 160000000\n".utf8), tag: 255, isEnd: true)
                == bytes(
                    hex: """
                        01 ff 00 00 17 00 00 00 01 00 00 00 42 49 41 53 3a 56 4f 4c 54 41 47 45
                        20 31 36 30 30 30 30 30 30 30 0a 00
                        """))
        // Four bytes need no filling.
        #expect(
            USBTMCWire.messageOut(Array("abcd".utf8), tag: 1, isEnd: true)
                == bytes(hex: "01 01 fe 00 04 00 00 00 01 00 00 00 61 62 63 64"))
        #expect(
            USBTMCWire.messageOut(Array("ab".utf8), tag: 7, isEnd: false)
                == bytes(hex: "01 07 f8 00 02 00 00 00 00 00 00 00 61 62 00 00"))
    }

    @Test func requestsAreThoseOfPythonUSBTMC() {
        #expect(
            USBTMCWire.requestIn(size: 1 << 20, tag: 2)
                == bytes(hex: "02 02 fd 00 00 00 10 00 00 00 00 00"))
        #expect(
            USBTMCWire.requestIn(size: 4096, tag: 2)
                == bytes(hex: "02 02 fd 00 00 10 00 00 00 00 00 00"))
    }

    @Test func tagsRunFromOneTo255() {
        var tag: UInt8 = 0
        var seen: [UInt8] = []
        for _ in 0..<256 {
            tag = USBTMCWire.tag(after: tag)
            seen.append(tag)
        }
        #expect(seen == Array(1...255) + [1])
    }

    /// The header a Rigol DS1074Z sent in answer to `*idn?`.
    private static let capture = bytes(hex: "02 02 fd 00 37 00 00 00 01 00 00 00 52 49 47 4f")

    @Test func theHeaderOfARealInstrumentIsRead() throws {
        let reply = try USBTMCWire.reply(Self.capture, tag: 2, room: 4096)
        #expect(reply.size == 55 && reply.isEnd)
    }

    @Test func headersThatDoNotAnswerTheRequestAreRefused() {
        func refusal(_ bytes: [UInt8], tag: UInt8 = 2, room: Int = 4096) -> String? {
            do throws(USBTMCWire.Malformed) {
                _ = try USBTMCWire.reply(bytes, tag: tag, room: room)
                return nil
            } catch { return "\(error.expected), not \(error.found)" }
        }
        #expect(refusal(Array(Self.capture[..<11]))?.contains("11 bytes") == true)
        #expect(refusal(Self.capture, tag: 3)?.contains("tag 3") == true)
        #expect(refusal(Self.capture, room: 54)?.contains("55 announced") == true)
        for (index, value) in [(0, UInt8(1)), (1, 9), (2, 0xFC)] {
            var damaged = Self.capture
            damaged[index] = value
            #expect(refusal(damaged) != nil, "byte \(index)")
        }
    }

    @Test func damagedHeadersNeverPromiseMoreThanWasAskedFor() {
        var generator = SeededGenerator(seed: 41, label: "usbtmc headers")
        for _ in 0..<20_000 {
            let damaged = mutated(Self.capture, using: &generator)
            guard let reply = try? USBTMCWire.reply(damaged, tag: 2, room: 100) else { continue }
            #expect(reply.size <= 100)
        }
    }

    @Test func capabilitiesOfTheSubclassCountOnlyThere() throws {
        // Interface 4, device 1; USB488: REN and 488.2; 15.
        let reply = bytes(
            hex: "01 00 00 01 04 01 00 00 00 00 00 00 00 01 06 0f 00 00 00 00 00 00 00 00")
        let full = try #require(USBTMCWire.capabilities(reply, protocolCode: 1))
        #expect(full.takesRemoteRequests && full.isUSB488)
        let plain = try #require(USBTMCWire.capabilities(reply, protocolCode: 0))
        #expect(!plain.takesRemoteRequests && !plain.isUSB488)
        #expect(USBTMCWire.capabilities(Array(reply[..<15]), protocolCode: 1) == nil)
        #expect(USBTMCWire.capabilities([0x80] + reply[1...], protocolCode: 1) == nil)
    }
}
