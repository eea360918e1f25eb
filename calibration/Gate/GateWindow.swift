/// The part of a slot in which clicks are accepted, after delays are taken off.
public struct GateWindow: Hashable, Sendable, Codable {
    /// The first accepted picosecond from the centre of the slot.
    public var start: Double
    /// The end of the gate.
    public var end: Double
    /// The fraction of signal clicks that fall inside.
    public var signalFraction: Double
    /// The fraction of the clicks inside that are background.
    public var backgroundFraction: Double
    /// The largest relative difference of the accepted fraction between two detectors.
    public var mismatch: Double

    /// A gate; `start` must lie before `end`.
    public init(
        start: Double, end: Double, signalFraction: Double, backgroundFraction: Double,
        mismatch: Double
    ) {
        precondition(start < end, "a gate has a positive width")
        self.start = start
        self.end = end
        self.signalFraction = signalFraction
        self.backgroundFraction = backgroundFraction
        self.mismatch = mismatch
    }

    /// The middle of the gate.
    public var centre: Double { (start + end) / 2 }
    /// The length of the gate.
    public var width: Double { end - start }
}
