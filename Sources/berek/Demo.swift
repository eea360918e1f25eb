import ArgumentParser
import EventPipeline
import Glibc
import LinkService

struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a whole link on the emulated bench: devices, calibration, keys.",
        discussion: """
            Everything happens in virtual time. The report goes to standard output and is the \
            same, byte for byte, for the same options; progress goes to standard error.

            Exit code 0 when both nodes hold the same keys (with --attack: when no key came out \
            and the reason is known), 1 otherwise.
            """)

    enum AttackName: String, ExpressibleByArgument, CaseIterable {
        case interceptResend = "intercept-resend"
    }

    @OptionGroup var bench: BenchOptions
    @Option(help: "Produce keys for this many minutes of link time instead of until --blocks.")
    var minutes: Double?
    @Option(help: "Without --minutes, end after this many keys.") var blocks = 2
    @Option(help: "Sifted key-basis bits of a block.") var blockBits = 1_000_000
    @Option(help: "Switch an eavesdropper on when keys begin: intercept-resend.")
    var attack: AttackName?
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        if let minutes, !(minutes > 0 && minutes <= 10_000) {
            throw ValidationError("--minutes: expected more than 0 and at most 10000")
        }
        guard blocks > 0 else { throw ValidationError("--blocks: expected at least 1") }
        guard (16_384...(1 << 26)).contains(blockBits) else {
            throw ValidationError("--block-bits: expected 16384…67108864")
        }
    }

    func run() throws {
        let catalog = try bench.profiles.catalog()
        var options = try DemoOptions(catalog: catalog, bench: try bench.bench(catalog))
        options.certified = bench.certified
        options.duration = minutes.map { .milliseconds(Int64($0 * 60_000)) }
        options.blocks = blocks
        options.interceptResend = attack == .interceptResend
        options.plan.blockBits = blockBits
        let report = try DemoRun(options: options, progress: Progress().show).run()
        print(json ? report.json.text : report.text)
        if !report.isSuccess { throw Exit.failed }
    }
}

/// Progress on standard error, a line a step: dimmed on a terminal, plain otherwise.
struct Progress: Sendable {
    private let isTerminal = isatty(STDERR_FILENO) == 1

    func show(_ line: String) {
        printError(isTerminal ? "\u{1B}[2m… \(line)\u{1B}[0m" : line)
    }
}
