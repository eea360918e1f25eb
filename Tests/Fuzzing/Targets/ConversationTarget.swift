import DriverContract

/// A driver in conversation with the model of its instrument, and somebody in between who does what the
/// bytes say: `Conversation` and `TamperScript` describe them.
func fuzzConversation(_ bytes: [UInt8]) {
    guard let conversation = Conversation(bytes) else { return }
    do {
        let broken = try conversation.hold()
        precondition(
            broken.isEmpty,
            "\(conversation.profile), \(conversation.cable): \(broken.joined(separator: "; "))")
    } catch {
        preconditionFailure("\(conversation.profile), \(conversation.cable): \(error)")
    }
}
