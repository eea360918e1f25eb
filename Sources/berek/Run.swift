import ArgumentParser
import EventPipeline
import LinkService
import ProtocolCore

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs one node of a link, described by a YAML file.",
        discussion: """
            Alice listens, Bob connects; start them in either order. Both must name the same \
            bench seed and plan. Ends after the number of keys in the file, or on SIGINT; a lost \
            connection or a peer that died begins another session. With 'state' in the file, pads and \
            keys are kept in that folder; their names and digests are printed.

            Exit code 0 when the keys were made, 1 when the session ended before, 5 when \
            interrupted.
            """)

    @Argument(help: "The configuration of the node.") var file: String
    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var profiles: ProfileOptions

    func run() async throws {
        let configuration = try NodeConfiguration(text: try TextFiles.read(file), file: file)
        StopSignals.install()
        let node = NodeRun(
            configuration: configuration, catalog: try profiles.catalog(),
            random: { SystemRandomNumberGenerator() },
            progress: Progress().show)
        let outcome = try await node.run(isStopped: { StopSignals.isRequested })
        let keys = outcome.delivered.map { ($0.identifier.description, hexadecimal($0.digest())) }
        if json {
            print(
                JSONText.object([
                    ("node", .string(configuration.role.rawValue)),
                    (
                        "keys",
                        .array(
                            keys.map { .object([("key", .string($0)), ("sha256", .string($1))]) })
                    ),
                    ("end", outcome.abort.map { .string("\($0)") } ?? .null),
                ]).text)
        } else {
            for (name, digest) in keys { print("key \(name) SHA-256 \(digest)") }
            print("\(keys.count) keys; \(outcome.abort.map { "\($0)" } ?? "session open")")
        }
        if StopSignals.isRequested { throw Exit.interrupted }
        if keys.count < configuration.keys { throw Exit.failed }
    }
}
