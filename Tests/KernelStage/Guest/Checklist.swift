import Glibc
import HostIO
import LinuxIO
import Quantities

/// What a check expected and did not find.
struct CheckFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Fails the running check unless `condition` holds.
func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw CheckFailure(message()) }
}

/// Fails the running check unless the two are equal.
func requireEqual<Value: Equatable>(_ found: Value, _ expected: Value, _ what: String) throws {
    if found != expected { throw CheckFailure("\(what): expected \(expected), found \(found)") }
}

/// The named checks of a run and their outcome: one line each on the console, with the time of the
/// guest, which is a function of the instructions it has executed.
final class Checklist {
    private let watchdog: EpollReactor
    private var passed = 0
    private var failed = 0

    /// A check that takes longer in the guest's time hangs.
    private static let limit = Duration.seconds(300)

    /// - Parameter watchdog: a reactor that no check can block.
    init(watchdog: EpollReactor) { self.watchdog = watchdog }

    /// Writes a line of its own to the console.
    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            written += count
        }
    }

    /// Runs one check; `body` returns what is worth reading about it.
    func check(_ name: String, _ body: () async throws -> String) async {
        let timer = watchdog.schedule(at: watchdog.now + Self.limit) {
            Self.say("FAIL \(name): no end after \(Self.limit)")
            Self.say("KERNEL-STAGE VERDICT fail hang")
            exit(1)
        }
        let started = watchdog.now
        do {
            let detail = try await body()
            passed += 1
            Self.say("\(Self.stamp(watchdog.now)) ok   \(name): \(detail)")
        } catch {
            failed += 1
            Self.say("\(Self.stamp(watchdog.now)) FAIL \(name): \(error)")
            Self.say("     started at \(Self.stamp(started))")
        }
        watchdog.cancel(timer)
    }

    /// Writes the summary and says whether everything passed.
    func finish() -> Bool {
        Self.say("checks: \(passed) passed, \(failed) failed")
        return failed == 0 && passed > 0
    }

    /// Seconds since the boot of the guest, to the microsecond.
    private static func stamp(_ instant: HostInstant) -> String {
        let microseconds = instant.nanoseconds / 1000
        let fraction = String(microseconds % 1_000_000)
        return "\(microseconds / 1_000_000)."
            + String(repeating: "0", count: 6 - fraction.count) + fraction
    }
}

/// The error of the first call in `body` that throws; nil when none does.
func failure<Failure: Error>(
    of type: Failure.Type, _ body: () async throws -> Void
) async -> Failure? {
    do {
        try await body()
        return nil
    } catch { return error as? Failure }
}
