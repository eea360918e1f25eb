import LinkTypes
import Quantities

/// The photons of Alice's pulses that reach a diode and would fire it.
///
/// A coherent state behind any passive optics gives independent Poisson counts in all ports, so the
/// detected photons are a thinned Poisson process along the axis of slots: candidates are drawn
/// with the constant mean `bound` per slot, each costs one logarithm however many slots it skips,
/// and is kept with the ratio of the actual mean of its symbol and port to the bound. Several
/// photons in one slot, in one port or several, come out with the right probabilities.
struct PhotonProcess {
    private var generator: SeededGenerator
    private var normal = NormalDeviates()
    private let oscillator: Oscillator
    private let delay: FibreDelay
    private let period: Int64
    private let pulseWidth: Double
    private let pathDelays: [Int64]
    /// The mean of the candidates in a slot, not below the detected mean of any symbol.
    let bound: Double
    /// The mean photon number of each of the 256 classes relative to the brightest.
    private let relativeIntensity: [Double]
    var schedule: TransmissionSchedule
    var eavesdropper: Eavesdropper
    private let preparedStates: [StokesVector]
    private let meanPhotonNumbers: [Double]
    /// Kept only while truth records are wanted.
    var numbers: PhotonNumberTruth?

    /// For Alice's four states and then the eavesdropper's: the cumulated chances of the ports.
    var cumulated = [Double](repeating: 0, count: 32)

    /// The slot of the next candidate; all photons of earlier slots are placed.
    private(set) var nextSlot: UInt64
    private var slotFraction: Double
    private var nextArrival: Int64 = .max
    private var isHop = false

    init(
        configuration: LinkBenchConfiguration, parameters: LinkParameters, oscillator: Oscillator,
        schedule: TransmissionSchedule, seed: UInt64
    ) {
        generator = SeededGenerator(seed: seed, label: "photons")
        self.oscillator = oscillator
        self.schedule = schedule
        delay = FibreDelay(configuration: configuration.fibre)
        period = parameters.slotPeriod.rawValue
        pulseWidth = Double(configuration.source.pulseWidth.rawValue)
        pathDelays = parameters.detectors.map { $0.pathDelay.rawValue }
        let brightest = parameters.meanPhotonNumbers.max() ?? 0
        let efficiency = parameters.detectors.reduce(0) { max($0, $1.maximumEfficiency) }
        bound = brightest * parameters.transmittance * efficiency
        meanPhotonNumbers = (0..<256).map(parameters.meanPhotonNumber(intensity:))
        relativeIntensity = meanPhotonNumbers.map { brightest > 0 ? $0 / brightest : 0 }
        preparedStates = parameters.preparedStates
        eavesdropper = Eavesdropper(seed: seed)
        // The first slot that leaves after bench time zero.
        let reading = oscillator.reading(0)
        nextSlot = reading <= 0 ? 0 : UInt64((reading + period - 1) / period)
        slotFraction = 0
        isHop = true
        nextArrival = arrival(of: nextSlot)
        if bound <= 0 { (nextSlot, nextArrival) = (.max, .max) }
    }

    /// When the light of `slot` enters the receiver.
    func arrival(of slot: UInt64) -> Int64 {
        let emission = oscillator.time(ofReading: Int64(slot) * period)
        return emission + delay.value(at: emission)
    }

    /// Sends the photons of all slots whose light enters the receiver up to `end` to `diodes`.
    mutating func run(through end: Int64, diodes: inout [AvalancheProcess]) {
        while nextArrival <= end {
            if !isHop { place(into: &diodes) }
            step()
        }
    }

    private mutating func step() {
        let advance = slotFraction + generator.exponentialDeviate() / bound
        // The process has no memory: a longer wait is drawn again from where the hop ends.
        isHop = advance >= 0x1p24
        let whole: UInt64 = isHop ? 1 << 24 : UInt64(advance)
        slotFraction = isHop ? 0 : advance - Double(whole)
        nextSlot += whole
        if whole > 0 { nextArrival = arrival(of: nextSlot) }
    }

    private mutating func place(into diodes: inout [AvalancheProcess]) {
        let symbol = schedule.nextSymbol(at: nextSlot)
        let intensity = relativeIntensity[Int(symbol.intensity)]
        guard intensity > 0 else { return }
        let draw = generator.uniform()
        var row = symbol.state.index
        let prepared = preparedStates[row]
        if let resent = eavesdropper.resentState(slot: nextSlot, prepared: prepared) {
            row = 4 + resent.index
        }
        let base = row * 4
        guard draw < cumulated[base + 3] * intensity else { return }
        var port = 0
        while draw >= cumulated[base + port] * intensity { port += 1 }
        let offset =
            pulseWidth > 0 ? nearestInteger(pulseWidth * normal.next(using: &generator)) : 0
        let path = pathDelays[port]
        diodes[port].insert(photonAt: nextArrival + max(0, path + offset), slot: nextSlot)
        numbers?.count(slot: nextSlot)
    }

    /// The photons that left Alice in `slot` beside those that were placed, drawn with the optics
    /// as they stand.
    func undetectedPhotons(slot: UInt64) -> Int {
        guard let numbers else { return 0 }
        let symbol = schedule.symbol(at: SlotIndex(slot))
        let prepared = preparedStates[symbol.state.index]
        let resent = eavesdropper.resentState(slot: slot, prepared: prepared)
        let row = resent.map { 4 + $0.index } ?? symbol.state.index
        let intensity = Int(symbol.intensity)
        let detected = bound * relativeIntensity[intensity] * cumulated[row * 4 + 3]
        return numbers.undetected(slot: slot, mean: meanPhotonNumbers[intensity] - detected)
    }
}

/// The photon numbers of pulses, for truth records only.
///
/// The photons of a pulse that no diode sees are a Poisson number independent of those seen, so
/// they can be drawn from the slot number when a record asks for them.
struct PhotonNumberTruth {
    private let generator: Philox4x32
    private var placed: [(slot: UInt64, count: Int)] = []

    init(seed: UInt64) {
        var keys = SeededGenerator(seed: seed, label: "photon numbers")
        generator = Philox4x32(key: keys.next())
    }

    mutating func count(slot: UInt64) {
        if let last = placed.last, last.slot == slot {
            placed[placed.count - 1].count += 1
        } else {
            placed.append((slot, 1))
        }
    }

    func placed(slot: UInt64) -> Int {
        for entry in placed.reversed() where entry.slot <= slot {
            return entry.slot == slot ? entry.count : 0
        }
        return 0
    }

    /// Forgets slots that no click can refer to any more.
    mutating func trim() {
        // More slots than fit into the longest receiver path.
        if placed.count > 8192 { placed.removeFirst(placed.count - 4096) }
    }

    func undetected(slot: UInt64, mean: Double) -> Int {
        var rest = Double(generator.block(low: slot).0 >> 11) * 0x1p-53
        var probability = exponential(-max(0, mean))
        var count = 0
        // Inversion; the guard ends it when rounding would not.
        while rest >= probability, count < 1000 {
            rest -= probability
            count += 1
            probability *= max(0, mean) / Double(count)
        }
        return count
    }
}
