import ArgumentParser
import DeviceProfiles
import Glibc
import HostIO
import LinkService
import LinuxIO
import Quantities

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serves emulated instruments to other programs.",
        subcommands: [Pty.self, ServeUSBIP.self])

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

extension Bench {
    /// The demo's bench on USB/IP, for conformance scripts.
    struct ServeUSBIP: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "serve-usbip",
            abstract: "Serves the USB devices of the emulated bench over USB/IP, on loopback.",
            shouldDisplay: false)

        @Option(help: "The TCP port; 0 lets the system choose one.") var port: UInt16 = 3240
        @Option(help: "End after this many seconds.") var seconds: Double?
        @OptionGroup var bench: BenchOptions

        func run() async throws {
            StopSignals.install()
            let reactor = try EpollReactor()
            defer { reactor.stop() }
            let link = try EmulatedLink(
                plan: LinkPlan(), drift: bench.drift, seed: bench.seed,
                catalog: try bench.profiles.catalog(), reactor: reactor)
            let service = USBIPService(bench: link.devices, reactor: reactor) { event in
                print("\(event)")
                fflush(nil)
            }
            let listener = try TCPListener(port: port, reactor: reactor)
            print("port \(listener.port): \(service.busIDs.joined(separator: " "))")
            fflush(nil)
            let end = seconds.map { reactor.now + .nanoseconds(Int64($0 * 1e9)) }
            reactor.start {
                while !StopSignals.isRequested, end.map({ reactor.now < $0 }) ?? true {
                    guard (try? await reactor.sleep(for: .milliseconds(50))) != nil else { break }
                }
                service.stop()
            }
            try await service.serve(on: listener)
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
