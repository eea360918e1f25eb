import Glibc

/// Speed and efficiency of the protocol core, stage by stage.
@main
struct BenchmarkCore {
    /// The stages in the order in which they run; each is one file of this folder.
    static let stages: [(name: String, run: @Sendable (inout Report) -> Void)] = [
        ("sifting", { benchmarkSifting(&$0) }),
        ("hashing", HashingBenchmark.run),
        ("security", securityStage),
        ("amplification", PrivacyAmplificationBenchmark.run),
        ("cascade", cascadeStage),
        ("ldpc", { LDPCStage.run(&$0) }),
        ("ldpc-curve", { LDPCStage.curve(&$0) }),
    ]

    static func main() {
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "vectors" {
            exit(Vectors.print(CommandLine.arguments[2]) ? 0 : 2)
        }
        var isQuick = false
        var only: [String] = []
        for argument in CommandLine.arguments.dropFirst() {
            switch argument {
            case "--quick": isQuick = true
            case "--help", "-h": help(status: 0)
            case _ where stages.contains { $0.name == argument }: only.append(argument)
            default:
                print("benchmark-core: unknown argument '\(argument)'")
                help(status: 2)
            }
        }
        var report = Report(isQuick: isQuick)
        for stage in stages where only.isEmpty || only.contains(stage.name) {
            print("\n== \(stage.name)")
            stage.run(&report)
        }
        print("\n\(report.met) of \(report.met + report.missed) goals met")
        exit(report.missed == 0 ? 0 : 1)
    }

    static func help(status: Int32) -> Never {
        print("usage: benchmark-core [--quick] [STAGE...]")
        print("       benchmark-core vectors toeplitz")
        print("stages: \(stages.map(\.name).joined(separator: ", "))")
        exit(status)
    }
}
