import HostIO
import Quantities
import TestSupport
import Testing

/// The conversation of USBTMC 1.0, chapters 3 and 4, with a device that does as it is told.
struct USBTMCSessionTests {
    private let reactor = VirtualReactor()

    private func instrument(
        usb488: UInt8 = 6, _ answer: @escaping @Sendable (String) -> String? = { _ in "7" }
    ) -> ScriptedUSBTMC {
        ScriptedUSBTMC(usb488: usb488, reactor: reactor, answer: answer)
    }

    /// Runs `body` on an open session; only what happens after opening is kept by `operations`.
    private func onSession<Result: Sendable>(
        _ instrument: ScriptedUSBTMC,
        _ body: @escaping @Sendable (USBTMCSession) async throws -> Result
    ) throws -> Result {
        let reactor = reactor
        return try reactor.run {
            let session = try await USBTMCSession.open(
                instrument.device, interface: 0, reactor: reactor)
            return try await body(session)
        }
    }

    private static func request(
        _ type: UInt8, _ number: UInt8, _ value: UInt16, _ index: UInt16, _ length: Int
    ) -> ScriptedUSBDevice.Operation {
        .controlIn(
            USBControlRequest(requestType: type, request: number, value: value, index: index),
            length: length)
    }

    private static let clearing: [ScriptedUSBDevice.Operation] = [
        request(0xA1, 5, 0, 0, 1), request(0xA1, 6, 0, 0, 2), .clearHalt(0x02),
    ]

    /// What was done after the session had been opened.
    private static func operations(_ instrument: ScriptedUSBTMC) -> [ScriptedUSBDevice.Operation] {
        Array(instrument.device.operations.dropFirst(6))
    }

    private static func error<Value>(
        _ body: () async throws(MessageError) -> Value
    ) async -> MessageError? {
        do {
            _ = try await body()
            return nil
        } catch { return error }
    }

    @Test func opensClearsAndTakesTheInstrumentFromItsPanel() throws {
        let instrument = instrument()
        try onSession(instrument) { session in
            #expect(!session.isEmulated)
            await session.close()
            await session.close()
        }
        let opening: [ScriptedUSBDevice.Operation] = [
            .claim(interface: 0, alternate: 0), Self.request(0xA1, 7, 0, 0, 24),
        ]
        let closing: [ScriptedUSBDevice.Operation] = [
            Self.request(0xA1, 160, 1, 0, 1), Self.request(0xA1, 161, 0, 0, 1),
            .release(interface: 0), .close,
        ]
        #expect(instrument.device.operations == opening + Self.clearing + closing)
    }

    @Test func asksNothingOfADeviceThatCanNotBeRemote() throws {
        let instrument = instrument(usb488: 4)
        try onSession(instrument) { await $0.close() }
        #expect(
            !instrument.device.operations.contains { operation in
                if case .controlIn(let request, _) = operation {
                    request.request >= 160
                } else {
                    false
                }
            })
    }

    @Test func refusesAnotherInterfaceAndClosesTheDevice() throws {
        let instrument = instrument()
        let reactor = reactor
        try reactor.run {
            let error = await Self.error { () async throws(MessageError) in
                try await USBTMCSession.open(instrument.device, interface: 1, reactor: reactor)
            }
            #expect(error?.code == "BRK-MSG-006")
        }
        #expect(instrument.device.operations == [.close])
    }

    @Test func sendsAndAsksWithTagsThatRun() throws {
        let instrument = instrument { $0 == "*IDN?" ? "Maker,Thing,1,2" : nil }
        let reply = try onSession(instrument) { session in
            try await session.send(Array("*IDN?\n".utf8), timeout: .seconds(1))
            return try await session.receive(limit: 100, timeout: .seconds(1))
        }
        #expect(String(decoding: reply, as: UTF8.self) == "Maker,Thing,1,2\n")
        #expect(
            instrument.device.writes(to: 0x02) == [
                bytes(hex: "01 01 fe 00 06 00 00 00 01 00 00 00 2a 49 44 4e 3f 0a 00 00"),
                bytes(hex: "02 02 fd 00 64 00 00 00 00 00 00 00"),
            ])
    }

    /// As captured: 55 bytes in a packet of 64 and one of 4, the last of them filling.
    @Test func readsTheAnswerOfARealInstrumentPacketByPacket() throws {
        let instrument = instrument { _ in nil }
        let text = "RIGOL TECHNOLOGIES,DS1074Z,DS1Z00000000000,00.04.04.SP4"
        let frame = ScriptedUSBTMC.frame(Array(text.utf8), tag: 1)
        #expect(frame.count == 68 && frame.starts(with: bytes(hex: "02 01 fe 00 37 00 00 00 01")))
        instrument.device.supply(Array(frame[..<64]), at: 0x81)
        instrument.device.supply(Array(frame[64...]), at: 0x81)
        let reply = try onSession(instrument) {
            try await $0.receive(limit: 4096, timeout: .seconds(1))
        }
        #expect(String(decoding: reply, as: UTF8.self) == text)
    }

    @Test("an answer in several transfers is asked for until its end", arguments: [1, 3])
    func severalTransfers(count: Int) throws {
        let instrument = instrument { _ in nil }
        for number in 1...count {
            instrument.device.supply(
                ScriptedUSBTMC.frame(
                    [UInt8(number), 9], tag: UInt8(number), isEnd: number == count), at: 0x81)
        }
        let reply = try onSession(instrument) {
            try await $0.receive(limit: 100, timeout: .seconds(1))
        }
        #expect(reply == (1...count).flatMap { [UInt8($0), 9] })
        #expect(instrument.device.writes(to: 0x02).count == count)
    }

    @Test("whole packets end with an empty one, or do not", arguments: [true, false])
    func wholePackets(isTerminated: Bool) throws {
        let instrument = instrument { _ in nil }
        let payload = [UInt8](repeating: 5, count: 52)
        for tag in [UInt8(1), 2] {
            instrument.device.supply(ScriptedUSBTMC.frame(payload, tag: tag), at: 0x81)
            if isTerminated { instrument.device.supply([], at: 0x81) }
        }
        try onSession(instrument) { session in
            // Without the empty packet the second answer would be taken for it.
            guard isTerminated else {
                let reply = try await session.receive(limit: 100, timeout: .seconds(1))
                #expect(reply == payload)
                return
            }
            for _ in 0..<2 {
                let reply = try await session.receive(limit: 100, timeout: .seconds(1))
                #expect(reply == payload)
            }
        }
    }

    @Test func aPacketCutInsideTheHeaderIsReadOn() throws {
        let instrument = instrument { _ in nil }
        let frame = ScriptedUSBTMC.frame([1, 2, 3, 4, 5], tag: 1)
        for part in [frame[..<8], frame[8..<13], frame[13...]] {
            instrument.device.supply(Array(part), at: 0x81)
        }
        let reply = try onSession(instrument) {
            try await $0.receive(limit: 100, timeout: .seconds(1))
        }
        #expect(reply == [1, 2, 3, 4, 5])
    }

    // MARK: - What goes wrong

    @Test func silenceIsAbortedAndCleared() throws {
        let instrument = instrument { _ in nil }
        let error = try onSession(instrument) { session in
            await Self.error { () async throws(MessageError) in
                try await session.receive(limit: 10, timeout: .milliseconds(100))
            }
        }
        #expect(error == .timedOut)
        let asked = ScriptedUSBDevice.Operation.write(0x02, USBTMCWire.requestIn(size: 10, tag: 1))
        #expect(
            Self.operations(instrument)
                == [asked, Self.request(0xA2, 3, 1, 0x81, 2)] + Self.clearing)
    }

    @Test func aMessageThatIsNotTakenIsAborted() throws {
        let instrument = instrument()
        let error = try onSession(instrument) { session in
            instrument.device.failWrites(.timedOut(transferred: 0))
            return await Self.error { () async throws(MessageError) in
                try await session.send([1], timeout: .milliseconds(100))
            }
        }
        #expect(error == .timedOut)
        #expect(
            Array(Self.operations(instrument).dropFirst())
                == [Self.request(0xA2, 1, 1, 0x02, 2)] + Self.clearing)
    }

    @Test func aStallIsClearedAndTheNextExchangeWorks() throws {
        let instrument = instrument { _ in "8" }
        try onSession(instrument) { session in
            instrument.device.failRead(of: 0x81, .stall)
            try await session.send([0x41], timeout: .seconds(1))
            let error = await Self.error { () async throws(MessageError) in
                try await session.receive(limit: 10, timeout: .seconds(1))
            }
            #expect(error == .usb(.stall))
            try await session.send([0x42], timeout: .seconds(1))
            // The scripted device has the first answer, with its tag, still to give.
            _ = try? await session.receive(limit: 10, timeout: .seconds(1))
        }
        let recovery = Self.operations(instrument).drop { $0 != .clearHalt(0x81) }
        #expect(Array(recovery.prefix(4)) == [.clearHalt(0x81)] + Self.clearing)
        #expect(instrument.commands == ["A", "B"])
    }

    @Test func anAnswerToAnotherRequestIsMalformed() throws {
        let instrument = instrument { _ in nil }
        instrument.device.supply(ScriptedUSBTMC.frame([1], tag: 200), at: 0x81)
        let error = try onSession(instrument) { session in
            await Self.error { () async throws(MessageError) in
                try await session.receive(limit: 10, timeout: .seconds(1))
            }
        }
        #expect(error?.code == "BRK-MSG-003")
        #expect(Array(Self.operations(instrument).suffix(3)) == Self.clearing)
    }

    @Test func anAnswerWithoutEndDoesNotFillTheMemory() throws {
        let instrument = instrument { _ in nil }
        for tag in UInt8(1)...9 {
            instrument.device.supply(
                ScriptedUSBTMC.frame([1, 2], tag: tag, isEnd: false), at: 0x81)
        }
        let error = try onSession(instrument) { session in
            await Self.error { () async throws(MessageError) in
                try await session.receive(limit: 8, timeout: .seconds(1))
            }
        }
        #expect(error == .tooLong(limit: 8))
    }

    @Test func aClearWaitsForADeviceThatTakesItsTime() throws {
        let instrument = instrument()
        try onSession(instrument) { session in
            instrument.clearAnswers([[2, 0], [2, 1], [2, 0]])
            try await session.clear()
            instrument.clearAnswers([[0x80, 0]])
            let error = await Self.error { () async throws(MessageError) in
                try await session.clear()
            }
            #expect(error == .refused(request: "CHECK_CLEAR_STATUS", status: 0x80))
            // The next exchange begins with another clear.
            try await session.send([0x41], timeout: .seconds(1))
        }
        let polls = Self.operations(instrument).count { $0 == Self.clearing[1] }
        #expect(polls == 4 + 1 + 1)
    }

    @Test func aCancelledCallIsClearedUpByTheNext() throws {
        let instrument = instrument()
        try onSession(instrument) { session in
            instrument.device.failRead(of: 0x81, .cancelled)
            let error = await Self.error { () async throws(MessageError) in
                try await session.receive(limit: 10, timeout: .seconds(1))
            }
            #expect(error == .usb(.cancelled))
            try await session.send([0x41], timeout: .seconds(1))
        }
        let after = Self.operations(instrument)
        #expect(after.count == 5 && Array(after[1...3]) == Self.clearing)
    }

    @Test func nothingIsSentToADeviceThatIsGoneOrClosed() throws {
        let instrument = instrument()
        try onSession(instrument) { session in
            instrument.device.failWrites(.disconnected)
            let error = await Self.error { () async throws(MessageError) in
                try await session.send([1], timeout: .seconds(1))
            }
            #expect(error == .usb(.disconnected))
            await session.close()
            let late = await Self.error { () async throws(MessageError) in
                try await session.send([1], timeout: .seconds(1))
            }
            #expect(late == .closed)
        }
        #expect(instrument.device.writes(to: 0x02).count == 1)
    }
}
