import DeviceProfiles
import Emulated
import LinuxIO
import Quantities

/// An emulated instrument that can be served on a pseudo-terminal.
public enum PtyInstrument: String, CaseIterable, Sendable {
    /// The time tagger of S-Fifteen Instruments.
    case tdc1
    /// The polarization controller of Thorlabs.
    case mpc320
    /// The detector module of S-Fifteen Instruments.
    case spd

    private var device: PtyDevice {
        switch self {
        case .tdc1: .tdc1
        case .mpc320: .mpc320
        case .spd: .spd
        }
    }

    /// Serves the instrument until `isStopped` or `seconds` have passed.
    ///
    /// - Throws: when the profile is missing or the system refuses a pseudo-terminal.
    public func serve(
        catalog: ProfileCatalog, link: String?, seed: UInt64, seconds: Double?,
        onReady: (String) -> Void, isStopped: () -> Bool
    ) throws {
        guard let profile = catalog[device.profileID] else {
            throw MissingProfileField(profile: device.profileID, path: "the whole profile")
        }
        let end = seconds.map { MonotonicTime.now + .nanoseconds(Int64($0 * 1e9)) }
        try serveOnPty(
            device, profile: profile, link: link, seed: seed, onReady: onReady,
            until: { isStopped() || (end.map { MonotonicTime.now >= $0 } ?? false) })
    }
}
