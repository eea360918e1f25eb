import Calibration
import LinkTypes
import Quantities
import Testing

struct TrackingRun {
    var meanError = 0.0
    var worstMinute = 0.0
    var retargets = 0
    var realignments = 0
    var jumps = 0
    var diffusion = 0.0
    var limit = 0.0
}

/// Tracks a drifting link for `seconds` after an alignment; `disclosed` detections a second.
func track(
    _ link: inout SyntheticLink, from estimate: PolarizationEstimate, seconds: Double, rate: Double,
    disclosedZ: Double = 1,
    configuration: PolarizationTracker.Configuration, moveSeconds: Double = 0
) -> TrackingRun {

    var tracker = PolarizationTracker(estimate: estimate, configuration: configuration)
    var run = TrackingRun()
    var decision: PolarizationTracker.Decision?
    var time = 0.0
    var minute = (sum: 0.0, time: 0.0)
    var settings = link.mounts
    while time < seconds {
        let frame = decision?.frame.inSeconds ?? 0.2
        // The error is averaged over the frame at its two ends and the middle.
        var sum = 0.0
        var counts = StateDetectorCounts()
        let labels = decision?.labels ?? estimate.labels
        for _ in 0..<4 {
            link.drift(seconds: frame / 4)
            counts += link.counts(detections: rate * frame / 4, matchedZ: disclosedZ)
            sum += link.trueError(labels: labels).mean / 4
        }
        run.meanError += sum * frame
        minute.sum += sum * frame
        minute.time += frame
        if minute.time >= 60 {
            run.worstMinute = max(run.worstMinute, minute.sum / minute.time)
            minute = (0, 0)
        }
        let next = tracker.step(
            PolarizationTracker.Frame(
                counts: counts, settings: settings, elapsed: .seconds(frame + moveSeconds),
                exposure: .seconds(frame)))
        settings = link.move(to: next.settings)
        link.drift(seconds: moveSeconds)
        for event in next.events {
            switch event {
            case .jump: run.jumps += 1
            case .retarget: run.retargets += 1
            case .realignmentNeeded: run.realignments += 1
            }
        }
        decision = next
        time += frame + moveSeconds
        run.diffusion = next.diffusion
        run.limit = next.limit
    }
    run.meanError /= time
    return run
}

@Suite struct TrackerTests {
    @Test(arguments: [0.003, 0.01, 0.03, 0.1], [0, 1, 2])
    func platesExplore(diffusion: Double, kind: Int) throws {
        for seed in 1...4 as ClosedRange<UInt64> {
            var link = SyntheticLink(seed: seed, nominal: .quarterHalfQuarter())
            let estimate = try #require(align(&link).estimate)
            link.diffusion = diffusion
            link.probabilityZ = kind == 1 ? 0.8 : 0.5
            let run = track(
                &link, from: estimate, seconds: 1800, rate: kind == 1 ? 35_000 : 10_000,
                disclosedZ: kind == 1 ? 1.0 / 16 : 1,
                configuration: .init(shortestFrame: .milliseconds(400)),
                moveSeconds: kind == 2 ? 0.5 : 0.15)
            print("kind", kind, "sqrtD", diffusion, run)
        }
    }

    @Test(arguments: [(0.003, 1e4), (0.01, 1e4), (0.03, 1e4), (0.1, 1e4), (0.1, 1e5)])
    func idealExplore(diffusion: Double, rate: Double) throws {
        for seed in 1...3 as ClosedRange<UInt64> {
            var link = SyntheticLink(
                seed: seed,
                nominal: .alternatingRetarders(
                    count: 4, range: (-2 * Double.pi)...(2 * Double.pi), gainDeviation: 1e-4,
                    offsetDeviation: 1e-4), play: 0, resolution: 0)
            let estimate = try #require(align(&link).estimate)
            link.diffusion = diffusion
            let limit = DitherPlan.limit(
                intrinsicError: 0.01, diffusion: diffusion * diffusion, rate: rate)
            let frame = 0.16 * limit / (diffusion * diffusion)
            let run = track(
                &link, from: estimate, seconds: 1000 * frame, rate: rate,
                configuration: .init(
                    shortestFrame: .milliseconds(1), diffusion: diffusion, moveDeviation: 1e-5))
            print("ideal", diffusion, rate, "ratio", run.meanError / limit, run)
        }
    }
}
