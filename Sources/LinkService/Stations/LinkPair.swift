import Calibration
import HostIO
import Instruments
import LinkTypes
import ProtocolCore
import Quantities

/// Both nodes of an emulated link in one process, joined by a channel in memory.
public struct LinkPair: Sendable {
    /// Alice's node.
    public let alice: AliceStation
    /// Bob's node.
    public let bob: ReceiverStation
    /// The calibrations of Bob's node.
    public let sequence: CalibrationSequence<InMemoryCalibrationRecordStore>

    /// Nodes that have not started, joined by `channels` or by a new channel in memory.
    ///
    /// - Throws: when the plan is out of range.
    public init(
        plan: LinkPlan, seed: UInt64, instruments: ReceiverInstruments,
        source: any SourceControl, receiverZ: Double, slotOrigin: HostInstant,
        profileDigests: [String], reactor: any Reactor,
        channels: (alice: any MessageChannel, bob: any MessageChannel)? = nil
    ) async throws {
        let parameters = try plan.sessionParameters()
        let aliceKeys = NodeKeyStore(
            role: .alice, preShared: PreSharedKeys(emulatedWithSeed: seed))
        let bobKeys = NodeKeyStore(
            role: .bob, preShared: PreSharedKeys(emulatedWithSeed: seed))
        let (left, right): (any MessageChannel, any MessageChannel)
        if let channels {
            (left, right) = channels
        } else {
            (left, right) = await MemoryChannel.pair(reactor: reactor, delay: .microseconds(500))
        }
        let secret = plan.secretPattern(seed: seed)
        alice = AliceStation(
            session: AliceSession(
                parameters: parameters, pattern: secret,
                expectedKeyFraction: plan.expectedKeyFraction(receiverZ: receiverZ),
                authenticator: try aliceKeys.authenticator(), store: aliceKeys,
                random: SeededGenerator(seed: seed, label: "Alice's session")),
            secretPattern: secret, source: source, channel: left, reactor: reactor)
        bob = ReceiverStation(
            instruments: instruments,
            settings: ReceiverSettings(
                slotPeriod: plan.slotPeriod, slotOrigin: slotOrigin,
                publishedKey: plan.publishedKey),
            session: BobSession(
                parameters: parameters, authenticator: try bobKeys.authenticator(), store: bobKeys,
                random: SeededGenerator(seed: seed, label: "Bob's session")),
            channel: right,
            multipleClicks: SeededGenerator(seed: seed, label: "multiple clicks"),
            reactor: reactor)
        sequence = CalibrationSequence(
            station: bob, store: InMemoryCalibrationRecordStore(digest: recordDigest),
            context: CalibrationContext(
                software: softwareVersion, profileDigests: profileDigests),
            slotPeriod: plan.slotPeriod, stack: await retarderStack(of: instruments.controller))
    }
}

/// The model of a quarter-, half- and quarter-wave controller within the range that it allows.
func retarderStack(of controller: any PolarizationController) async -> RetarderStack {
    guard let range = await controller.axes.first?.range else { return .quarterHalfQuarter() }
    return .quarterHalfQuarter(range: range)
}

/// The version written into records.
public let softwareVersion = "berek 0.1.0"
