import Quantities

/// What has happened to the counter of an emulated time tagger: it stood still and went on from there,
/// or jumped ahead.
struct CounterFaults {
    private var stopped: (reading: Int64, since: Picoseconds, until: Picoseconds)?
    /// How far the counter is ahead of its oscillator, by what is over, in picoseconds.
    private var lead: Int64 = 0

    /// What the counter shows when its oscillator, had nothing happened, shows `oscillator`.
    func reading(_ oscillator: Picoseconds, at time: Picoseconds) -> Int64 {
        guard let stopped else { return oscillator.rawValue + lead }
        if time < stopped.until { return stopped.reading }
        // The oscillator may have run a trifle slow; a counter does not go back for that.
        let lost = (stopped.until - stopped.since).rawValue
        return max(stopped.reading, oscillator.rawValue + lead - lost)
    }

    /// The counter, which shows `reading`, stands still until `end`.
    mutating func stop(at time: Picoseconds, until end: Picoseconds, reading: Int64) {
        if var present = stopped, time < present.until {
            present.until = max(present.until, end)
            stopped = present
            return
        }
        settle()
        stopped = (reading, time, end)
    }

    /// The counter jumps ahead.
    mutating func step(by step: Picoseconds) {
        lead += step.rawValue
        stopped?.reading += step.rawValue
    }

    private mutating func settle() {
        guard let past = stopped else { return }
        lead -= (past.until - past.since).rawValue
        stopped = nil
    }
}
