/// Where data came from; carried by every record it touches.
///
/// Keys made from anything but `.device` are refused by every production sink.
public enum Provenance: String, Hashable, Sendable, Codable {
    /// A physical instrument.
    case device
    /// An emulated instrument.
    case emulated
    /// A recording read from a file.
    case recording

    /// The provenance of data made from both sources: physical only if both are.
    public func combined(with other: Provenance) -> Provenance {
        self == .device ? other : other == .device || other == self ? self : .emulated
    }
}
