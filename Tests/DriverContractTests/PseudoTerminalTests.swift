import DriverContract
import Emulated
import HostIO
import Instruments
import LinuxIO
import Quantities
import Testing

/// The route to real instruments, tried on the kernel's terminals: the drivers open a device node, at
/// whose other end a model lives in real time.
@Suite(.serialized)
struct PseudoTerminalTests {
    /// Serves the model of a profile on a pseudo-terminal, and hands over what a file for
    /// `BEREK_CONTRACT_BENCH` says about it and this machine's ports.
    private func onTerminal<Result>(
        _ profile: String, _ body: (PresentInstrument, HostPorts) async throws -> Result
    ) async throws -> Result {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let bench = try ContractBench(profile: profile, seed: 1, reactor: reactor, cable: .line)
        let port = try #require(bench.bench.serialPort(of: bench.name))
        let terminal = try PseudoTerminal(reactor: reactor)
        let stream = terminal.stream
        let outward = reactor.start {
            while let bytes = try? await port.read(upTo: 4096, timeout: .seconds(1_000_000_000)) {
                guard (try? await stream.write(bytes, timeout: .seconds(10))) != nil else { break }
            }
        }
        let inward = reactor.start {
            do throws(ByteStreamError) {
                while true {
                    try await port.write(
                        try await stream.read(upTo: 4096, timeout: .seconds(3600)),
                        timeout: .seconds(10))
                }
            } catch {}
        }
        defer { bench.unplug() }
        let file = try ContractFile(
            text: "# one instrument\n\(profile) path=\(terminal.path)\n",
            catalog: try shippedCatalog.get())
        let ports = HostPorts(serial: LinuxSerialHost(reactor: reactor), reactor: reactor)
        let result = try await body(file.instruments[0], ports)
        bench.unplug()
        await stream.close()
        await outward.value
        await inward.value
        return result
    }

    @Test(
        "the contract holds through a device node",
        // Terminals without modem lines: for those whose drivers do not set them.
        arguments: ["mpd-psd", "s15-lcd", "s15-tdc1"])
    func contract(profile: String) async throws {
        let broken = try await onTerminal(profile) { instrument, ports in
            let contract = Contract(instrument.subject(through: ports))
            return try await contract.refusesWorkWhileClosed() + contract.lifeCycle()
        }
        #expect(broken.isEmpty, "\(profile): \(broken.joined(separator: "; "))")
    }

    /// What was recorded in real time is replayed on virtual time.
    @Test func aRecordingFromADeviceNodeIsReplayed() async throws {
        let session = try await onTerminal("mpd-psd") { instrument, ports in
            try await SessionScript.record(
                profile: instrument.profile, source: "a pseudo-terminal",
                serial: instrument.name, bias: nil, ports: ports
            ) { try await instrument.make(through: $0) }
        }
        #expect(session.events.count > 20)
        let written = try Session(text: session.text)
        #expect(written == session)
        let reactor = VirtualReactor()
        try reactor.run { try await SessionScript.replay(written, reactor: reactor) }
    }

    @Test func whatIsNotThereIsNotPassedOver() async throws {
        let file = try ContractFile(
            text: "s15-tdc1 serial=nowhere\nmpd-psd path=/dev/nowhere",
            catalog: try shippedCatalog.get())
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let ports = HostPorts(serial: LinuxSerialHost(reactor: reactor), reactor: reactor)
        for instrument in file.instruments {
            await #expect(throws: (any Error).self) {
                try await Contract(instrument.subject(through: ports)).lifeCycle()
            }
        }
    }

    @Test(
        "a file is refused with the line of its mistake",
        arguments: [
            "nothing path=/dev/x", "mpd-psd", "mpd-psd path=/dev/x serial=1", "mpd-psd path",
            "mpd-psd path=/dev/x colour=red", "s15-spd path=/dev/x", "labjack-u3 serial=1",
            "mpd-psd path=/dev/x bias_V=much", "thorlabs-ell14 path=/dev/x addresses=256",
            "ttl-gated-spad gate_enable=3 idle=yes", "mpd-psd path=/dev/x path=/dev/y",
        ])
    func refused(line: String) throws {
        let error = #expect(throws: ContractFileError.self) {
            try ContractFile(
                text: "# instruments\n\n\(line)", catalog: try shippedCatalog.get())
        }
        #expect(error?.line == 3)
    }
}
