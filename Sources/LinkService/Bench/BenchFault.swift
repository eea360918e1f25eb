import DeviceProfiles
import Emulated
import Quantities

/// Something that goes wrong in the optics of a bench, as data.
public enum OpticsFault: Hashable, Sendable {
    /// Bright light holds a detector, 0…3 for H, V, D, A, in linear mode.
    case blinding(detector: Int)
    /// Loss of the fibre beyond the configured one, as a bend or a cut causes.
    case extraLoss(Decibels)
    /// Unpolarized background photons per second entering the receiver.
    case background(Hertz)
    /// The rotation of the fibre is replaced by a random one.
    case fibreJump
    /// An eavesdropper intercepts and resends this fraction of the pulses.
    case interceptResend(fraction: Double)
}

/// What goes wrong on a bench: in an instrument or in the optics.
public enum BenchFault: Hashable, Sendable {
    /// A fault of the instrument with this name.
    case device(String, EmulatedFault)
    /// A fault of the optics; with a duration it ends by itself.
    case optics(OpticsFault, duration: Duration?)

    /// The instrument concerned.
    public var device: String? {
        if case .device(let name, _) = self { name } else { nil }
    }
}

/// A fault and when it strikes, counted from the start of the bench.
public struct PlannedBenchFault: Hashable, Sendable {
    /// When.
    public var after: Duration
    /// What.
    public var fault: BenchFault
}

/// The fields that describe a fault, the same in a bench file and in a control request: `device`,
/// `kind`, `duration_s`, `detail`, `endpoint` for an instrument; `optics`, `detector`, `value`,
/// `duration_s` for the optics.
struct BenchFaultFields {
    /// The field that is wrong.
    struct Refusal: Error {
        let name: String
        let expected: String
        let found: String
    }

    /// Names of faults of the optics.
    enum OpticsWord: String, CaseIterable {
        case blinding
        case extraLoss = "extra_loss"
        case background
        case fibreJump = "fibre_jump"
        case interceptResend = "intercept_resend"
    }

    static let names = [
        "device", "kind", "endpoint", "detail", "optics", "detector", "value", "duration_s",
    ]
    static let detectors = ["H", "V", "D", "A"]

    /// The text of the field with a name; nil when it is not given.
    let text: (String) -> String?

    func fault() throws(Refusal) -> BenchFault {
        let duration = try number("duration_s", 0...1e6).map { Duration.seconds($0) }
        guard text("optics") == nil else { return try opticsFault(duration) }
        try refuse(["detector", "value"], "no such field for a fault of a device")
        guard let device = text("device") else {
            throw Refusal(name: "device", expected: "the field 'device' or 'optics'", found: "none")
        }
        var fault = EmulatedFault(try word("kind", InjectableFault.self), duration: duration)
        fault.detail = try integer("detail", -1_000_000_000_000...1_000_000_000_000)
        fault.endpoint = try integer("endpoint", 0...255).map { UInt8($0) }
        return .device(device, fault)
    }

    private func opticsFault(_ duration: Duration?) throws(Refusal) -> BenchFault {
        try refuse(
            ["device", "kind", "endpoint", "detail"], "no such field for a fault of the optics")
        let word = try word("optics", OpticsWord.self)
        if word != .blinding { try refuse(["detector"], "no detector for \(word.rawValue)") }
        let fault: OpticsFault
        switch word {
        case .blinding:
            try refuse(["value"], "no value for blinding")
            guard let detector = Self.detectors.firstIndex(of: text("detector") ?? "") else {
                throw Refusal(
                    name: "detector", expected: "one of H, V, D, A",
                    found: text("detector").map { "'\($0)'" } ?? "none")
            }
            fault = .blinding(detector: detector)
        case .extraLoss: fault = .extraLoss(Decibels(try required("value", 0...200)))
        case .background: fault = .background(Hertz(try required("value", 0...1e10)))
        case .interceptResend: fault = .interceptResend(fraction: try required("value", 0...1))
        case .fibreJump:
            try refuse(["value", "duration_s"], "neither value nor duration for fibre_jump")
            fault = .fibreJump
        }
        return .optics(fault, duration: duration)
    }

    private func refuse(_ names: [String], _ expected: String) throws(Refusal) {
        for name in names {
            if let text = text(name) {
                throw Refusal(name: name, expected: expected, found: "\(name) '\(text)'")
            }
        }
    }

    private func word<Word: RawRepresentable & CaseIterable>(
        _ name: String, _ type: Word.Type
    ) throws(Refusal) -> Word where Word.RawValue == String {
        guard let word = text(name).flatMap(Word.init(rawValue:)) else {
            let words = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw Refusal(
                name: name, expected: "one of \(words)",
                found: text(name).map { "'\($0)'" } ?? "none")
        }
        return word
    }

    private func number(
        _ name: String, _ range: ClosedRange<Double>
    ) throws(Refusal) -> Double? {
        guard let text = text(name) else { return nil }
        guard let value = Double(text), range.contains(value) else {
            throw Refusal(
                name: name, expected: "a number from \(range.lowerBound) to \(range.upperBound)",
                found: "'\(text)'")
        }
        return value
    }

    private func required(
        _ name: String, _ range: ClosedRange<Double>
    ) throws(Refusal) -> Double {
        guard let value = try number(name, range) else {
            throw Refusal(name: name, expected: "the field '\(name)'", found: "none")
        }
        return value
    }

    private func integer(_ name: String, _ range: ClosedRange<Int>) throws(Refusal) -> Int? {
        guard let text = text(name) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw Refusal(
                name: name, expected: "an integer from \(range.lowerBound) to \(range.upperBound)",
                found: "'\(text)'")
        }
        return value
    }
}
