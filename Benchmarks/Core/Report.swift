import Glibc
import Quantities

/// What one run of the benchmarks found: lines for people, and goals met or missed.
///
/// Times are processor time of this thread, so that other work on the machine costs accuracy and
/// not truth. Every figure comes with a digest of the result it stands for.
struct Report {
    /// Whether small sizes and few repetitions were asked for.
    let isQuick: Bool
    private(set) var met = 0
    private(set) var missed = 0

    init(isQuick: Bool) { self.isQuick = isQuick }

    /// Prints one line of the table.
    func line(_ stage: String, _ figure: String, digest: UInt64? = nil) {
        let mark = digest.map { "  digest \(String($0, radix: 16))" } ?? ""
        print("\(padded(stage, to: 44)) \(figure)\(mark)")
    }

    /// Prints a figure with its goal, and counts it.
    mutating func goal(_ stage: String, _ figure: String, wanted: String, isMet: Bool) {
        print("\(padded(stage, to: 44)) \(figure)  goal \(wanted): \(isMet ? "met" : "MISSED")")
        if isMet { met += 1 } else { missed += 1 }
    }

    private func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}

/// The processor time of this thread, in seconds.
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// The median processor time of `work`, in seconds per call, over at least `runs` runs that last
/// `span` seconds or more together.
func medianSeconds(runs: Int = 5, span: Double = 0.5, _ work: () -> Void) -> Double {
    var times: [Double] = []
    var total = 0.0
    while times.count < runs || total < span {
        let start = processorSeconds()
        work()
        let time = processorSeconds() - start
        times.append(time)
        total += time
    }
    times.sort()
    return times[times.count / 2]
}

/// A number with `digits` digits after the point.
func decimal(_ value: Double, _ digits: Int = 2) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    guard value.isFinite, abs(value) * scale < 1e15 else { return "\(value)" }
    let whole = Int((abs(value) * scale).rounded())
    let text = String(whole)
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    let sign = value < 0 && whole != 0 ? "-" : ""
    return digits == 0 ? sign + text : sign + padded.dropLast(digits) + "." + padded.suffix(digits)
}

/// A running FNV-1a digest of words: enough to see that two results differ.
struct Digest {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ word: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            value = (value ^ (word >> shift & 0xff)) &* 0x100_0000_01b3
        }
    }

    mutating func add(_ words: some Sequence<UInt64>) {
        for word in words { add(word) }
    }
}
