import DriverContract
import Foundation
import Quantities
import TestSupport
import Testing

/// Drivers against models with somebody in between, without a fuzzer: random scripts, and everything
/// that the fuzzer ever found.
struct ConversationTests {
    @Test("random scripts between every driver and its model", arguments: seeds(16))
    func random(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "conversation")
        for number in Conversation.profiles.indices {
            let route: UInt8 = generator.next() % 2 == 0 ? 0 : 0x80
            var bytes = [UInt8(number) | route]
            for _ in 0...generator.next() % 6 {
                bytes.append(UInt8(generator.next() % 12))
                bytes.append(UInt8(truncatingIfNeeded: generator.next()))
                bytes.append(UInt8(truncatingIfNeeded: generator.next()))
            }
            try hold(bytes)
        }
    }

    @Test("the inputs that fuzzing starts from", arguments: corpus)
    func known(file: URL) throws { try hold(Array(Data(contentsOf: file))) }

    /// The inputs that `scripts/fuzz` starts from.
    static let corpus: [URL] = {
        let folder = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fuzzing/Corpus/conversation")
        let files = try? FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        return (files ?? []).sorted { $0.path() < $1.path() }
    }()

    private func hold(_ bytes: [UInt8]) throws {
        let conversation = try #require(Conversation(bytes))
        let place = "\(conversation.profile), \(conversation.cable), \(hex(bytes))"
        do {
            let broken = try conversation.hold()
            #expect(broken.isEmpty, "\(place): \(broken.joined(separator: "; "))")
        } catch {
            Issue.record("\(place): \(error)")
        }
    }
}
