import DeviceProfiles
import Emulated
import OpticalBench

/// What an instrument of a bench file can be wired to.
///
/// The one place that joins the words of a bench file to the optics: a new terminal is a case here,
/// its kind of instrument and its connection.
public enum BenchTerminal: String, CaseIterable, Hashable, Sendable {
    /// Nothing on the optical bench: a stand-in for what the kind of instrument works on.
    case standIn = "stand_in"
    /// The cables of the four detectors, at Bob's time tagger.
    case receiverInputs = "receiver_inputs"
    /// Alice's pulse per second and her monitor detector, at her time tagger.
    case sourceInputs = "source_inputs"
    /// The wave plates between fibre and receiver.
    case receiverPlates = "receiver_plates"
    /// The detector of the H port.
    case detectorH = "detector_h"
    /// The detector of the V port.
    case detectorV = "detector_v"
    /// The detector of the D port.
    case detectorD = "detector_d"
    /// The detector of the A port.
    case detectorA = "detector_a"

    /// The kind of instrument that can be wired to it; nil for every kind.
    var kind: DeviceKind? {
        switch self {
        case .standIn: nil
        case .receiverInputs, .sourceInputs: .timeTagger
        case .receiverPlates: .polarizationController
        case .detectorH, .detectorV, .detectorD, .detectorA: .singlePhotonDetector
        }
    }

    /// The terminals of the detectors H, V, D and A.
    static let detectors: [BenchTerminal] = [.detectorH, .detectorV, .detectorD, .detectorA]

    /// The connection of `device` to `optics`.
    ///
    /// - Throws: `MissingProfileField` for a kind of instrument without a stand-in.
    func connection(
        of device: BenchDevice, profile: DeviceProfile, optics: LinkBench, bench: EmulatedBench
    ) throws(MissingProfileField) -> BenchConnection {
        switch self {
        case .standIn:
            if profile.identity.kind == .digitalIO, !device.pins.isEmpty {
                return .digitalIO(pins: device.pins)
            }
            return try .standIn(
                for: profile, name: device.name, context: bench.context, gpio: bench.gpio,
                units: max(1, device.addresses.count))
        case .receiverInputs:
            return .timeTagger(inputs: optics.receiverInputs, oscillator: optics.receiverOscillator)
        case .sourceInputs:
            return .timeTagger(inputs: optics.sourceInputs, oscillator: optics.sourceOscillator)
        case .receiverPlates: return .polarizationController(optics.waveplates)
        case .detectorH, .detectorV, .detectorD, .detectorA:
            let number = Self.detectors.firstIndex(of: self) ?? 0
            let element = optics.detectors[number]
            guard profile.identity.transport == .gpio else { return .detector(element) }
            return .gatedDetector(element, lines: device.lines)
        }
    }
}
