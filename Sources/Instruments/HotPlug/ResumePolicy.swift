import Quantities

/// How long, and how often, an instrument that left is waited for.
public struct ResumePolicy: Hashable, Sendable {
    /// The longest absence.
    public var patience: Duration
    /// The most returns within `window`; a cable with a bad contact would go on for ever.
    public var maximumReturns: Int
    /// The time in which returns are counted.
    public var window: Duration
    /// The pause between two attempts to open an instrument that is back.
    public var retryPause: Duration
    /// How long a failed transfer may be looked into before it counts as something else than an
    /// instrument that left: the host may learn of the one before the other.
    public var departureGrace: Duration

    /// A policy; the defaults give a technician two minutes to put the plug back.
    public init(
        patience: Duration = .seconds(120), maximumReturns: Int = 5,
        window: Duration = .seconds(600), retryPause: Duration = .milliseconds(500),
        departureGrace: Duration = .seconds(2)
    ) {
        precondition(patience > .zero && maximumReturns > 0 && retryPause > .zero)
        self.patience = patience
        self.maximumReturns = maximumReturns
        self.window = window
        self.retryPause = retryPause
        self.departureGrace = departureGrace
    }
}

/// Counts returns, so that an instrument that keeps leaving is given up.
struct ReturnCounter {
    let policy: ResumePolicy
    private var times: [HostInstant] = []

    init(_ policy: ResumePolicy) { self.policy = policy }

    /// Notes a return; false when there were too many lately.
    mutating func note(at now: HostInstant) -> Bool {
        times.removeAll { now - $0 > policy.window }
        times.append(now)
        return times.count <= policy.maximumReturns
    }
}
