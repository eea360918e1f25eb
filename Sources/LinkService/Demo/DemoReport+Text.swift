import Calibration
import EventPipeline
import Instruments
import LinkTypes
import ProtocolCore
import Quantities

extension DemoReport {
    /// The report for people; the same bytes for the same options.
    public var text: String {
        var lines: [String] = []
        lines += deviceLines
        lines += calibrationLines
        lines += keyLines
        lines += summaryLines
        return lines.joined(separator: "\n")
    }

    private var deviceLines: [String] {
        var lines = [
            "Berek demonstration: emulated bench, \(options.drift.rawValue) fibre, "
                + "seed \(options.seed)", "", "Devices",
        ]
        for device in devices {
            let serial = device.serial.isEmpty ? "" : " \(device.serial)"
            lines.append(
                "  \(device.address)  \(device.vendor) \(device.model)\(serial)  "
                    + "[\(device.profile ?? "no profile")\(device.isEmulated ? ", emulated" : "")]")
        }
        let failed = selfTests.filter { !$0.passed }.map(\.name)
        lines.append(
            "  self-tests: \(selfTests.count - failed.count) of \(selfTests.count) passed"
                + (failed.isEmpty ? "" : "; failed: \(failed.joined(separator: ", "))"))
        if sourceCounts.count >= 2 {
            lines.append(
                "  Alice's tagger in 2 s: \(sourceCounts[0]) pulses per second, "
                    + "\(sourceCounts[1]) monitor clicks")
        }
        return lines + [""]
    }

    private var calibrationLines: [String] {
        var lines = ["Calibration"]
        for record in calibrations {
            let seconds = fixed((record.finished - record.started).inSeconds, 1)
            let detections = record.inputs.reduce(0) { $0 + $1.detections }
            lines.append(
                "  \(record.procedure): \(detections) detections, \(record.moves) moves, "
                    + "\(seconds) s")
            if let (before, after) = record.errorRates {
                lines.append(
                    "    QBER before: Z \(before.z), X \(before.x)")
                lines.append(
                    "    QBER after (held-out data): Z \(after.z), X \(after.x)")
            }
            for value in record.result?.values ?? [] {
                let error = value.uncertainty > 0 ? " ± \(number(value.uncertainty))" : ""
                let unit = value.unit.isEmpty ? "" : " \(value.unit)"
                lines.append("    \(value.name): \(number(value.value))\(error)\(unit)")
            }
            if let limit = record.result?.limit {
                lines.append("    \(fixed(limit.ratio, 2)) × the physical limit (\(limit.bound))")
            }
            if let verdict = record.verification {
                lines.append(
                    "    verified on \(verdict.detections) held-out detections: "
                        + "\(number(verdict.statistic)), limit \(number(verdict.threshold))")
            }
        }
        lines.append(
            "  true misalignment: Z \(percentage(startTruth.z)), X \(percentage(startTruth.x)) "
                + "before; Z \(percentage(alignedTruth.z)), X \(percentage(alignedTruth.x)) after")
        return lines + [""]
    }

    private var keyLines: [String] {
        var lines = ["Keys"]
        for block in bob.delivered {
            lines += Self.lines(of: block.report)
            let digest = hexadecimal(block.digest())
            let other = alice.delivered.first { $0.identifier == block.identifier }
            let verdict =
                other?.digest() == block.digest() ? "the same at Alice" : "DIFFERENT AT ALICE"
            lines.append("    key \(block.identifier.description)")
            lines.append("    SHA-256 \(digest), \(verdict)")
        }
        for report in bob.discarded {
            if case .discarded(let reason) = report.outcome {
                lines.append("  block \(report.block): no key, \(reason)")
            }
        }
        if let reason = reasonWithoutKey { lines.append("  no key: \(reason)") }
        if let ledger = blocks.last?.epsilon {
            lines.append("  ε ledger of the last block")
            for entry in ledger.entries {
                lines.append("    \(scientific(entry.value))  \(entry.name)  (\(entry.source))")
            }
            lines.append("    \(scientific(ledger.total))  together")
        }
        return lines + [""]
    }

    private static func lines(of report: BlockReport) -> [String] {
        func rate(_ errors: Int, _ trials: Int, _ interval: ClosedRange<Double>) -> String {
            "\(percentage(Double(errors) / Double(max(1, trials)))) "
                + "(\(percentage(interval.lowerBound))…\(percentage(interval.upperBound)))"
        }
        let keyErrors = report.keyErrors?.total ?? 0
        let slots = report.slots.upperBound.rawValue - report.slots.lowerBound.rawValue
        return [
            "  block \(report.block): \(report.keyDetections.total) sifted bits, "
                + "\(report.keyLength?.length ?? 0) secret bits, \(slots) slots",
            "    QBER Z \(rate(keyErrors, report.keyDetections.total, report.keyErrorInterval)), "
                + "X \(rate(report.testErrors.total, report.testDetections.total, report.testErrorInterval))",
            "    leakage \(report.leakage.totalBits) bits, f \(fixed(report.efficiency ?? 0, 3)), "
                + "\(report.frames) frames, \(report.droppedFrames) dropped; "
                + "\(report.authenticationBits) bits to authentication",
        ]
    }

    private var summaryLines: [String] {
        var lines = ["Summary"]
        let rise = largestRise
        lines.append(
            "  link time \(fixed(keyDuration.inSeconds, 0)) s, \(blocks.count) keys, "
                + "\(secretBits) bits delivered")
        lines.append(
            "  tracking: \(tracking.frames) frames, \(tracking.retargets) retargets, "
                + "\(tracking.jumps) jumps, \(tracking.realignments) realignments, "
                + "drift \(fixed(tracking.diffusion, 4)) rad/√s")
        if blocks.count > 1 {
            lines.append(
                "  largest rise of QBER over the first block: Z \(percentage(rise.z)), "
                    + "X \(percentage(rise.x))")
        }
        if let prediction, let deviation {
            lines.append(
                "  secret key rate \(fixed(measuredRate, 0)) bit/s; predicted "
                    + "\(fixed(prediction.rate, 0)) ± "
                    + "\(fixed(prediction.rateDeviation(blocks: blocks.count), 0)) bit/s; "
                    + "deviation \(fixed(deviation, 1)) σ")
        }
        if let abort = keyAbort { lines.append("  session ended: \(abort)") }
        if options.interceptResend {
            lines.append(
                isSuccess
                    ? "  the eavesdropper got no key, and neither did anyone else"
                    : "  UNEXPECTED: a key came out under attack")
        } else {
            lines.append(
                keysAgree && !blocks.isEmpty
                    ? "  both nodes hold the same \(blocks.count) keys"
                    : "  FAILED: the nodes do not hold the same keys")
        }
        lines.append("  all data are emulated: no production sink accepts these keys")
        return lines
    }
}

/// A rate as percentage with three digits.
func percentage(_ rate: Double) -> String { fixed(rate * 100, 3) + " %" }

/// A number with as many digits as it deserves.
func number(_ value: Double) -> String {
    let size = abs(value)
    if size == 0 { return "0" }
    if size >= 1e7 || size < 1e-3 { return scientific(value, 3) }
    if size >= 100 { return fixed(value, 1) }
    return fixed(value, size >= 1 ? 3 : 5)
}

extension CalibrationRecord {
    /// QBER of both bases with one standard deviation, from the first cells measured and from
    /// held-out data, under the labels published; `nil` when no cells were recorded.
    var errorRates: (before: (z: String, x: String), after: (z: String, x: String))? {
        guard let published, let first = inputs.first(where: { $0.cells != nil })?.cells,
            let last = inputs.last(where: { $0.isHeldOut })?.cells
        else { return nil }
        func rates(_ cells: [UInt64]) -> (z: String, x: String) {
            var tracking = TrackingReport()
            var counts = StateDetectorCounts()
            counts.cells = cells
            tracking.take(counts, labels: published.labels)
            let texts = tracking.disclosed.map { trials, errors -> String in
                let n = Double(max(1, trials))
                let p = Double(errors) / n
                let deviation = (max(p * (1 - p), 1 / n) / n).squareRoot()
                return "\(percentage(p)) ± \(percentage(deviation))"
            }
            return (texts[0], texts[1])
        }
        return (rates(first), rates(last))
    }
}

extension DemoReport {
    /// The report for programs.
    public var json: JSONText {
        .object([
            ("seed", .count(options.seed)), ("drift", .string(options.drift.rawValue)),
            ("success", .bool(isSuccess)), ("keys_agree", .bool(keysAgree)),
            ("no_key_reason", reasonWithoutKey.map(JSONText.string) ?? .null),
            ("devices", .array(devices.map(\.json))),
            ("calibrations", .array(calibrations.map(\.json))),
            (
                "misalignment",
                .object([
                    ("before", pair(startTruth)), ("after", pair(alignedTruth)),
                    ("end", pair(endTruth)),
                ])
            ),
            ("blocks", .array(bob.delivered.map { block($0) })),
            ("largest_rise", pair(largestRise)),
            ("secret_bits", .integer(Int64(secretBits))),
            ("link_seconds", .number(keyDuration.inSeconds)),
            ("key_rate", .number(measuredRate)),
            ("predicted_block", prediction.map(predictedBlock) ?? .null),
            ("predicted_key_rate", prediction.map { .number($0.rate) } ?? .null),
            ("deviation_sigmas", deviation.map(JSONText.number) ?? .null),
        ])
    }

    private func predictedBlock(_ prediction: KeyRatePrediction) -> JSONText {
        let counts = prediction.blockCounts
        return .object([
            ("seconds", .number(prediction.seconds.mean)),
            ("secret_bits", .number(prediction.keyBits.mean)),
            ("sifted_bits", .number(counts.key)), ("key_errors", .number(counts.keyErrors)),
            ("test_bits", .number(counts.test)), ("test_errors", .number(counts.testErrors)),
        ])
    }

    private func pair(_ value: (z: Double, x: Double)) -> JSONText {
        .object([("z", .number(value.z)), ("x", .number(value.x))])
    }

    private func block(_ block: SecretBlock) -> JSONText {
        let report = block.report
        let other = alice.delivered.first { $0.identifier == block.identifier }
        return .object([
            ("key", .string(block.identifier.description)),
            ("sha256", .string(hexadecimal(block.digest()))),
            ("sha256_alice", other.map { .string(hexadecimal($0.digest())) } ?? .null),
            ("sifted_bits", .integer(Int64(report.keyDetections.total))),
            ("key_errors", .integer(Int64(report.keyErrors?.total ?? 0))),
            ("test_bits", .integer(Int64(report.testDetections.total))),
            ("test_errors", .integer(Int64(report.testErrors.total))),
            (
                "seconds",
                .number(
                    Double(report.slots.upperBound.rawValue - report.slots.lowerBound.rawValue)
                        * options.plan.slotPeriod.seconds)
            ),
            ("leakage_bits", .integer(Int64(report.leakage.totalBits))),
            ("secret_bits", .integer(Int64(report.keyLength?.length ?? 0))),
            ("epsilon", .number(report.epsilon.total)),
            ("provenance", .string(block.provenance.rawValue)),
        ])
    }
}

extension CalibrationRecord {
    /// The record for programs, in short.
    public var json: JSONText {
        .object([
            ("procedure", .string(procedure)), ("sequence", .count(sequence)),
            ("outcome", .string("\(outcome)")), ("moves", .integer(Int64(moves))),
            (
                "detections",
                .integer(Int64(inputs.reduce(0) { $0 + $1.detections }))
            ),
            (
                "values",
                .array(
                    (result?.values ?? []).map { value in
                        .object([
                            ("name", .string(value.name)), ("value", .number(value.value)),
                            ("uncertainty", .number(value.uncertainty)),
                            ("unit", .string(value.unit)),
                        ])
                    })
            ),
            ("limit_ratio", (result?.limit).map { .number($0.ratio) } ?? .null),
            ("verified", .bool(verification?.passed ?? false)),
            ("digest", .string(recordDigest(self))),
        ])
    }
}
