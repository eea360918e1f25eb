import Glibc

/// Programs of others that a stage compares itself with in the same run, on the same processor.
/// `scripts/benchmark-core` builds them and names their folder in BEREK_PEERS.
enum Peer {
    /// What the program `name` printed, or `nil` without the folder or after a failure.
    static func run(_ name: String, _ arguments: [String]) -> String? {
        guard let folder = getenv("BEREK_PEERS").map({ String(cString: $0) }) else { return nil }
        let command = (["'\(folder)/\(name)'"] + arguments).joined(separator: " ")
        fflush(nil)
        guard let pipe = popen(command, "r") else { return nil }
        var output: [UInt8] = []
        while true {
            let character = fgetc(pipe)
            guard character != EOF else { break }
            output.append(UInt8(truncatingIfNeeded: character))
        }
        guard pclose(pipe) == 0 else { return nil }
        return String(decoding: output, as: UTF8.self)
    }
}
