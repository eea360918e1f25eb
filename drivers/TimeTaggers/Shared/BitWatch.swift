/// Finds a bit of a counter that is stuck, from time stamps alone.
///
/// A bit counts as stuck when it has had one value in 512 samples in a row, while the three bits below
/// it took each of their eight values at least three quarters as often as chance has it, and the value
/// below it went twice across its end, from its last to its first quarter or back.
///
/// The last condition is what distinguishes a stuck bit from a slow one: a bit that works changes
/// when those below it wrap, so one whose half period is long, and one that a source of nearly fixed
/// period samples almost in step, never meet it. The even spread excludes a source in step with the
/// counter whose pulses are narrower than the half period.
///
/// False alarms. Pulses in no step with the counter: 2^-511 for each bit and run. A source in step,
/// with a normal distribution of any width about the middle of the half period: below 1e-15, because
/// a narrow one leaves the outer eighths empty and a wide one does not stay inside (2.4 % of width
/// 2^bit/4.5 lie outside: 4e-6 in 512 samples, times less than 1e-12 for two outer eighths to hold 48
/// samples where 17 are expected). What would raise one every time is a source that is gated for exactly every other half period
/// of a bit and evenly within it, in step with the counter to an eighth of it.
///
/// Not found: the three lowest bits, which have too little below them; bits that do not change for a
/// source in step with the counter, which are then right or wrong by a constant; bits whose period is
/// longer than a quarter of the time of 512 samples, unless they make records go back. It takes 512 samples: 0.6 s with 3000 records per
/// second or more, 1536 records below 1000 per second, and two periods of the bit.
package struct BitWatch {
    /// The bits that are watched.
    private let watched: UInt64
    /// Ticks between two samples: a millisecond and a tenth, so that a round period does not alias.
    private let spacing: UInt64
    private var lastSample: UInt64 = 0
    private var records = 0

    private var previous: UInt64?
    /// How often each bit had its value, as binary digits: digit i of bit b is bit b of element i.
    private var run = BitCounters(digits: 9)
    private var eighths = [BitCounters](repeating: BitCounters(digits: 6), count: 8)
    private var crossedOnce: UInt64 = 0
    private var crossedTwice: UInt64 = 0
    private var runStart = [UInt64](repeating: 0, count: 64)

    /// Samples of a run, and the least of them in each eighth, of which 64 are expected.
    package static let samples = 512
    static let samplesOfEighth = 48

    /// - Parameters:
    ///   - width: the bits of the counter; nothing is expected of those above.
    ///   - ticksPerSecond: of the counter.
    package init(width: Int, ticksPerSecond: Double) {
        let all: UInt64 = width >= 64 ? .max : 1 << UInt64(width) - 1
        watched = all & ~7
        spacing = UInt64(ticksPerSecond * 1.1e-3)
    }

    /// Whether the record at `ticks`, its time without wraps, is to be a sample. To be asked for every
    /// record.
    @inline(__always)
    package mutating func isDue(at ticks: UInt64) -> Bool {
        records &+= 1
        // An odd number of records, so that a train of pulses does not alias to half of its phases.
        return ticks >= lastSample &+ spacing && records >= 3 && records & 1 == 1
    }

    /// Takes a sample: the time of a record as the counter showed it.
    ///
    /// - Parameter ticks: the same time without wraps.
    /// - Returns: the stuck bit, and the tick since which it may have been stuck.
    package mutating func sample(counter: UInt64, ticks: UInt64) -> (bit: Int, since: UInt64)? {
        defer { (lastSample, records, previous) = (ticks, 0, counter) }
        let last = previous ?? ~counter
        let changed = (counter ^ last) & watched
        let kept = ~changed
        var rest = changed
        while rest != 0 {
            runStart[rest.trailingZeroBitCount] = lastSample
            rest &= rest - 1
        }
        run.clear(except: kept)
        run.add(watched, limit: Self.samples)
        let (half, quarter, eighth) = (counter << 1, counter << 2, counter << 3)
        for index in 0..<8 {
            let place =
                (index & 4 != 0 ? half : ~half) & (index & 2 != 0 ? quarter : ~quarter)
                & (index & 1 != 0 ? eighth : ~eighth)
            eighths[index].clear(except: kept)
            eighths[index].add(place & watched, limit: Self.samplesOfEighth)
        }
        let (lastHalf, lastQuarter) = (last << 1, last << 2)
        let crossed =
            (lastHalf & lastQuarter & ~half & ~quarter)
            | (~lastHalf & ~lastQuarter & half & quarter)
        crossedTwice = (crossedTwice & kept) | (crossedOnce & kept & crossed)
        crossedOnce = (crossedOnce | crossed) & kept
        let stuck = eighths.reduce(run.reached & crossedTwice & watched) { $0 & $1.reached }
        guard stuck != 0 else {
            // Each 512 samples are judged by themselves: rare ones must not add up for ever.
            renew(run.reached)
            return nil
        }
        let bit = stuck.trailingZeroBitCount
        return (bit, runStart[bit])
    }
}

extension BitWatch {
    /// Begins to count anew for the bits of `mask`, which have kept their value.
    private mutating func renew(_ mask: UInt64) {
        guard mask != 0 else { return }
        run.clear(except: ~mask)
        for index in eighths.indices { eighths[index].clear(except: ~mask) }
        crossedOnce &= ~mask
        crossedTwice &= ~mask
    }
}

/// Counters for 64 bits side by side, each of which stops at a limit.
struct BitCounters {
    /// Digit i of every counter.
    private var digits: [UInt64]
    /// The counters that have reached the limit.
    private(set) var reached: UInt64 = 0

    init(digits count: Int) { digits = Array(repeating: 0, count: count) }

    /// Counts the bits of `mask`.
    mutating func add(_ mask: UInt64, limit: Int) {
        var carry = mask & ~reached
        var equal = ~UInt64(0)
        for index in digits.indices {
            let digit = digits[index]
            digits[index] = digit ^ carry
            carry &= digit
            equal &= limit >> index & 1 == 1 ? digits[index] : ~digits[index]
        }
        // What is carried out of the last digit has reached twice its weight.
        reached |= limit == 1 << digits.count ? carry : equal
    }

    /// Sets all counters but those in `mask` to zero.
    mutating func clear(except mask: UInt64) {
        for index in digits.indices { digits[index] &= mask }
        reached &= mask
    }
}
