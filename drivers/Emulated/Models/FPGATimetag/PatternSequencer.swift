/// The four pattern outputs of the FPGA tagger, clock by clock (`sequencer.v`).
///
/// A running channel stays for its count plus one clock, because it changes when it finds its counter
/// at zero. The outputs are wired to the delta inputs of the tagger.
struct PatternSequencer {
    /// One output.
    struct Channel {
        /// Bit 0 lets it run, bit 1 is the level that a reset gives it.
        var configuration: UInt32 = 0
        /// Clocks before the first change after a reset.
        var initialCount: UInt32 = 0
        /// Clocks for which it stays low.
        var lowCount: UInt32 = 0
        /// Clocks for which it stays high.
        var highCount: UInt32 = 0
        fileprivate var isHigh = false
        fileprivate var counter: Int64 = 0
    }

    /// Bit 0 lets all channels run, bit 1 resets them.
    private(set) var control: UInt32 = 0
    /// The channels.
    private(set) var channels = [Channel](repeating: Channel(), count: 4)
    private var clock: Int64 = 0

    /// The levels, one bit for each channel.
    var outputs: UInt64 {
        channels.indices.reduce(0) { $0 | (channels[$1].isHigh ? 1 << UInt64($1) : 0) }
    }

    private func isRunning(_ channel: Channel) -> Bool {
        control & 3 == 1 && channel.configuration & 1 == 1
    }

    /// The clock of the next change of an output; nil while all stand still.
    var nextChange: Int64? {
        channels.filter(isRunning).map { clock + $0.counter + 1 }.min()
    }

    /// Goes on to `end`, which is at most the next change.
    mutating func run(to end: Int64) {
        let elapsed = end - clock
        guard elapsed > 0 else { return }
        clock = end
        for index in channels.indices where isRunning(channels[index]) {
            channels[index].counter -= elapsed
            guard channels[index].counter < 0 else { continue }
            let wasHigh = channels[index].isHigh
            channels[index].isHigh = !wasHigh
            channels[index].counter = Int64(
                wasHigh ? channels[index].lowCount : channels[index].highCount)
        }
    }

    /// Sets the common control register.
    mutating func setControl(_ value: UInt32) {
        control = value
        applyReset()
    }

    /// Changes the registers of a channel.
    mutating func configure(_ channel: Int, _ change: (inout Channel) -> Void) {
        change(&channels[channel])
        applyReset()
    }

    /// As long as the reset bit is set, the outputs follow their registers.
    private mutating func applyReset() {
        guard control & 2 != 0 else { return }
        for index in channels.indices {
            channels[index].isHigh = channels[index].configuration & 2 != 0
            channels[index].counter = Int64(channels[index].initialCount)
        }
    }
}
