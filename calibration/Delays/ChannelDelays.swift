/// How late each detector's clicks come: path, detector and tagger channel together.
public struct ChannelDelays: Hashable, Sendable, Codable {
    /// Picoseconds after the mean of all detectors, one for each detector 0…3; their sum is zero.
    public var picoseconds: [Double]
    /// One standard deviation of each.
    public var deviations: [Double]
    /// Delays of four detectors.
    public init(picoseconds: [Double], deviations: [Double]) {
        precondition(picoseconds.count == 4 && deviations.count == 4, "one delay a detector")
        self.picoseconds = picoseconds
        self.deviations = deviations
    }
    /// No delays.
    public static let zero = ChannelDelays(
        picoseconds: [0, 0, 0, 0], deviations: [0, 0, 0, 0])
}
