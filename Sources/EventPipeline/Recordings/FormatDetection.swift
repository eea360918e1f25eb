import Quantities

// Which format a recording has, by its content. PTU files and text announce themselves; the
// binary S-Fifteen layouts do not, so the one under which time runs forwards is taken.

/// A format and how sure it is.
struct DetectedFormat {
    var format: RecordingFormat
    /// What was assumed, when the content leaves a choice.
    var assumption: String?
}

/// Looks at the beginning of a recording without consuming it.
func detectFormat(_ bytes: inout BufferedBytes) throws(RecordingError) -> DetectedFormat {
    let sampleSize = 1 << 16
    _ = try bytes.fill(sampleSize)
    let sample = (0..<min(sampleSize, bytes.available)).map { bytes[$0] }
    if sample.starts(with: PTUHeader.magic) { return DetectedFormat(format: .picoQuant) }
    if sample.starts(with: Array("PQHISTO".utf8)) {
        throw .unsupported(offset: 0, what: "PicoQuant histogram files (PHU); they hold no events")
    }
    if let digits = hexLineLength(sample) {
        let encoding: SFifteenEncoding = digits == 16 ? .a2 : .a0
        let end = (sample.lastIndex(of: 0x0A) ?? sample.count - 1) + 1
        var binary: [UInt8] = []
        var lines = HexLineSource(
            BufferedBytes(MemoryByteSource(Array(sample[..<end]))), digits: digits)
        _ = try lines.read(upTo: sampleSize, into: &binary)
        let (layout, assumption) = try plausibleLayout(
            binary, allowsFast: encoding == .a0, minimumWords: 1)
        return DetectedFormat(format: .sFifteen(encoding, layout), assumption: assumption)
    }
    let (layout, assumption) = try plausibleLayout(sample, allowsFast: true, minimumWords: 16)
    return DetectedFormat(format: .sFifteen(.a1, layout), assumption: assumption)
}

/// 8 or 16 when the bytes begin with a line of so many hexadecimal digits.
private func hexLineLength(_ sample: [UInt8]) -> Int? {
    let digits = sample.prefix { hexDigitValue($0) != nil }.count
    guard digits == 8 || digits == 16 else { return nil }
    guard digits < sample.count else { return digits }
    return sample[digits] == 0x0A || sample[digits] == 0x0D ? digits : nil
}

/// How well words fit a layout.
private struct Plausibility {
    var words: Int
    /// The steps backwards in time.
    var backwards: Int
    /// Words whose spare bits do not look like those of any known tagger, each counted in full.
    var strange: Double
    /// Whether all spare bits down to the pattern are zero, as with 49 bits of time.
    var isCoarse: Bool

    var disorder: Double { Double(backwards) / Double(max(1, words - 1)) }
    var cost: Double { disorder + 0.5 * strange / Double(words) }

    /// Whether `other`, of a higher cost, might fit as well: less than five standard deviations of
    /// the numbers of misfits between the two.
    func isHardToTell(from other: Plausibility) -> Bool {
        let scale = Double(min(words, other.words))
        let (a, b) = (cost * scale, other.cost * scale)
        return b - a < 5 * (a + b).squareRoot() || b - a < 3
    }
}

/// The layout under which the words make most sense. Throws when none does, or when there are
/// fewer than `minimumWords`, of which anything could be said.
private func plausibleLayout(
    _ bytes: [UInt8], allowsFast: Bool, minimumWords: Int
) throws(RecordingError) -> (SFifteenLayout, String?) {
    var candidates: [(layout: SFifteenLayout, fit: Plausibility)] = []
    for isSwapped in [false, true] {
        guard let fit = fitOf64BitWords(bytes, isSwapped: isSwapped) else { continue }
        let layout: SFifteenLayout =
            fit.isCoarse
            ? (isSwapped ? .bits49Swapped : .bits49) : (isSwapped ? .bits54Swapped : .bits54)
        candidates.append((layout, fit))
    }
    if allowsFast, let fit = fitOfFastWords(bytes) { candidates.append((.fast32, fit)) }
    // Stable: of equally good layouts the first listed is taken.
    let ordered = candidates.enumerated().sorted {
        ($0.element.fit.cost, $0.offset) < ($1.element.fit.cost, $1.offset)
    }.map(\.element)
    guard let best = ordered.first, best.fit.disorder <= 0.15, best.fit.cost <= 0.4,
        best.fit.words >= minimumWords
    else {
        let start = bytes.prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        throw .unrecognized(found: start.isEmpty ? "nothing" : start.joined(separator: " "))
    }
    guard ordered.count > 1, best.fit.isHardToTell(from: ordered[1].fit) else {
        return (best.layout, nil)
    }
    let names = "\(best.layout.rawValue) and \(ordered[1].layout.rawValue)"
    return (
        best.layout,
        "the content fits the layouts \(names) about equally; the first is taken, name the format"
            + " to be sure"
    )
}

private func fitOf64BitWords(_ bytes: [UInt8], isSwapped: Bool) -> Plausibility? {
    var words = 0
    var backwards = 0
    var strange = 0
    var spareBits: UInt64 = 0
    var hasLapped = false
    var previous: UInt64?
    for start in stride(from: 0, to: bytes.count - bytes.count % 8, by: 8) {
        var raw: UInt64 = 0
        for index in 0..<8 { raw |= UInt64(bytes[start + index]) << UInt64(8 * index) }
        guard raw != 0 else { continue }
        let word = isSwapped ? raw << 32 | raw >> 32 : raw
        words += 1
        // The taggers of S-Fifteen set bits 9 and 8; everybody else leaves bits 9 to 5 clear.
        if word & 0x300 != 0x300, word & 0x3E0 != 0 { strange += 1 }
        spareBits |= word & 0x7FF0
        let time = word >> 10
        if let previous, time < previous {
            // The counter's lap takes 19.5 hours: one in the sample is a lap, more are disorder.
            if previous - time > 1 << 53, !hasLapped { hasLapped = true } else { backwards += 1 }
        }
        previous = time
    }
    guard words > 0 else { return nil }
    return Plausibility(
        words: words, backwards: backwards, strange: Double(strange), isCoarse: spareBits == 0)
}

private func fitOfFastWords(_ bytes: [UInt8]) -> Plausibility? {
    var words = 0
    var backwards = 0
    var strange = 0
    var previous: UInt32 = 0
    for start in stride(from: 0, to: bytes.count - bytes.count % 4, by: 4) {
        var word: UInt32 = 0
        for index in 0..<4 { word |= UInt32(bytes[start + index]) << UInt32(8 * index) }
        guard word != 0 else { continue }
        words += 1
        let isRollover = ~word & previous & 0x8000_0000 != 0
        if words > 1, !isRollover, word >> 6 < previous >> 6 { backwards += 1 }
        // A click of one detector, or a rollover mark, is by far the most common.
        if word & 0x10 == 0, (word & 0xF).nonzeroBitCount != 1 { strange += 1 }
        previous = word
    }
    guard words > 0 else { return nil }
    // The short words carry no mark of their own, so they are taken only on better evidence.
    return Plausibility(
        words: words, backwards: backwards, strange: Double(strange) + 0.2 * Double(words),
        isCoarse: false)
}
