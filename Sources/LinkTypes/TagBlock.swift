import Quantities

/// One time tag in 8 bytes: the unwrapped tick count in the high 56 bits, the channel in the low 8.
///
/// Comparing two tags compares their times, then their channels. Clicks of several channels in one
/// tick are several tags.
public struct TimeTag: Hashable, Comparable, Sendable {
    /// The packed value.
    public var rawValue: UInt64
    /// Wraps a packed value.
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// A tag at `ticks` (below 2^56) on `channel`.
    @inlinable public init(ticks: UInt64, channel: UInt8) {
        rawValue = ticks << 8 | UInt64(channel)
    }
    /// The unwrapped tick count.
    @inlinable public var ticks: UInt64 { rawValue >> 8 }
    /// The input channel, counted from 0.
    @inlinable public var channel: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
    /// Orders by time, then channel.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// A gap in the stream of a tagger whose counter started anew, as after it was unplugged.
///
/// Ticks keep rising over the gap, but across it they are tied to time by the host's clock only, to
/// milliseconds: whoever converts ticks to slots must lock its clock again.
public struct TagGap: Hashable, Sendable {
    /// Counts the runs of the tagger's counter; 0 is the first, which no gap precedes.
    public var epoch: UInt32
    /// From the tick the stream was complete through to the first tick of the new run.
    public var loss: LossMark<DeviceTicks>
    /// When the last data before the gap reached the host.
    public var lostSince: HostInstant
    /// When the tagger was acquiring again.
    public var resumed: HostInstant

    /// A gap before run `epoch` of the counter.
    public init(
        epoch: UInt32, loss: LossMark<DeviceTicks>, lostSince: HostInstant, resumed: HostInstant
    ) {
        self.epoch = epoch
        self.loss = loss
        self.lostSince = lostSince
        self.resumed = resumed
    }
}

/// What became of the tagger, told in band so that its place among the tags is certain.
public enum TagStreamEvent: Hashable, Sendable {
    /// The tagger is away. Nothing more of the present run of its counter follows.
    case interrupted(since: HostInstant, reason: String)
    /// The tagger is back, and a new run begins with the ticks after the gap.
    case resumed(TagGap)
}

/// A run of time tags of one tagger, in time order, with the losses that fall into it.
public struct TagBlock: Hashable, Sendable {
    /// The nominal length of one tick of the tagger.
    public var tickPeriod: TickPeriod
    /// The tags, in time order.
    public var tags: [TimeTag]
    /// The intervals in which tags are missing.
    public var losses: [LossMark<DeviceTicks>]
    /// The tick up to which the stream is known to be complete: later tags are not earlier than it.
    public var completeThrough: DeviceTicks
    /// When the last byte of the block reached the host.
    public var arrival: HostInstant
    /// What made the tags.
    public var provenance: Provenance
    /// What became of the tagger before the first tag of this block; blocks with an event have none.
    public var event: TagStreamEvent?

    /// A block of tags in time order.
    public init(
        tickPeriod: TickPeriod, tags: [TimeTag], losses: [LossMark<DeviceTicks>] = [],
        completeThrough: DeviceTicks, arrival: HostInstant, provenance: Provenance,
        event: TagStreamEvent? = nil
    ) {
        self.tickPeriod = tickPeriod
        self.tags = tags
        self.losses = losses
        self.completeThrough = completeThrough
        self.arrival = arrival
        self.provenance = provenance
        self.event = event
    }
}
