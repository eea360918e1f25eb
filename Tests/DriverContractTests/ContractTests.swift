import DeviceProfiles
import DriverContract
import Emulated
import HostIO
import Instruments
import Quantities
import Testing

/// What holds for every driver with every profile it drives, against the emulated device.
struct ContractTests {
    /// Runs `body` on virtual time with each route to an instrument of `profile`: its USB bridge or
    /// endpoints, and a plain serial line where it has a serial port.
    private func onBenches(
        _ profile: String, period: Picoseconds = ContractBench.shortestPulsePeriod,
        _ body: @escaping @Sendable (ContractBench) async throws -> [String]
    ) throws {
        for cable in [SerialCable.usb, .line] {
            let reactor = VirtualReactor()
            let broken = try reactor.run { () -> [String] in
                let bench = try ContractBench(
                    profile: profile, seed: 1, reactor: reactor, cable: cable, period: period)
                guard cable == .usb || bench.line != nil else { return [] }
                return try await body(bench)
            }
            #expect(broken.isEmpty, "\(profile), \(cable): \(broken.joined(separator: "; "))")
        }
    }

    @Test("opens, tells who it is, works, closes and opens again", arguments: shippedProfileIDs())
    func lifeCycle(profile: String) throws {
        try onBenches(profile) { try await Contract($0.subject).lifeCycle() }
    }

    @Test("refuses work while it is closed", arguments: shippedProfileIDs())
    func closed(profile: String) throws {
        try onBenches(profile) { try await Contract($0.subject).refusesWorkWhileClosed() }
    }

    @Test(
        "tells that it was unplugged, and works again once it is back",
        arguments: shippedProfileIDs())
    func unplugged(profile: String) throws {
        try onBenches(profile) { bench in
            // What hangs on lines alone has no plug.
            guard bench.line != nil || bench.bench.usbPath(of: bench.name) != nil else { return [] }
            return try await Contract(bench.subject).survivesUnplugging(
                unplug: { bench.unplug() }, plugIn: { bench.plugIn() })
        }
    }

    @Test("every injectable fault is one the model has", arguments: shippedProfileIDs())
    func faultsExist(profile: String) throws {
        try onBenches(profile) { bench in
            // Faults of USB need a bus.
            guard bench.line == nil else { return [] }
            var missing: [String] = []
            for kind in bench.profile.faults.injectable {
                if !bench.bench.inject(EmulatedFault(kind), into: bench.name) {
                    missing.append("no \(kind.rawValue)")
                }
                if kind == .disconnect || kind == .reboot {
                    try await bench.reactor.sleep(for: .seconds(2))
                    if try await !bench.isAttached() { bench.plugIn() }
                }
            }
            return missing
        }
    }

    /// Twenty pulses a second do not fill a buffer of any tagger while its user waits.
    @Test("a time tagger in the dark still tells what arrives", arguments: shippedProfileIDs())
    func littleLight(profile: String) throws {
        try onBenches(profile, period: Picoseconds(50_000_000_000)) { bench in
            guard bench.profile.identity.kind == .timeTagger else { return [] }
            let made = try await bench.make()
            try await made.instrument.open()
            let record = try await within(Contract.limit, bench.reactor) {
                try await Exercise(reactor: bench.reactor, rounds: 6).run(made)
            }
            await made.instrument.close()
            guard let record = record ?? nil else { return ["still busy"] }
            var broken: [String] = []
            // The last second may still be in the instrument.
            if !(40...62).contains(record.tags.count) {
                broken = ["\(record.tags.count) of 60 pulses"]
            }
            if let gap = record.unmarkedLoss(period: bench.pulsePeriod) { broken.append(gap) }
            return broken
        }
    }
}
