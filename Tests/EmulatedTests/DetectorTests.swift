import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The SPD module, the gated module and the GPIO chip it is wired to.
struct DetectorTests {
    private static func detector(_ seed: UInt64 = 1) -> SimpleDetector {
        SimpleDetector(
            breakdown: Volts(150), rate: Hertz(1000),
            generator: SeededGenerator(seed: seed, label: "detector"))
    }

    // MARK: - SPD

    private static func ask(_ port: EmulatedSerialPort, _ text: String) async throws -> String {
        try await port.write(Array(text.utf8), timeout: .seconds(1))
        var received: [UInt8] = []
        while let bytes = try? await port.read(upTo: 4096, timeout: .milliseconds(20)) {
            received += bytes
        }
        return String(decoding: received, as: UTF8.self)
    }

    @Test("the SPD: identity, bias that ramps, limits, cooler, counts after the gate")
    func spd() throws {
        let element = Self.detector()
        try onVirtualTime { [shared = Shared(element)] reactor in
            let element = shared.value
            let context = EmulationContext(reactor: reactor, seed: 1)
            let module = try SPDModule(
                profile: try profile("s15-spd"), context: context, detector: element)
            let port = EmulatedSerialPort(context: context, device: module, baud: nil)
            #expect(try await Self.ask(port, "*idn?;").contains("SPD"))
            #expect(try await Self.ask(port, "hvolt?;") == "0.00\r\n")
            try await port.write(Array("hvolt 200\r\n".utf8), timeout: .seconds(1))
            try await reactor.sleep(for: .milliseconds(25))
            #expect(abs(module.presentBias.rawValue - 100) < 9)
            try await reactor.sleep(for: .milliseconds(50))
            #expect(try await Self.ask(port, "hvolt?;") == "200.00\r\n")
            _ = try await Self.ask(port, "hvolt 500\r\n")
            #expect(try await Self.ask(port, "hvolt?;") == "200.00\r\n")
            try await port.write(Array("time 500\r\ncounts?;".utf8), timeout: .seconds(1))
            let start = reactor.now
            let reply = try await port.read(upTo: 100, timeout: .seconds(1))
            #expect(abs((reactor.now - start).inSeconds - 0.5) < 0.001)
            let counts = Int(String(decoding: reply.dropLast(2), as: UTF8.self)) ?? 0
            #expect(abs(counts - 25_000) < 1000)
            _ = try await Self.ask(port, "settemp -15\r\nloop 1\r\n")
            try await reactor.sleep(for: .seconds(60))
            let temperature = Double(try await Self.ask(port, "temp?;").dropLast()) ?? 99
            #expect(abs(temperature + 15) < 0.1)
            #expect(try await Self.ask(port, "settemp?;loop?;") == "-15.00\r\n1\r\n")
            #expect(port.inject(EmulatedFault(.overLight)))
            try await reactor.sleep(for: .milliseconds(100))
            #expect(try await Self.ask(port, "hvolt?;") == "0.00\r\n")
        }
        #expect(element.isGateOpen)
    }

    // MARK: - Gated module

    private static let chip = "gpiochip0"
    private static let roles = [
        "gate_enable", "fault", "over_light", "interlock", "shutter_command", "shutter_closed",
        "shutter_open", "pps",
    ]
    private static func line(_ role: String) -> GPIOLineID {
        GPIOLineID(chip: chip, offset: UInt32(roles.firstIndex(of: role) ?? 99))
    }

    private static func gated(
        _ reactor: VirtualReactor, _ element: SimpleDetector, policy: GPIOEdgePolicy = .version1
    ) throws -> (EmulatedGPIOHost, GatedDetectorModule) {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let gpio = EmulatedGPIOHost(context: context)
        gpio.addChip(chip, label: "emulated", lineNames: roles, policy: policy)
        let module = try GatedDetectorModule(
            profile: try profile("ttl-gated-spad"), context: context, gpio: gpio,
            lines: Dictionary(uniqueKeysWithValues: roles.map { ($0, line($0)) }),
            detector: element)
        return (gpio, module)
    }

    private static let options = GPIOLineOptions(consumer: "test")
    private static let activeLow = GPIOLineOptions(consumer: "test", isActiveLow: true)

    @Test("gate, shutter and safety lines of the gated module")
    func gatedModule() throws {
        let element = Self.detector()
        try onVirtualTime { [shared = Shared(element)] reactor in
            let element = shared.value
            let (gpio, module) = try Self.gated(reactor, element)
            let gate = try await gpio.output(
                Self.line("gate_enable"), safeLevel: false, options: Self.options)
            #expect(!element.isGateOpen)
            try await gate.set(true)
            #expect(element.isGateOpen)
            let fault = try await gpio.input(Self.line("fault"), options: Self.activeLow)
            let interlock = try await gpio.input(Self.line("interlock"), options: Self.options)
            let overLight = try await gpio.input(Self.line("over_light"), options: Self.activeLow)
            #expect(try await fault.level() == false)
            #expect(try await interlock.level() == true)
            module.setFault(true)
            #expect(try await fault.nextEdge().isRising)
            #expect(try await fault.level())
            module.setInterlockClosed(false)
            #expect(try await interlock.nextEdge().isRising == false)
            element.isOverlit = true
            let edge = try await overLight.nextEdge()
            #expect(edge.isRising && edge.time <= HostInstant(nanoseconds: 6_000_000))

            let closed = try await gpio.input(Self.line("shutter_closed"), options: Self.options)
            let open = try await gpio.input(Self.line("shutter_open"), options: Self.options)
            #expect(try await closed.level() == true)
            let command = try await gpio.output(
                Self.line("shutter_command"), safeLevel: false, options: Self.options)
            let start = reactor.now
            try await command.set(true)
            #expect(try await closed.level() == false)
            #expect(try await open.level() == false)
            let opened = try await open.nextEdge()
            #expect((0.01...0.1).contains((opened.time - start).inSeconds))
            await command.release()
            await gate.release()
            #expect(!element.isGateOpen)
            #expect(
                await gpioError { try await gate.set(true) } == .closed(Self.line("gate_enable")))
        }
    }

    @Test("the pulse per second marks whole seconds of bench time")
    func pulsePerSecond() throws {
        try onVirtualTime { reactor in
            let (gpio, module) = try Self.gated(reactor, Self.detector())
            try await reactor.sleep(for: .milliseconds(1700))
            let pps = try await gpio.input(Self.line("pps"), options: Self.options)
            var rising: [HostInstant] = []
            while rising.count < 3 {
                let edge = try await pps.nextEdge()
                if edge.isRising { rising.append(edge.time) }
            }
            #expect(rising.map(\.nanoseconds) == [2_000_000_000, 3_000_000_000, 4_000_000_000])
            await pps.release()
            _ = module
        }
    }

    @Test("a line has one consumer; unknown lines are not found; chips tell that they are models")
    func requests() throws {
        try onVirtualTime { reactor in
            let (gpio, module) = try Self.gated(reactor, Self.detector())
            let gate = Self.line("gate_enable")
            _ = try await gpio.output(gate, safeLevel: false, options: Self.options)
            let twice = await gpioError {
                _ = try await gpio.input(gate, options: Self.options)
            }
            #expect(twice == .busy(gate, consumer: "test"))
            let beyond = GPIOLineID(chip: Self.chip, offset: 40)
            let missing = await gpioError {
                _ = try await gpio.input(beyond, options: Self.options)
            }
            #expect(missing == .notFound("line gpiochip0:40"))
            let chips = try await gpio.chips()
            #expect(chips.count == 1 && chips[0].isEmulated && chips[0].consumers[0] == "test")
            _ = module
        }
    }

    @Test("unread edges: version 1 drops the newest, version 2 the oldest")
    func edgeOverflow() throws {
        for policy in [GPIOEdgePolicy.version1, .version2] {
            try onVirtualTime { reactor in
                let context = EmulationContext(reactor: reactor, seed: 1)
                let gpio = EmulatedGPIOHost(context: context)
                gpio.addChip("gpiochip3", label: "e", lineNames: ["x"], policy: policy)
                let id = GPIOLineID(chip: "gpiochip3", offset: 0)
                let input = try await gpio.input(id, options: Self.options)
                for index in 1...21 {
                    try await reactor.sleep(until: HostInstant(nanoseconds: Int64(index) * 1000))
                    gpio.drive(id, index % 2 == 1)
                }
                var edges: [GPIOEdge] = []
                for _ in 0..<16 { edges.append(try await input.nextEdge()) }
                let times = edges.map { $0.time.nanoseconds / 1000 }
                #expect(try await input.level())
                gpio.drive(id, false)
                let next = try await input.nextEdge()
                switch policy {
                case .version1:
                    #expect(times == Array(1...16))
                    #expect(edges.allSatisfy { !$0.lossPossible })
                    #expect(edges[15].isRising == false)
                    #expect(next.lossPossible)
                case .version2:
                    #expect(times == Array(6...21))
                    #expect(edges[0].lossPossible)
                    #expect(!next.lossPossible)
                }
            }
        }
    }

    @Test("faults of lines: stuck, lost edges, a chip that is gone")
    func lineFaults() throws {
        try onVirtualTime { reactor in
            let context = EmulationContext(reactor: reactor, seed: 1)
            let gpio = EmulatedGPIOHost(context: context)
            gpio.addChip("gpiochip0", label: "e", lineNames: ["a"])
            let id = GPIOLineID(chip: "gpiochip0", offset: 0)
            let input = try await gpio.input(id, options: Self.options)
            #expect(gpio.inject(EmulatedFault(.stuckLine, duration: .seconds(1)), line: id))
            gpio.drive(id, true)
            #expect(try await input.level() == false)
            let edge = try await input.nextEdge()
            #expect(edge.isRising && reactor.now == HostInstant(nanoseconds: 1_000_000_000))
            #expect(gpio.inject(EmulatedFault(.lostEdges), line: id))
            gpio.drive(id, false)
            gpio.drive(id, true)
            #expect(try await input.nextEdge().isRising)
            let waiting = Task(executorPreference: reactor) {
                await gpioError { _ = try await input.nextEdge() }
            }
            try await reactor.sleep(for: .milliseconds(1))
            gpio.removeChip("gpiochip0")
            #expect(await waiting.value == .closed(id))
        }
    }
}
