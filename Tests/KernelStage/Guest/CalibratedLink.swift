import Calibration
import OpticalBench
import Quantities

/// What a calibration of a link decided, procedure by procedure, and what was true when it did. It
/// can be written down as text, so that the run on the host is read in the guest.
struct CalibratedLink: Sendable {
    struct Procedure: Sendable {
        var name: String
        var outcome: String
        var isVerified: Bool
        var moves: Int
        /// The detections it decided on.
        var detections: Int
        /// How long it took, in seconds.
        var duration: Double
        var values: [MeasuredValue] = []
        var truth = Truth()
    }

    /// What no receiver knows, at the end of a procedure.
    struct Truth: Sendable {
        /// Bench time in seconds.
        var time = 0.0
        /// By how much Bob's oscillator is faster than Alice's, in parts per million.
        var frequencyDifference = 0.0
        /// The error rates that misalignment alone causes.
        var misalignmentZ = 0.0
        var misalignmentX = 0.0
    }

    var procedures: [Procedure] = []

    mutating func add(_ record: CalibrationRecord, _ truth: BenchTruth) {
        var procedure = Procedure(
            name: record.procedure, outcome: "\(record.outcome)",
            isVerified: record.verification?.passed ?? false, moves: record.moves,
            detections: record.inputs.filter { !$0.isHeldOut }.map(\.detections).reduce(0, +),
            duration: (record.finished - record.started).inSeconds)
        procedure.values = record.result?.values ?? []
        procedure.truth = Truth(
            time: truth.time.seconds,
            frequencyDifference: 1e6
                * ((1 + truth.receiverFrequencyError) / (1 + truth.sourceFrequencyError) - 1),
            misalignmentZ: truth.misalignmentZ, misalignmentX: truth.misalignmentX)
        procedures.append(procedure)
    }

    var summary: String {
        procedures.map { "\($0.name) \($0.outcome) at \(Int($0.truth.time.rounded())) s" }
            .joined(separator: ", ")
    }

    /// A value of a procedure, counted from 0.
    func value(_ name: String, of procedure: Int) throws -> MeasuredValue {
        guard procedure < procedures.count,
            let value = procedures[procedure].values.first(where: { $0.name == name })
        else { throw CheckFailure("no '\(name)' in procedure \(procedure + 1)") }
        return value
    }

    // MARK: - As text

    /// Three kinds of lines; names come last, as they have spaces.
    var text: String {
        procedures.flatMap { procedure -> [String] in
            let truth = procedure.truth
            return [
                "procedure \(procedure.isVerified) \(procedure.moves) "
                    + "\(procedure.detections) \(procedure.duration) "
                    + "\(procedure.outcome) \(procedure.name)",
                "truth \(truth.time) \(truth.frequencyDifference) \(truth.misalignmentZ) "
                    + "\(truth.misalignmentX)",
            ] + procedure.values.map { "value \($0.value) \($0.uncertainty) \($0.name)" }
        }.joined(separator: "\n")
    }

    init() {}

    init(text: String) throws {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            let numbers = words.dropFirst().prefix(4).map { Double($0) }
            func rest(from index: Int) -> String { words[index...].joined(separator: " ") }
            switch (words.first, words.count) {
            case ("procedure", 7...):
                procedures.append(
                    Procedure(
                        name: rest(from: 6), outcome: String(words[5]),
                        isVerified: words[1] == "true", moves: Int(words[2]) ?? 0,
                        detections: Int(words[3]) ?? 0, duration: Double(words[4]) ?? 0))
            case ("truth", 5):
                guard let last = procedures.indices.last else { throw Self.malformed(line) }
                procedures[last].truth = Truth(
                    time: numbers[0] ?? 0, frequencyDifference: numbers[1] ?? 0,
                    misalignmentZ: numbers[2] ?? 1, misalignmentX: numbers[3] ?? 1)
            case ("value", 4...):
                guard let last = procedures.indices.last, let value = numbers[0],
                    let uncertainty = numbers[1]
                else { throw Self.malformed(line) }
                procedures[last].values.append(
                    MeasuredValue(rest(from: 3), value, uncertainty: uncertainty))
            default: throw Self.malformed(line)
            }
        }
        guard !procedures.isEmpty else { throw CheckFailure("no calibration to compare with") }
    }

    private static func malformed(_ line: Substring) -> CheckFailure {
        CheckFailure("a calibration as text: not understood: '\(line)'")
    }
}
