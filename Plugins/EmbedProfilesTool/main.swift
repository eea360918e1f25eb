// Writes the Swift file with the text of the firmware profiles or of the shipped bench files:
//   EmbedProfilesTool OUTPUT FILE…
// The text is embedded byte for byte; a file that is not UTF-8 ends the build with its name.

import Glibc

/// Ends the tool with a message the build system shows as an error.
func fail(_ message: String) -> Never {
    let line = Array(("error: " + message + "\n").utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(1)
}

func contents(of path: String) -> [UInt8] {
    guard let file = fopen(path, "rb") else { fail("can not open \(path)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = fread(&part, 1, part.count, file)
        bytes += part[..<count]
        if count < part.count { break }
    }
    guard ferror(file) == 0 else { fail("can not read \(path)") }
    return bytes
}

/// `text` as a Swift string literal that means exactly this text.
func literal(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case _ where scalar.value < 0x20 || scalar.value == 0x7F:
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

let arguments = CommandLine.arguments
guard arguments.count >= 2 else { fail("expected OUTPUT FILE…") }
var source = """
    // Made by the plugin EmbedProfiles; not to be edited.
    enum EmbeddedFiles {
        static let files: [(name: String, text: String)] = [

    """
for path in arguments[2...] {
    guard let text = String(validating: contents(of: path), as: UTF8.self) else {
        fail("\(path): expected UTF-8 text, found other bytes")
    }
    let name = String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...])
    source += "        (\(literal(name)), \(literal(text))),\n"
}
source += "    ]\n}\n"
guard let output = fopen(arguments[1], "wb") else { fail("can not write \(arguments[1])") }
let bytes = Array(source.utf8)
guard fwrite(bytes, 1, bytes.count, output) == bytes.count, fclose(output) == 0 else {
    fail("can not write \(arguments[1])")
}
