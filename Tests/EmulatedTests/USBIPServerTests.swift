import Emulated
import HostIO
import Quantities
import TestSupport
import Testing

/// The server against what usbip_protocol.rst and the kernel's client expect of one.
struct USBIPServerTests {
    private typealias Client = USBIPTestClient

    private struct Bench {
        let host: EmulatedUSBHost
        let server: USBIPServer
        let reactor: VirtualReactor

        init(_ reactor: VirtualReactor, limits: USBIPLimits = USBIPLimits()) {
            self.reactor = reactor
            host = EmulatedUSBHost(context: EmulationContext(reactor: reactor, seed: 1))
            server = USBIPServer(host: host, reactor: reactor, limits: limits)
        }

        /// A client whose connection the server serves; the task's value is why it ended.
        func connect(capacity: Int = 1 << 20) -> (USBIPTestClient, Task<Void, Never>, Ending) {
            let (near, far) = MemoryStream.pair(reactor: reactor, capacity: capacity)
            let ending = Ending()
            let task = reactor.start { [server] in ending.value = await server.serve(far) }
            return (USBIPTestClient(near), task, ending)
        }
    }

    /// Touched on the virtual reactor's one thread only.
    private final class Ending: @unchecked Sendable { var value: USBIPError? }

    /// A client that holds the scripted device at port 1-1.
    private static func imported(
        _ reactor: VirtualReactor, _ function: ScriptedFunction,
        limits: USBIPLimits = USBIPLimits()
    ) async throws -> (Bench, Client, UInt32, Task<Void, Never>, Ending) {
        let bench = Bench(reactor, limits: limits)
        bench.host.attach(function, path: "1-1", speed: .full)
        let (client, task, ending) = bench.connect()
        let device = try #require(try await client.importDevice("1-1"))
        return (bench, client, device, task, ending)
    }

    private static func bulkIn(
        _ number: UInt32, _ device: UInt32, length: UInt32 = 512, flags: UInt32 = 0
    ) -> [UInt8] {
        Client.Submit(
            number: number, device: device, endpoint: 1, isIn: true, length: length, flags: flags
        ).bytes
    }

    private static func bulkOut(
        _ number: UInt32, _ device: UInt32, _ data: [UInt8], flags: UInt32 = 0
    ) -> [UInt8] {
        Client.Submit(
            number: number, device: device, endpoint: 2, isIn: false, length: UInt32(data.count),
            flags: flags, data: data
        ).bytes
    }

    // MARK: - List and import

    @Test("the list has the layout of the protocol, and ends the connection")
    func list() throws {
        try onVirtualTime { reactor in
            let bench = Bench(reactor)
            bench.host.attach(ScriptedFunction(), path: "1-1", speed: .full)
            bench.host.attach(ScriptedFunction(), path: "1-2", speed: .high)
            let (client, task, ending) = bench.connect()
            try await client.send(Client.listRequest)
            let header = try await client.receive(12)
            #expect(header == [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 2])
            for (port, speed) in [("1-1", UInt32(2)), ("1-2", 3)] {
                let device = try await client.receive(312 + 4)
                #expect(String(decoding: device[256..<259], as: UTF8.self) == port)
                #expect(device[259..<288].allSatisfy { $0 == 0 })
                #expect(Client.number(device, at: 296) == speed)
                // Vendor, product and release, then class triple, configuration, 1, 1 interface.
                #expect(Array(device[300..<306]) == [0x12, 0x09, 0x00, 0x01, 0x01, 0x00])
                #expect(Array(device[306..<316]) == [255, 255, 255, 1, 1, 1, 255, 0, 0, 0])
            }
            #expect(await client.isClosed())
            await task.value
            #expect(ending.value == nil)
        }
    }

    @Test("a device is for one client; the next gets it when the first has gone")
    func oneClientEach() throws {
        try onVirtualTime { reactor in
            let (bench, first, _, task, ending) = try await Self.imported(
                reactor, ScriptedFunction())
            let (second, _, refusal) = bench.connect()
            #expect(try await second.importDevice("1-1") == nil)
            #expect(await second.isClosed())
            let (third, _, _) = bench.connect()
            #expect(try await third.importDevice("9-9") == nil)
            await first.stream.close()
            await task.value
            #expect(ending.value == nil)
            guard case .refused(busID: "1-1", reason: .busy) = refusal.value else {
                Issue.record("\(String(describing: refusal.value))")
                return
            }
            let (fourth, _, _) = bench.connect()
            #expect(try await fourth.importDevice("1-1") != nil)
        }
    }

    @Test("no more clients than the limit, and one that says nothing is shown the door")
    func clientLimits() throws {
        try onVirtualTime { reactor in
            var limits = USBIPLimits()
            limits.clients = 2
            let bench = Bench(reactor, limits: limits)
            let connections = [bench.connect(), bench.connect()]
            // Both have to be counted before the third comes.
            try await reactor.sleep(for: .milliseconds(1))
            let (third, _, refused) = bench.connect()
            #expect(await third.isClosed())
            #expect(refused.value == .tooManyClients(2))
            let start = reactor.now
            for (_, task, ending) in connections {
                await task.value
                guard case .stalled = ending.value else {
                    Issue.record("\(String(describing: ending.value))")
                    continue
                }
            }
            #expect(reactor.now - start <= limits.handshakeTimeout + .seconds(2))
        }
    }

    // MARK: - Transfers

    @Test("control transfers carry USB's own byte order, refusals are EPIPE")
    func control() throws {
        try onVirtualTime { reactor in
            let (_, client, device, _, _) = try await Self.imported(reactor, ScriptedFunction())
            var submit = Client.Submit(
                number: 1, device: device, endpoint: 0, isIn: true, length: 18)
            submit.setup = [0x80, 6, 0, 1, 0, 0, 18, 0]  // GET_DESCRIPTOR(device), 18 bytes
            try await client.send(submit.bytes)
            let reply = try await client.reply()
            #expect(reply.status == 0 && reply.moved == 18)
            #expect(Array(reply.data[..<2]) == [18, 1])
            #expect(Array(reply.data[8..<12]) == [0x09, 0x12, 0x01, 0x00])
            submit.number = 2
            submit.length = 4
            submit.setup = [0xC0, 99, 0, 0, 0, 0, 4, 0]
            try await client.send(submit.bytes)
            #expect(try await client.reply() == .init(command: 3, number: 2, status: -32, moved: 0))
        }
    }

    @Test("a short packet ends an IN transfer; with SHORT_NOT_OK it is EREMOTEIO")
    func shortPackets() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [64, 10, 64, 0, 7].map {
                (.zero, [UInt8](repeating: UInt8($0), count: $0))
            }
            let (_, client, device, _, _) = try await Self.imported(reactor, function)
            try await client.send(Self.bulkIn(1, device) + Self.bulkIn(2, device))
            #expect(try await client.reply().moved == 74)
            // A packet without bytes ends a transfer too.
            let second = try await client.reply()
            #expect(second.status == 0 && second.moved == 64)
            try await client.send(Self.bulkIn(3, device, flags: 1))
            let third = try await client.reply()
            #expect(third.status == -121 && third.data == [7, 7, 7, 7, 7, 7, 7])
        }
    }

    @Test("OUT transfers are cut into packets; ZERO_PACKET adds an empty one, no bytes are one")
    func outPackets() throws {
        let function = ScriptedFunction()
        try onVirtualTime { reactor in
            let (_, client, device, _, _) = try await Self.imported(reactor, function)
            let data = [UInt8](repeating: 5, count: 128)
            try await client.send(
                Self.bulkOut(1, device, data) + Self.bulkOut(2, device, data, flags: 0x40)
                    + Self.bulkOut(3, device, []))
            for number in 1...3 {
                let reply = try await client.reply { _ in false }
                #expect(reply.number == UInt32(number) && reply.status == 0)
                #expect(reply.moved == (number == 3 ? 0 : 128))
            }
        }
        #expect(function.received.map(\.count) == [64, 64, 64, 64, 0, 0])
    }

    @Test("a transfer that waits holds up no other endpoint")
    func independentEndpoints() throws {
        try onVirtualTime { reactor in
            let (_, client, device, _, _) = try await Self.imported(reactor, ScriptedFunction())
            try await client.send(Self.bulkIn(1, device) + Self.bulkOut(2, device, [1]))
            #expect(try await client.reply { $0 == 1 }.number == 2)
        }
    }

    // MARK: - Unlinking

    @Test("a pending transfer is taken back: ECONNRESET to the unlink, no reply of its own")
    func unlinkPending() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            let (_, client, device, _, _) = try await Self.imported(reactor, function)
            try await client.send(Self.bulkIn(1, device))
            try await reactor.sleep(for: .milliseconds(5))
            try await client.send(Client.unlink(2, victim: 1, device: device))
            let reply = try await client.reply()
            #expect(reply == .init(command: 4, number: 2, status: -104, moved: 0))
            // Nothing of it is left: what comes now belongs to the next transfer.
            function.packets = [(reactor.now, [1, 2, 3])]
            try await client.send(Self.bulkIn(3, device))
            #expect(try await client.reply().number == 3)
        }
    }

    @Test("an unlink that comes late, or names nothing, is answered with 0 after the reply")
    func unlinkLate() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [(.zero, [9])]
            let (_, client, device, _, _) = try await Self.imported(reactor, function)
            try await client.send(Self.bulkIn(1, device))
            let first = try await client.reply()
            #expect(first.number == 1 && first.data == [9])
            try await client.send(
                Client.unlink(2, victim: 1, device: device)
                    + Client.unlink(3, victim: 77, device: device))
            for number in [UInt32(2), 3] {
                let reply = try await client.reply()
                #expect(reply == .init(command: 4, number: number, status: 0, moved: 0))
            }
        }
    }

    @Test("races of unlink and completion, over 300 seeds: every request ends once, no byte lost")
    func unlinkRaces() throws {
        for seed in UInt64(1)...300 {
            try onVirtualTime { reactor in
                var generator = SeededGenerator(seed: seed, label: "unlink races")
                let function = ScriptedFunction()
                // Packets that come about when the unlinks do; each carries its own number.
                let delays = (0..<8).map { _ in Int64(generator.next() % 40) * 100_000 }.sorted()
                function.packets = delays.enumerated().map { index, delay in
                    (HostInstant(nanoseconds: delay), [UInt8(index)])
                }
                let (_, client, device, _, _) = try await Self.imported(reactor, function)
                for number in UInt32(1)...8 {
                    try await client.send(Self.bulkIn(number, device, length: 64))
                    if generator.next() % 2 == 0 {
                        try await client.send(
                            Client.unlink(100 + number, victim: number, device: device))
                    }
                    try await reactor.sleep(for: .microseconds(Int64(generator.next() % 800)))
                }
                try await reactor.sleep(for: .milliseconds(10))
                try await client.send(Self.bulkOut(200, device, [1]))
                var received: [UInt8] = []
                var submitted: Set<UInt32> = []
                var unlinked: Set<UInt32> = []
                while true {
                    let reply = try await client.reply { $0 != 200 }
                    if reply.number == 200 { break }
                    if reply.command == 3 {
                        #expect(submitted.insert(reply.number).inserted, "seed \(seed)")
                        received += reply.data
                    } else if reply.status == -104 {
                        unlinked.insert(reply.number - 100)
                    }
                }
                #expect(submitted.isDisjoint(with: unlinked), "seed \(seed)")
                #expect(received == Array(0..<UInt8(received.count)), "seed \(seed): \(received)")
                #expect(
                    Int(received.count) + function.packets.count == 8, "seed \(seed): bytes lost")
                await client.stream.close()
            }
        }
    }

    // MARK: - Breaking the protocol

    @Test(
        "what breaks the protocol ends the connection with a reason",
        arguments: [
            ([0x01, 0x06, 0x80, 0x05, 0, 0, 0, 0], "BRK-UIP-001"),
            ([0x01, 0x11, 0x80, 0x04, 0, 0, 0, 0], "BRK-UIP-002"),
            (
                [0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0] + [UInt8](repeating: 65, count: 32),
                "BRK-UIP-003"
            ),
        ])
    func badOperations(_ bytes: [UInt8], code: String) throws {
        try onVirtualTime { reactor in
            let (client, task, ending) = Bench(reactor).connect()
            try await client.send(bytes)
            await task.value
            #expect(ending.value?.code == code)
            #expect(await client.isClosed())
        }
    }

    @Test("a malformed, oversize or foreign request ends its connection and frees the device")
    func badRequests() throws {
        @Sendable func words(_ values: UInt32...) -> [UInt8] {
            values.flatMap(Client.big) + [UInt8](repeating: 0, count: 48 - 4 * values.count)
        }
        for make: @Sendable (UInt32) -> [UInt8] in [
            { words(3, 1, $0) },  // a reply where a command belongs
            { words(1, 1, $0 + 1) },  // a device this client does not hold
            { words(1, 1, $0, 2, 1) },  // a third direction
            { words(1, 1, $0, 1, 16) },  // a seventeenth endpoint
            { words(1, 1, $0, 1, 1, 0, 0x7FFF_FFFF) },  // two gigabytes
            { words(1, 1, $0, 1, 1, 0, 0xFFFF_FFFF) },  // a negative length
        ] {
            try onVirtualTime { reactor in
                let (bench, client, device, task, ending) = try await Self.imported(
                    reactor, ScriptedFunction())
                try await client.send(make(device))
                await task.value
                #expect(ending.value?.code == "BRK-UIP-003", "\(make(device))")
                #expect(await client.isClosed())
                let (next, _, _) = bench.connect()
                #expect(try await next.importDevice("1-1") != nil)
            }
        }
    }

    @Test("a sequence number in use, and a stream that ends or stalls inside a message")
    func badStreams() throws {
        try onVirtualTime { reactor in
            let (_, client, device, task, ending) = try await Self.imported(
                reactor, ScriptedFunction())
            try await client.send(Self.bulkIn(5, device) + Self.bulkIn(5, device))
            await task.value
            #expect(ending.value?.code == "BRK-UIP-003")
        }
        try onVirtualTime { reactor in
            let (_, client, device, task, ending) = try await Self.imported(
                reactor, ScriptedFunction())
            try await client.send(Array(Self.bulkOut(1, device, [1, 2, 3]).dropLast(2)))
            try await reactor.sleep(for: .milliseconds(1))
            await client.stream.close()
            await task.value
            #expect(ending.value == .truncated)
        }
        try onVirtualTime { reactor in
            let (_, client, device, task, ending) = try await Self.imported(
                reactor, ScriptedFunction())
            try await client.send(Array(Self.bulkOut(1, device, [1, 2, 3]).dropLast(2)))
            await task.value
            guard case .stalled = ending.value else {
                Issue.record("\(String(describing: ending.value))")
                return
            }
        }
    }

    @Test("more transfers than the limit end with ENOMEM, the ones before are untouched")
    func exhaustion() throws {
        try onVirtualTime { reactor in
            var limits = USBIPLimits()
            limits.pendingRequests = 3
            let function = ScriptedFunction()
            function.packets = (0..<3).map { (HostInstant(nanoseconds: 5_000_000), [UInt8($0)]) }
            let (_, client, device, _, _) = try await Self.imported(
                reactor, function, limits: limits)
            for number in UInt32(1)...4 { try await client.send(Self.bulkIn(number, device)) }
            let reply = try await client.reply()
            #expect(reply == .init(command: 3, number: 4, status: -12, moved: 0))
            for number in UInt32(1)...3 {
                let reply = try await client.reply()
                #expect(reply.number == number && reply.data == [UInt8(number - 1)])
            }
        }
    }

    @Test("a client that does not read holds up only itself")
    func slowReader() throws {
        try onVirtualTime { reactor in
            var limits = USBIPLimits()
            limits.queuedBytes = 4096
            let bench = Bench(reactor, limits: limits)
            bench.host.attach(ScriptedFunction(), path: "1-1", speed: .full)
            bench.host.attach(ScriptedFunction(), path: "1-2", speed: .full)
            let (slow, slowTask, ending) = bench.connect(capacity: 1024)
            let slowDevice = try #require(try await slow.importDevice("1-1"))
            let flood = reactor.start {
                for number in UInt32(1)...2000 {
                    try? await slow.send(Self.bulkOut(number, slowDevice, [0]))
                }
            }
            let (quick, _, _) = bench.connect()
            let device = try #require(try await quick.importDevice("1-2"))
            for number in UInt32(1)...50 {
                try await quick.send(Self.bulkOut(number, device, [1]))
                #expect(try await quick.reply { _ in false }.number == number)
            }
            await slowTask.value
            guard case .stalled = ending.value else {
                Issue.record("\(String(describing: ending.value))")
                return
            }
            await flood.value
        }
    }

    @Test("unplugging and stopping end the connections of those concerned")
    func endings() throws {
        try onVirtualTime { reactor in
            let (bench, client, device, task, ending) = try await Self.imported(
                reactor, ScriptedFunction())
            bench.host.attach(ScriptedFunction(), path: "1-2", speed: .full)
            let (other, otherTask, otherEnding) = bench.connect()
            _ = try await other.importDevice("1-2")
            try await client.send(Self.bulkIn(1, device))
            try await reactor.sleep(for: .milliseconds(3))
            bench.host.detach(path: "1-1")
            await task.value
            #expect(ending.value == .unplugged)
            #expect(bench.server.clients == 1)
            bench.server.stop()
            await otherTask.value
            #expect(otherEnding.value == .stopped)
            let (late, _, refusal) = bench.connect()
            #expect(await late.isClosed())
            #expect(refusal.value == .stopped)
        }
    }
}
