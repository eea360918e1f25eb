import ArgumentParser
import DeviceProfiles
import Glibc
import LinkService

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves emulated instruments to other programs.", subcommands: [Pty.self])

    struct Pty: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Serves one emulated instrument on a pseudo-terminal, in real time.",
            discussion: """
                Prints the path of the pseudo-terminal and serves it until the process is ended \
                (SIGINT, SIGTERM) or --seconds have passed. Another program opens the path like a \
                serial port.
                """)

        @Option(help: "The instrument: tdc1, mpc320 or spd.") var device: PtyInstrument
        @Option(help: "Create this symbolic link to the pseudo-terminal.") var link: String?
        @Option(help: "End after this many seconds.") var seconds: Double?
        @Option(help: "Decides everything random.") var seed: UInt64 = 1
        @OptionGroup var profiles: ProfileOptions

        func validate() throws {
            if let seconds, !(seconds > 0 && seconds < 1e6) {
                throw ValidationError("--seconds: expected more than 0 and less than 1000000")
            }
        }

        func run() throws {
            StopSignals.install()
            try device.serve(
                catalog: try profiles.catalog(), link: link, seed: seed, seconds: seconds,
                onReady: { path in
                    print(path)
                    fflush(nil)
                }, isStopped: { StopSignals.isRequested })
        }
    }
}

extension PtyInstrument: ExpressibleByArgument {}

/// SIGINT and SIGTERM as a flag, so that the program can leave in good order.
enum StopSignals {
    private nonisolated(unsafe) static var requested: sig_atomic_t = 0

    static var isRequested: Bool { requested != 0 }

    static func install() {
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in StopSignals.requested = 1 }
        }
    }
}
