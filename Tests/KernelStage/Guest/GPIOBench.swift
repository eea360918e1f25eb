import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkService
import LinuxIO
import OpticalBench
import Quantities

/// Two TTL-gated detectors behind the kernel's own GPIO chip.
final class GPIOBench {
    let bench: EmulatedBench
    let wirings: [GPIOWiring]
    let detectors: [SharedDetector]
    private let attachment: KernelGPIOAttachment

    /// The chip on the bench; its lines correspond to those of the kernel's chip by offset.
    private static let benchChip = "bench"
    private static let roles: [Instruments.LineRole] = [
        .gateEnable, .fault, .overLight, .interlock, .shutterCommand, .shutterClosed, .shutterOpen,
        .pulsePerSecond,
    ]
    static let detectorNames = ["detector-d", "detector-a"]
    /// The lines of the kernel's chip; the last are wired to nothing and free for tests of edges.
    static let lineCount = 20

    /// - Parameters:
    ///   - chip: the kernel's name of its chip.
    ///   - reactor: the thread of the bench, not that of the drivers.
    init(chip: String, catalog: ProfileCatalog, reactor: EpollReactor) throws {
        bench = EmulatedBench(reactor: reactor, seed: 7)
        bench.gpio.addChip(
            Self.benchChip, label: "behind gpio_emu",
            lineNames: Array(repeating: nil, count: Self.lineCount))
        guard let profile = catalog["ttl-gated-spad"] else {
            throw CheckFailure("no profile ttl-gated-spad")
        }
        var wirings: [GPIOWiring] = []
        var detectors: [SharedDetector] = []
        for (index, name) in Self.detectorNames.enumerated() {
            func lines(on chip: String) -> LineAssignment {
                Dictionary(
                    uniqueKeysWithValues: Self.roles.enumerated().map { offset, role in
                        (role, GPIOLineID(chip: chip, offset: UInt32(index * 8 + offset)))
                    })
            }
            let detector = SimpleDetector(
                breakdown: Volts(0), rate: Hertz(1000), generator: bench.context.generator(name))
            try bench.add(
                BenchEntry(
                    profile: profile, serial: name,
                    connection: .gatedDetector(
                        detector,
                        lines: Dictionary(
                            uniqueKeysWithValues: lines(on: Self.benchChip).map {
                                ($0.key.rawValue, $0.value)
                            }))))
            detectors.append(SharedDetector(detector, bench.context))
            wirings.append(GPIOWiring(name: name, profile: profile.id, lines: lines(on: chip)))
        }
        self.wirings = wirings
        self.detectors = detectors
        attachment = try KernelGPIOAttachment(
            host: bench.gpio, chip: Self.benchChip, reactor: reactor)
    }

    /// A line of the chip on the bench.
    func benchLine(_ offset: Int) -> GPIOLineID {
        GPIOLineID(chip: Self.benchChip, offset: UInt32(offset))
    }

    var missingRecords: Int { attachment.missingRecords }
}

/// The truth about a detector that the emulated devices share.
struct SharedDetector: @unchecked Sendable {
    // @unchecked: the detector is touched only under the lock of the context.
    private let detector: SimpleDetector
    private let context: EmulationContext
    init(_ detector: SimpleDetector, _ context: EmulationContext) {
        self.detector = detector
        self.context = context
    }
    var isGateOpen: Bool { context.exclusively { detector.isGateOpen } }
}
