import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import LinkService
import OpticalBench
import Registry
import Testing

/// Certified mode: what is a guess is used neither by a driver nor by an emulated device.
struct CertifiedModeTests {
    private let reactor = VirtualReactor()
    private let catalog = Result { try FirmwareProfiles.catalog() }

    private func profile(_ id: String) throws -> DeviceProfile {
        try #require(try catalog.get()[id])
    }

    private func entry(_ id: String) throws -> BenchEntry {
        BenchEntry(
            profile: try profile(id), serial: "1",
            connection: .timeTagger(inputs: ScriptedPulses([]), oscillator: ConstantOscillator()))
    }

    @Test func aBenchRefusesProfilesWithGuesses() throws {
        let bench = EmulatedBench(reactor: reactor, seed: 1, certified: true)
        try bench.add(try entry("cqt-timestamp-usb"))
        let tagger = try entry("s15-tdc1")
        let refused = #expect(throws: BenchEntryError.self) { try bench.add(tagger) }
        guard case .uncertified(let error) = refused else {
            Issue.record("\(String(describing: refused))")
            return
        }
        #expect(error.assumedFields == tagger.profile.assumedFields)
        #expect("\(error)".contains("limits.threshold.min"))
        #expect(bench.usbPath(of: "1") == "1-1")
        try EmulatedBench(reactor: reactor, seed: 1).add(tagger)
    }

    @Test func aLinkRefusesThemByName() throws {
        let catalog = try catalog.get()
        let error = #expect(throws: BenchEntryError.self) {
            _ = try EmulatedLink(
                plan: LinkPlan(), drift: .buried, seed: 1, catalog: catalog, reactor: reactor,
                certified: true)
        }
        #expect(error.map { "\($0)".contains("assumed field(s)") } == true)
    }

    @Test func driversAreRefusedForFactsAndNotForWhatModelsShow() throws {
        let registry = BuiltInDrivers.registry(certified: true)
        let source = StreamSource(name: "tcp") { () async throws(ByteStreamError) in throw .closed }
        // Its only guess is what an emulated unit shows.
        let paddles = try registry.make(
            profile: try profile("thorlabs-mpc320"), over: source, reactor: reactor)
        #expect(paddles.polarizationController != nil)
        let tagger = try profile("s15-tdc1")
        let refused = #expect(throws: DriverError.self) {
            try registry.make(profile: tagger, over: source, reactor: reactor)
        }
        #expect(refused?.code == .uncertified)
        #expect(refused?.found.contains("limits.threshold.max") == true)
        #expect(refused?.found.contains("emulation") == false)
        #expect(
            try BuiltInDrivers.registry().make(profile: tagger, over: source, reactor: reactor)
                .timeTagger != nil)
    }
}
