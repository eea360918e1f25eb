import Calibration
import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import LinkService
import LinkTypes
import OpticalBench
import ProtocolCore
import Quantities
import Synchronization

/// Both nodes on the full emulated bench: drivers, byte-level devices, emulated hosts.
struct LinkFixture: Sendable {
    let link: EmulatedLink
    let instruments: ReceiverInstruments
    let pair: LinkPair
    let reactor: VirtualReactor

    static var plan: LinkPlan {
        var plan = LinkPlan()
        plan.blockBits = 1 << 18
        plan.epsilonSecrecy = 1e-6
        plan.epsilonCorrectness = 1e-9
        return plan
    }

    static func make(seed: UInt64, reactor: VirtualReactor) async throws -> LinkFixture {
        let catalog = try FirmwareProfiles.catalog()
        let link = try EmulatedLink(
            plan: plan, drift: .buried, seed: seed, catalog: catalog, reactor: reactor)
        let instruments = try await link.openReceiver(try await link.discover())
        let pair = try await LinkPair(
            plan: plan, seed: seed, instruments: instruments, source: link.source,
            receiverZ: link.configuration.receiver.probabilityZ,
            slotOrigin: link.devices.context.origin, profileDigests: [], reactor: reactor)
        return LinkFixture(link: link, instruments: instruments, pair: pair, reactor: reactor)
    }

    /// Greets, starts acquisition and calibrates before `last`, or everything.
    func calibrate(
        before last: CalibrationSequence<InMemoryCalibrationRecordStore>.Step? = nil
    ) async throws {
        reactor.start { await pair.alice.run() }
        try await pair.bob.connect()
        try await pair.bob.startAcquisition()
        for step in CalibrationSequence<InMemoryCalibrationRecordStore>.Step.allCases {
            if step == last { return }
            _ = try await pair.sequence.run(step)
        }
    }

    func produceKeys() async throws {
        _ = try await pair.bob.produceKeys { _ = try await pair.sequence.run(.polarization) }
    }

    /// Schedules a fault of the device with `serial`, `delay` from now.
    func inject(
        _ kind: InjectableFault, into serial: String, after delay: Duration = .zero,
        lasting duration: Duration? = nil
    ) {
        let unknown = link.devices.schedule([
            PlannedFault(
                time: reactor.now + delay, device: serial,
                fault: EmulatedFault(kind, duration: duration))
        ])
        precondition(unknown.isEmpty, "the bench has no \(serial)")
    }

    /// Waits in virtual time until Bob's session is over; false after `seconds`.
    func sessionEnds(within seconds: Int) async throws -> Bool {
        for _ in 0..<(seconds * 10) {
            if await pair.bob.isOver {
                // The last words still travel.
                try await reactor.sleep(for: .seconds(1))
                return true
            }
            try await reactor.sleep(for: .milliseconds(100))
        }
        return false
    }

    func settings() async throws -> [Double] {
        try await instruments.controller.settings().map(\.value)
    }

    /// The detectors that still count, among those that answer.
    func countingDetectors() async -> [Int] {
        var counting: [Int] = []
        for (index, detector) in instruments.detectors.enumerated() {
            if let status = try? await detector.status(), status.isCounting {
                counting.append(index)
            }
        }
        return counting
    }
}

/// A channel that can turn against what is sent through it.
final class MeddlingChannel: MessageChannel {
    enum Mode: String, CaseIterable, Sendable { case honest, garbage, replay, silent, closing }

    private struct State {
        var mode = Mode.honest
        var remembered: [UInt8]?
        var random = SeededGenerator(seed: 7, label: "garbage on the channel")
    }
    private let inner: any MessageChannel
    private let state = Mutex(State())

    init(_ inner: any MessageChannel) { self.inner = inner }

    func turn(_ mode: Mode) { state.withLock { $0.mode = mode } }

    func send(_ bytes: [UInt8]) async throws(ByteStreamError) {
        let (mode, pieces) = state.withLock { state -> (Mode, [[UInt8]]) in
            switch state.mode {
            case .honest:
                state.remembered = bytes
                return (.honest, [bytes])
            case .garbage:
                return (
                    .garbage,
                    [bytes.map { _ in UInt8(truncatingIfNeeded: state.random.next() >> 32) }]
                )
            case .replay: return (.replay, [state.remembered, bytes].compactMap { $0 })
            case .silent: return (.silent, [])
            case .closing: return (.closing, [])
            }
        }
        if mode == .closing {
            await inner.close()
            throw .closed
        }
        for piece in pieces { try await inner.send(piece) }
    }

    func receive() async throws(ByteStreamError) -> [UInt8]? { try await inner.receive() }
    func close() async { await inner.close() }
}
