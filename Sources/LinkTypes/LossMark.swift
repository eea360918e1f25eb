/// Why events are missing from an interval of a stream.
public enum LossReason: String, Hashable, Sendable, Codable {
    /// The instrument's own buffer overflowed.
    case deviceOverflow
    /// A transfer failed and its content is gone.
    case transferFailure
    /// The instrument was disconnected.
    case disconnected
    /// The host did not take data in time.
    case hostOverrun
    /// Records were damaged and could not be decoded.
    case corruptRecords
    /// The instrument's clock stood still or jumped, or its counter is damaged: times are wrong.
    case clockFault
    /// An actuator was moving, so detections do not belong to a known setting.
    case actuatorMoving
    /// Detections were removed on purpose, such as those within a dead time.
    case discarded
}

/// An interval of a stream in which events are missing; carried in band, never dropped.
public struct LossMark<Position: Comparable & Hashable & Sendable>: Hashable, Sendable {
    /// The first position that may be affected.
    public var start: Position
    /// The first position after `start` known to be unaffected.
    public var end: Position
    /// The number of lost events, or `nil` when it can not be known.
    public var count: UInt64?
    /// Why they are missing.
    public var reason: LossReason

    /// A loss of `count` events between `start` and `end`.
    public init(start: Position, end: Position, count: UInt64?, reason: LossReason) {
        precondition(start <= end, "a loss ends after it starts")
        self.start = start
        self.end = end
        self.count = count
        self.reason = reason
    }
}
