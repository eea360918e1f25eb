import OpticalBench
import Quantities
import Yams

/// Reads the part `physics` of a bench file into the configuration of the optics.
///
/// Every key is a property of `LinkBenchConfiguration` with its unit in the name; what is not
/// stated keeps the value of the metropolitan link. Slot period and mean photon numbers belong to
/// the plan that both nodes agree on and are no keys.
struct BenchPhysics {
    /// A number of a section: its key, its range and where it goes.
    private struct Setting<Section>: Sendable {
        let name: String
        let range: ClosedRange<Double>
        let set: @Sendable (inout Section, Double) -> Void

        init(
            _ name: String, _ range: ClosedRange<Double>,
            _ set: @escaping @Sendable (inout Section, Double) -> Void
        ) {
            self.name = name
            self.range = range
            self.set = set
        }
    }

    private let reader: StrictYAML

    init(_ reader: StrictYAML) { self.reader = reader }

    /// Reads `node` into `optics`; returns what the fibre is exposed to.
    func read(
        _ node: Node, into optics: inout LinkBenchConfiguration
    ) throws(ConfigurationError) -> DriftPreset {
        let fields = try reader.fields(
            node,
            [
                "fibre", "source", "receiver", "controller", "detectors", "source_oscillator",
                "receiver_oscillator",
            ], "a mapping of sections")
        var drift = DriftPreset.buried
        if let node = fields["fibre"] { drift = try readFibre(node, &optics.fibre) }
        if let node = fields["source"] {
            _ = try read(node, Self.source, into: &optics.source)
        }
        if let node = fields["receiver"] { try readReceiver(node, &optics.receiver) }
        if let node = fields["controller"] {
            _ = try read(node, Self.controller, into: &optics.controller)
        }
        if let node = fields["detectors"] { try readDetectors(node, &optics.detectors) }
        if let node = fields["source_oscillator"] {
            _ = try read(node, Self.oscillator, into: &optics.sourceOscillator)
        }
        if let node = fields["receiver_oscillator"] {
            _ = try read(node, Self.oscillator, into: &optics.receiverOscillator)
        }
        // What involves several values at once has no place of its own.
        do throws(BenchConfigurationError) { try optics.validate() } catch {
            throw reader.error(node, "\(error.field): \(error.expected)", error.found)
        }
        return drift
    }

    /// Reads the numbers of a section; returns the values of the keys named in `others`.
    private func read<Section>(
        _ node: Node, _ settings: [Setting<Section>], others: [String] = [],
        into section: inout Section
    ) throws(ConfigurationError) -> [String: Node] {
        let fields = try reader.fields(
            node, settings.map(\.name) + others, "a mapping of settings")
        for setting in settings {
            guard let node = fields[setting.name] else { continue }
            setting.set(&section, try reader.number(node, setting.range))
        }
        return fields.filter { others.contains($0.key) }
    }

    private func readFibre(
        _ node: Node, _ fibre: inout FibreConfiguration
    ) throws(ConfigurationError) -> DriftPreset {
        let others = ["drift", "random_start"]
        let fields = try reader.fields(
            node, Self.fibre.map(\.name) + others, "a mapping of settings")
        let drift = try fields["drift"].map { node throws(ConfigurationError) in
            try reader.word(node, DriftPreset.self)
        }
        if let drift { fibre = drift.fibre }
        _ = try read(node, Self.fibre, others: others, into: &fibre)
        if let node = fields["random_start"] {
            fibre.startsAtRandomRotation = try reader.flag(node)
        }
        return drift ?? .buried
    }

    private func readReceiver(
        _ node: Node, _ receiver: inout ReceiverConfiguration
    ) throws(ConfigurationError) {
        let others = try read(
            node, Self.receiver, others: ["cable_delays_ps"], into: &receiver)
        guard let list = others["cable_delays_ps"] else { return }
        receiver.cableDelays = []
        for item in try reader.sequence(list, 4...4, of: "delays, for H, V, D and A") {
            receiver.cableDelays.append(
                Picoseconds(Int64(try reader.number(item, 0...1e9).rounded())))
        }
    }

    /// `all` goes to every detector, then what stands under the name of one.
    private func readDetectors(
        _ node: Node, _ detectors: inout [DetectorConfiguration]
    ) throws(ConfigurationError) {
        let fields = try reader.fields(
            node, ["all"] + BenchFaultFields.detectors, "a mapping of detectors")
        if let node = fields["all"] {
            for index in detectors.indices {
                _ = try read(node, Self.detector, into: &detectors[index])
            }
        }
        for (index, name) in BenchFaultFields.detectors.enumerated() {
            guard let node = fields[name] else { continue }
            _ = try read(node, Self.detector, into: &detectors[index])
        }
    }

    // MARK: - The settings

    private static func picoseconds(_ value: Double) -> Picoseconds {
        Picoseconds(Int64(value.rounded()))
    }

    private static let fibre: [Setting<FibreConfiguration>] = [
        Setting("loss_db", 0...200) { $0.loss = Decibels($1) },
        Setting("delay_ps", 0...1e12) { $0.delay = picoseconds($1) },
        Setting("delay_swing_ps", 0...1e6) { $0.delaySwing = picoseconds($1) },
        Setting("diffusion_rad_per_root_s", 0...3) { $0.diffusionInRadiansPerRootSecond = $1 },
        Setting("wind_rad_per_s", 0...100) { $0.windInRadiansPerSecond = $1 },
        Setting("wind_correlation_s", 0.01...1e6) { $0.windCorrelationInSeconds = $1 },
        Setting("daily_swing_deg", 0...3600) { $0.dailySwing = Radians(degrees: $1) },
    ]

    private static let source: [Setting<SourceConfiguration>] = [
        Setting("intensity_spread", 0...0.2) { $0.intensitySpread = $1 },
        Setting("preparation_spread_deg", 0...90) { $0.preparationSpread = Radians(degrees: $1) },
        Setting("extinction", 0...0.5) { $0.extinction = $1 },
        Setting("pulse_width_ps", 0...1e6) { $0.pulseWidth = picoseconds($1) },
        Setting("monitor_mean", 0...1) { $0.monitorMean = $1 },
        Setting("pps_jitter_ps", 0...1e6) { $0.pulsePerSecondJitter = picoseconds($1) },
    ]

    private static let receiver: [Setting<ReceiverConfiguration>] = [
        Setting("probability_z", 0...1) { $0.probabilityZ = $1 },
        Setting("insertion_loss_db", 0...200) { $0.insertionLoss = Decibels($1) },
        Setting("analyser_spread_deg", 0...90) { $0.analyserSpread = Radians(degrees: $1) },
        Setting("extinction", 0...0.5) { $0.extinction = $1 },
        Setting("background_hz", 0...1e10) { $0.background = Hertz($1) },
    ]

    private static let controller: [Setting<WaveplateStackConfiguration>] = [
        Setting("retardance_spread", 0...1) { $0.retardanceSpread = $1 },
        Setting("gain", 0.1...10) { $0.gain = $1 },
        Setting("gain_spread", 0...1) { $0.gainSpread = $1 },
        Setting("offset_spread_deg", 0...90) { $0.offsetSpread = Radians(degrees: $1) },
        Setting("play_deg", 0...90) { $0.play = Radians(degrees: $1) },
    ]

    private static let detector: [Setting<DetectorConfiguration>] = [
        Setting("maximum_efficiency", 0...1) { $0.maximumEfficiency = $1 },
        Setting("efficiency_spread", 0...0.3) { $0.efficiencySpread = $1 },
        Setting("efficiency_voltage_v", 1e-3...1e4) { $0.efficiencyVoltage = Volts($1) },
        Setting("breakdown_voltage_v", 0...1e4) { $0.breakdownVoltage = Volts($1) },
        Setting("breakdown_v_per_k", 0...100) { $0.breakdownVoltsPerKelvin = $1 },
        Setting("nominal_bias_v", 0...1e4) { $0.nominalBias = Volts($1) },
        Setting("reference_temperature_c", -273...200) { $0.referenceTemperature = Celsius($1) },
        Setting("cooling_time_s", 1e-3...1e5) { $0.coolingTimeInSeconds = $1 },
        Setting("dark_rate_hz", 0...1e8) { $0.darkRate = Hertz($1) },
        Setting("dark_voltage_v", 1e-3...1e4) { $0.darkVoltage = Volts($1) },
        Setting("dark_doubling_k", 1e-3...1e3) { $0.darkDoublingInKelvin = $1 },
        Setting("dead_time_ps", 0...1e9) { $0.deadTime = picoseconds($1) },
        Setting("trap_probability", 0...0.5) { $0.trapProbability = $1 },
        Setting("trap_lifetime_ps", 1...1e12) {
            $0.trapRelease = .singleLevel(lifetime: picoseconds($1))
        },
        Setting("jitter_width_ps", 0...1e6) { $0.jitterWidth = picoseconds($1) },
        Setting("jitter_tail_fraction", 0...1) { $0.jitterTailFraction = $1 },
        Setting("jitter_tail_ps", 0...1e6) { $0.jitterTail = picoseconds($1) },
        Setting("latency_ps", 0...1e9) { $0.latency = picoseconds($1) },
        Setting("path_delay_ps", 0...1e6) { $0.pathDelay = picoseconds($1) },
        Setting("overlight_rate_hz", 1...1e12) { $0.overlightRate = Hertz($1) },
    ]

    private static let oscillator: [Setting<OscillatorConfiguration>] = [
        // The offset itself, instead of the range from which it is drawn.
        Setting("frequency_offset", -1e-3...1e-3) { $0.frequencyOffset = $1...$1 },
        Setting("white_frequency_noise_s", 0...1e-6) { $0.whiteFrequencyNoise = $1 },
        Setting("frequency_random_walk", 0...1e-6) { $0.frequencyRandomWalk = $1 },
    ]
}
