import Quantities

/// Relates the counter of a tagger to this machine's monotonic clock, by linear regression with
/// forgetting.
///
/// Each sample says "tick T reached the host at instant H". Transfers are only ever late, so a
/// sample far from the line is refused; when refusals outnumber `patience` in a row the tagger's
/// counter or the host was restarted and the estimate starts again. The result serves display,
/// scheduling and time-outs; it never moves a detection to another slot.
public struct HostClockEstimator: Hashable, Sendable {
    /// The time after which a sample's weight has fallen to 1/e, in seconds.
    public let memory: Double
    /// A sample is refused when its residual exceeds this many standard deviations.
    public let rejection: Double
    /// The number of refusals in a row after which the estimate starts again.
    public let patience: Int

    /// The samples taken since the last start.
    public private(set) var accepted = 0
    /// The samples refused since the estimator was made.
    public private(set) var refused: UInt64 = 0
    private var refusedInARow = 0
    private let nominalRate: Double
    private var originTicks: UInt64 = 0
    private var originHost: Int64 = 0
    private var weight = 0.0
    private var meanTicks = 0.0
    private var meanHost = 0.0
    private var ticksVariance = 0.0
    private var covariance = 0.0
    private var residualVariance = 0.0
    private var lastHost = 0.0

    /// The smallest standard deviation assumed for a residual, in nanoseconds.
    private static let residualFloor = 2_000.0
    /// The samples needed before residuals are judged.
    private static let warmUp = 8

    /// An estimator for a counter with the given nominal tick.
    public init(
        tickPeriod: TickPeriod, memory: Duration = .seconds(60), rejection: Double = 6,
        patience: Int = 32
    ) {
        precondition(memory.inSeconds > 0 && rejection > 0 && patience > 0)
        self.memory = memory.inSeconds
        self.rejection = rejection
        self.patience = patience
        nominalRate = tickPeriod.picoseconds * 1e-3
    }

    /// The estimated nanoseconds of host time a tick lasts.
    public var nanosecondsPerTick: Double {
        // Until the samples span something, the nominal length is the better estimate.
        guard accepted >= 2, ticksVariance > 0 else { return nominalRate }
        return covariance / ticksVariance
    }

    /// The standard deviation of the samples about the line, in nanoseconds.
    public var residual: Double { residualVariance.squareRoot() }

    /// Takes one sample; returns whether it was used.
    @discardableResult
    public mutating func add(ticks: DeviceTicks, host: HostInstant) -> Bool {
        if accepted == 0 { restart(ticks: ticks, host: host) }
        let x = difference(ticks.rawValue, originTicks)
        let y = Double(host.nanoseconds - originHost)
        if accepted >= Self.warmUp {
            let deviation = abs(y - meanHost - nanosecondsPerTick * (x - meanTicks))
            if deviation > rejection * max(residual, Self.residualFloor) {
                refused += 1
                refusedInARow += 1
                guard refusedInARow > patience else { return false }
                accepted = 0
                return add(ticks: ticks, host: host)
            }
        }
        refusedInARow = 0
        update(x: x, y: y)
        return true
    }

    /// The host instant at which a tick happened, or `nil` before the first sample.
    public func instant(of ticks: DeviceTicks) -> HostInstant? {
        guard accepted > 0 else { return nil }
        let x = difference(ticks.rawValue, originTicks)
        let y = meanHost + nanosecondsPerTick * (x - meanTicks)
        guard abs(y) < 0x1p62 else { return nil }
        let (sum, overflow) = originHost.addingReportingOverflow(Int64(y.rounded()))
        return overflow ? nil : HostInstant(nanoseconds: sum)
    }

    /// The tick at a host instant, or `nil` before the first sample or before tick 0.
    public func ticks(at host: HostInstant) -> DeviceTicks? {
        guard accepted > 0 else { return nil }
        let y = Double(host.nanoseconds - originHost)
        let x = (meanTicks + (y - meanHost) / nanosecondsPerTick).rounded()
        guard abs(x) < 0x1p62 else { return nil }
        let sum = Int128(originTicks) + Int128(x)
        return UInt64(exactly: sum).map { DeviceTicks($0) }
    }

    private mutating func restart(ticks: DeviceTicks, host: HostInstant) {
        originTicks = ticks.rawValue
        originHost = host.nanoseconds
        weight = 0
        (meanTicks, meanHost, ticksVariance, covariance) = (0, 0, 0, 0)
        residualVariance = 0
        lastHost = 0
        refusedInARow = 0
    }

    private mutating func update(x: Double, y: Double) {
        let keep = exponential(-max(0, y - lastHost) * 1e-9 / memory)
        lastHost = y
        weight = weight * keep + 1
        let gain = 1 / weight
        let (dx, dy) = (x - meanTicks, y - meanHost)
        if accepted >= 2 {
            let error = dy - nanosecondsPerTick * dx
            residualVariance += gain * (error * error - residualVariance)
        }
        meanTicks += gain * dx
        meanHost += gain * dy
        ticksVariance = (1 - gain) * (ticksVariance + gain * dx * dx)
        covariance = (1 - gain) * (covariance + gain * dx * dy)
        accepted += 1
    }

    private func difference(_ left: UInt64, _ right: UInt64) -> Double {
        left >= right ? Double(left - right) : -Double(right - left)
    }
}
