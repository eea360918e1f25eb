import Glibc

/// Reading of small text files named on the command line.
enum TextFiles {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// The content of a file of at most `limit` bytes.
    static func read(_ path: String, limit: Int = 1 << 20) throws(Failure) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(description: "\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count >= 0 else {
                throw Failure(description: "\(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { break }
            bytes += buffer[..<count]
            guard bytes.count <= limit else {
                throw Failure(
                    description: "\(path): larger than \(limit) bytes; not a file of this kind")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(description: "\(path): not UTF-8 text")
        }
        return text
    }

    /// Replaces the content of a file, which others see whole or not at all.
    static func write(_ text: String, to path: String) throws(Failure) {
        let temporary = path + ".new"
        guard let file = fopen(temporary, "wb") else {
            throw Failure(description: "\(temporary): \(String(cString: strerror(errno)))")
        }
        let bytes = Array(text.utf8)
        let isWritten = fwrite(bytes, 1, bytes.count, file) == bytes.count
        guard fclose(file) == 0, isWritten, rename(temporary, path) == 0 else {
            let reason = String(cString: strerror(errno))
            unlink(temporary)
            throw Failure(description: "\(path): \(reason)")
        }
    }

    /// The paths of the files in `folder` whose names end in `suffix`, in order.
    static func list(_ folder: String, suffix: String) throws(Failure) -> [String] {
        guard let directory = opendir(folder) else {
            throw Failure(description: "\(folder): \(String(cString: strerror(errno)))")
        }
        defer { closedir(directory) }
        var result: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(suffix), !name.hasPrefix(".") { result.append("\(folder)/\(name)") }
        }
        return result.sorted()
    }
}
