import DeviceProfiles
import DriverContract
import Foundation
import HostIO
import Instruments
import LinuxIO
import Testing

/// The instruments that `BEREK_CONTRACT_BENCH` names, reached through this machine's kernel.
enum HardwareBench {
    /// The file that names them, if there is one.
    static let file = ProcessInfo.processInfo.environment["BEREK_CONTRACT_BENCH"]

    /// What it says. A file that can not be read is one case, so that it fails and is not passed over.
    static let cases: [Case] = {
        guard let file else { return [] }
        do {
            let text = try String(contentsOfFile: file, encoding: .utf8)
            return try ContractFile(text: text, catalog: try shippedCatalog.get()).instruments
                .map { .instrument($0) }
        } catch {
            return [.unreadable("\(file): \(error)")]
        }
    }()

    enum Case: Sendable, CustomTestStringConvertible {
        case instrument(PresentInstrument)
        case unreadable(String)

        var testDescription: String {
            switch self {
            case .instrument(let instrument): "\(instrument)"
            case .unreadable(let reason): reason
            }
        }

        func get() throws -> PresentInstrument {
            switch self {
            case .instrument(let instrument): return instrument
            case .unreadable(let reason):
                Issue.record("\(reason)")
                throw CancellationError()
            }
        }
    }

    /// Runs `body` with the ports of this machine.
    static func withPorts<Result>(
        _ body: (HostPorts) async throws -> Result
    ) async throws -> Result {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        // A machine without a USB bus still has serial ports.
        let usb = try? await LibUSBHost(reactor: reactor)
        return try await body(
            HostPorts(
                usb: usb, serial: LinuxSerialHost(reactor: reactor),
                gpio: LinuxGPIOHost(reactor: reactor), reactor: reactor))
    }
}

/// The contract with instruments that are really there.
///
/// `BEREK_CONTRACT_BENCH=FILE swift test --filter HardwareContract`; without the variable these tests are
/// no part of the suite.
@Suite(
    .serialized,
    .enabled(if: HardwareBench.file != nil, "BEREK_CONTRACT_BENCH names no instruments"))
struct HardwareContractTests {
    @Test("opens, tells who it is, works, closes and opens again", arguments: HardwareBench.cases)
    func lifeCycle(instrument: HardwareBench.Case) async throws {
        let instrument = try instrument.get()
        let broken = try await HardwareBench.withPorts {
            try await Contract(instrument.subject(through: $0)).lifeCycle()
        }
        #expect(broken.isEmpty, "\(broken.joined(separator: "; "))")
    }

    @Test("refuses work while it is closed", arguments: HardwareBench.cases)
    func closed(instrument: HardwareBench.Case) async throws {
        let instrument = try instrument.get()
        let broken = try await HardwareBench.withPorts {
            try await Contract(instrument.subject(through: $0)).refusesWorkWhileClosed()
        }
        #expect(broken.isEmpty, "\(broken.joined(separator: "; "))")
    }

    /// `BEREK_RECORD_SESSION=PROFILE` records a session of the instrument of that profile.
    @Test(.enabled(if: SessionFiles.wanted != nil, "nothing to record"))
    func record() async throws {
        let source = ProcessInfo.processInfo.environment["BEREK_SESSION_SOURCE"]
        for profile in try SessionFiles.wantedProfiles() {
            let all = try HardwareBench.cases.map { try $0.get() }
            let instrument = try #require(
                all.first { $0.profile == profile }, "no \(profile) in the file")
            try SessionFiles.write(
                try await Self.session(
                    of: instrument,
                    source: try #require(
                        source, "BEREK_SESSION_SOURCE says which unit this is, and whose")))
        }
    }

    /// Records a session of an instrument that is there.
    static func session(of instrument: PresentInstrument, source: String) async throws -> Session {
        try await HardwareBench.withPorts { ports in
            var lines: LineAssignment = [:]
            if case .lines(let assignment) = instrument.place { lines = assignment }
            return try await SessionScript.record(
                profile: instrument.profile, source: source, serial: instrument.name,
                addresses: instrument.addresses, lines: lines, bias: instrument.bias, ports: ports
            ) { try await instrument.make(through: $0) }
        }
    }
}
