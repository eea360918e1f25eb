import ArgumentParser
import Glibc

/// Exit codes, the same for every command and documented in its help.
enum Exit {
    /// Everything asked for was done.
    static let ok = ExitCode(0)
    /// The operation ran and failed; the reason is on standard error.
    static let failed = ExitCode(1)
    /// The command line is wrong.
    static let usage = ExitCode(2)
    /// The operation did not finish in time.
    static let timedOut = ExitCode(3)
    /// A device is missing or can not be used.
    static let deviceUnavailable = ExitCode(4)
    /// The operation was interrupted; settings are restored.
    static let interrupted = ExitCode(5)
}

struct Berek: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berek",
        abstract: "Controls and calibrates BB84 quantum-key-distribution links.",
        discussion: """
            Drives time taggers, polarization controllers and single-photon detectors, calibrates \
            the link, and turns detections into secret keys. 'berek demo' shows all of it on an \
            emulated bench.

            Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out, 4 device unavailable, \
            5 interrupted.
            """,
        version: "0.1.0",
        subcommands: [
            Demo.self, Devices.self, Profiles.self, Calibrate.self, Run.self, Inspect.self,
            Convert.self, Bench.self,
        ])
}

@main
enum Program {
    static func main() async {
        do {
            var command = try Berek.parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            exit(finished(Exit.ok).rawValue)
        } catch let code as ExitCode {
            exit(finished(code).rawValue)
        } catch {
            let code = Berek.exitCode(for: error)
            let text = Berek.fullMessage(for: error)
            if code.isSuccess {
                print(text)
                exit(finished(Exit.ok).rawValue)
            }
            printError(text)
            // The parser's own code for usage errors is that of sysexits(3); ours is documented.
            exit(code == .validationFailure ? Exit.usage.rawValue : Exit.failed.rawValue)
        }
    }
}

/// The exit code, once all output has left: a report that a full disk swallowed is no success.
private func finished(_ code: ExitCode) -> ExitCode {
    guard fflush(nil) != 0 else { return code }
    printError("standard output: \(String(cString: strerror(errno))); the output is incomplete")
    return code.isSuccess ? Exit.failed : code
}

/// Writes a line to standard error.
func printError(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = write(STDERR_FILENO, line, line.count)
}
