import ArgumentParser
import DeviceProfiles
import LinkService

/// What every command on the emulated bench takes.
struct BenchOptions: ParsableArguments {
    @Option(
        name: .customLong("bench"),
        help: ArgumentHelp(
            "The bench file, instead of the shipped one (bb84.yaml).", valueName: "file"))
    var file: String?

    @Option(
        help: "Decides everything random; the same seed gives the same run. Default: the file's.")
    var seed: UInt64?

    @Option(help: "What the fibre does: buried (slow drift) or aerial (light wind).")
    var drift: DriftPreset?

    @Flag(help: "Refuse instruments about which the profile guesses.") var certified = false

    @OptionGroup var profiles: ProfileOptions

    /// The bench with seed and drift as asked for.
    func bench(_ catalog: ProfileCatalog) throws -> BenchFile {
        var bench = try BenchFiles.read(file, catalog)
        if let seed { bench.seed = seed }
        if let drift { bench.expose(to: drift) }
        return bench
    }
}

extension DriftPreset: ExpressibleByArgument {}

/// Reading of bench files.
enum BenchFiles {
    /// The bench in the file at `path`, or the shipped one.
    static func read(_ path: String?, _ catalog: ProfileCatalog) throws -> BenchFile {
        guard let path else { return try .bb84(catalog: catalog) }
        return try BenchFile(text: try TextFiles.read(path), file: path, catalog: catalog)
    }
}
