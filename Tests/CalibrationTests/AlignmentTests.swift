import Calibration
import LinkTypes
import Quantities
import Testing

/// Drives a procedure against a synthetic link, without a runner.
func align(
    _ link: inout SyntheticLink, configuration: PolarizationAlignment.Configuration = .init(),
    snapshot: CalibrationSnapshot = .empty
) -> (estimate: PolarizationEstimate?, verdict: VerificationVerdict?, moves: Int, reason: String?) {
    var procedure = PolarizationAlignment(stack: link.nominal, configuration: configuration)
    var now = HostInstant.zero
    func settings(_ link: SyntheticLink) -> [ActuatorSettings] {
        [ActuatorSettings(actuator: .polarizationController, values: link.mounts)]
    }
    func measure(_ request: MeasurementRequest, _ link: inout SyntheticLink) -> Measurement {
        let started = now
        let seconds = Double(request.detections) / 35_000
        link.drift(seconds: seconds)
        now = now + .nanoseconds(Int64(seconds * 1e9))
        return Measurement(
            payload: .stateCounts(link.counts(detections: Double(request.detections))),
            settings: settings(link), started: started, finished: now, provenance: .emulated)
    }
    var moves = 0
    var staged: StagedResult?
    var observation = CalibrationObservation.started(snapshot, settings: settings(link))
    for _ in 0..<200 {
        for action in procedure.step(observation) {
            switch action {
            case .move(let target):
                moves += 1
                link.drift(seconds: 1)
                now = now + .seconds(1)
                observation = .moved(
                    ActuatorSettings(
                        actuator: .polarizationController, values: link.move(to: target.values)))
            case .settle(let duration):
                now = now + duration
                observation = .settled
            case .measure(let request):
                observation = .measured(measure(request, &link))
            case .stage(let result):
                staged = result
                observation = .staged
            case .finish:
                guard let staged, case .polarization(let estimate) = staged.change else {
                    return (nil, nil, moves, "nothing staged")
                }
                let held = measure(procedure.verificationRequest(for: staged), &link)
                return (estimate, procedure.verify(staged, with: held), moves, nil)
            case .rollBack(let reason):
                return (nil, nil, moves, reason)
            }
        }
    }
    return (nil, nil, moves, "no end")
}

@Suite struct AlignmentTests {
    @Test func imperfectPlatesReachTheTargetFromAnyChannel() {
        var worst = 0.0
        var total = 0.0
        for seed in 1...60 as ClosedRange<UInt64> {
            var link = SyntheticLink(seed: seed, nominal: .quarterHalfQuarter())
            link.diffusion = 0.003
            let result = align(&link)
            #expect(result.reason == nil, "seed \(seed): \(result.reason ?? "")")
            guard let estimate = result.estimate else { continue }
            let error = link.trueError(labels: estimate.labels)
            #expect(error.worst <= 0.005, "seed \(seed): \(error)")
            #expect(
                result.verdict?.passed == true,
                "seed \(seed): \(String(describing: result.verdict))")
            worst = max(worst, error.worst)
            total += error.mean
            print(
                "seed", seed, "worst", error.worst, "p95", estimate.certificate.quantile95, "N",
                estimate.certificate.detections, "moves", result.moves, "ratio",
                estimate.certificate.ratio, "verdict", result.verdict?.statistic ?? 0)
        }
        print("worst", worst, "mean", total / 60)
    }
}
