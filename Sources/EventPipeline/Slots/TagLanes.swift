import LinkTypes
import Quantities

/// One input of one tagger on its way to a detector: constant delay, hence always in time order.
struct TagLane: Sendable {
    let detector: UInt8
    /// Subtracted from the link time of a tag, in picoseconds.
    let delay: Int64
    /// Clicks not yet merged, in order; those before `head` are spent.
    var keys: [ClickKey] = []
    var head = 0
    /// The last click taken, for the check of the order.
    var last: ClickKey = 0

    var pending: Int { keys.count - head }

    /// Gives the space of spent clicks back once they are half of the lane.
    mutating func compact() {
        guard head > 0, head * 2 >= keys.count else { return }
        keys.removeSubrange(0..<head)
        head = 0
    }
}

/// What became of the tags of a block that did not enter a lane.
struct RefusedTags {
    /// Tags on inputs that lead to no detector.
    var unassigned: UInt64 = 0
    /// Tags before the first slot of the pipeline.
    var beforeStart: UInt64 = 0
    /// Link times of tags that came after their place in the order was passed.
    var late: [Int64] = []
    /// Tags beyond the horizon of link time.
    var beyondHorizon: UInt64 = 0
}

/// The bounds a click's biased time must lie within.
struct ClickWindow {
    /// Times before this belong to no slot of the pipeline.
    var start: Int64
    /// Times before this were already handed on.
    var released: Int64
    var bias: Int64
}

/// Converts tags of one tagger to link time and appends them to their lanes.
///
/// `laneOfChannel` has 256 entries, 255 for none.
func distribute(
    _ tags: Span<TimeTag>, clock: ClockModel, laneOfChannel: [UInt8], window: ClickWindow,
    lanes: inout [TagLane]
) -> RefusedTags {
    var refused = RefusedTags()
    let segments = clock.segments
    var current = 0
    for index in tags.indices {
        let tag = tags[index]
        let lane = Int(laneOfChannel[Int(tag.channel)])
        guard lane < 255 else {
            refused.unassigned += 1
            continue
        }
        let ticks = Int64(tag.ticks)
        while current + 1 < segments.count, segments[current + 1].start <= ticks { current += 1 }
        while current > 0, segments[current].start > ticks { current -= 1 }
        let unshifted = segments[current].picoseconds(of: ticks)
        guard unshifted < ClockModel.horizon else {
            refused.beyondHorizon += 1
            continue
        }
        let time = unshifted - lanes[lane].delay
        guard time >= window.start else {
            refused.beforeStart += 1
            continue
        }
        let key = ClickKey(UInt64(time + window.bias) << 2 | UInt64(lanes[lane].detector))
        guard time >= window.released, key >= lanes[lane].last else {
            refused.late.append(time)
            continue
        }
        lanes[lane].last = key
        lanes[lane].keys.append(key)
    }
    return refused
}

/// Moves every click with a key below `limit` from the lanes to `merged`, in order of the keys.
///
/// A bounded number of lanes with small heads: a linear search for the least head is faster than a
/// tree up to about ten lanes.
func mergeLanes(_ lanes: inout [TagLane], before limit: ClickKey, into merged: inout [ClickKey]) {
    var heads: [ClickKey] = []
    var total = 0
    for lane in lanes {
        heads.append(lane.pending > 0 ? lane.keys[lane.head] : .max)
        total += lane.pending
    }
    merged.reserveCapacity(merged.count + total)
    while true {
        var least = ClickKey.max
        var source = -1
        for index in heads.indices {
            // Which lane is next can not be predicted: selections instead of branches.
            let isLess = heads[index] < least
            source = isLess ? index : source
            least = isLess ? heads[index] : least
        }
        guard least < limit, source >= 0 else { break }
        merged.append(least)
        let next = lanes[source].head + 1
        lanes[source].head = next
        heads[source] = next < lanes[source].keys.count ? lanes[source].keys[next] : .max
    }
    for index in lanes.indices { lanes[index].compact() }
}
