import Quantities

/// One end of the message channel: numbering, framing and the record of what was said, on which
/// the authentication tags are made.
struct SessionLink {
    let role: Role
    private let transcriptLimit: Int
    private var decoder = MessageDecoder()
    private(set) var session: UInt64 = 0
    private(set) var sentCount: UInt64 = 0
    private(set) var receivedCount: UInt64 = 0
    /// What was sent and received since the last cut of either direction.
    private var sent: [UInt8] = []
    private var received: [UInt8] = []
    /// The transcripts up to the cut, kept until tags over them are done. A block that is discarded
    /// after a cut leaves its part here for the next tags to cover.
    private var closedSent: [UInt8]?
    private var closedReceived: [UInt8]?

    init(role: Role, transcriptLimit: Int) {
        self.role = role
        self.transcriptLimit = transcriptLimit
    }

    /// Names the session after both nonces; messages carry the name from now on.
    mutating func name(aliceNonce: [UInt8], bobNonce: [UInt8]) {
        let digest = SHA256.digest(of: Array("berek session 1".utf8) + aliceNonce + bobNonce)
        session = digest[..<8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The frame of the next message of this end.
    mutating func frame(_ message: Message) throws(AbortReason) -> [UInt8] {
        let bytes = message.frame(session: session, sequence: sentCount)
        sentCount += 1
        sent += bytes
        try checkTranscript()
        return bytes
    }

    /// Cuts received bytes into frames; the refusal, if any, comes after the frames before it.
    mutating func decode(_ bytes: [UInt8]) -> (frames: [Frame], refusal: AbortReason?) {
        var frames: [Frame] = []
        do throws(MessageError) {
            try decoder.feed(bytes, into: &frames)
            return (frames, nil)
        } catch {
            return (frames, .malformedMessage(error))
        }
    }

    /// Admits the next frame of the peer: right session, next number, a type it may send.
    mutating func admit(_ frame: Frame) throws(AbortReason) {
        let header = frame.header
        func refuse(_ problem: String) -> AbortReason {
            .protocolViolation(
                message: "\(header.type)", sequence: header.sequence, problem: problem)
        }
        guard header.sequence == receivedCount else {
            throw refuse("expected message \(receivedCount): one was lost, repeated or reordered")
        }
        // The peer may end a session before it knows its name.
        let isUnnamed = header.session == 0 && (receivedCount == 0 || header.type == .abort)
        guard header.session == session || isUnnamed else {
            throw refuse("session \(header.session), expected \(session)")
        }
        guard header.type.sender == nil || header.type.sender == role.peer else {
            throw refuse("only \(role) may send it")
        }
        receivedCount += 1
        received += frame.bytes
        try checkTranscript()
    }

    private func checkTranscript() throws(AbortReason) {
        let kept = (closedSent?.count ?? 0) + (closedReceived?.count ?? 0)
        guard kept + sent.count + received.count <= transcriptLimit else {
            throw .limitExceeded(what: "bytes between two tags", limit: transcriptLimit)
        }
    }

    /// The message just sent is the last one of this end that the next tags cover.
    mutating func cutSent() {
        closedSent = (closedSent ?? []) + sent
        sent = []
    }

    /// The message just received is the last one of the peer that the next tags cover.
    mutating func cutReceived() {
        closedReceived = (closedReceived ?? []) + received
        received = []
    }

    /// What the tag of `sender` covers: who speaks, where, under which parameters, and everything
    /// both ends said, each part preceded by its length so that no two histories read the same.
    /// `nil` before both directions are cut.
    func tagged(sender: Role, block: UInt32, parametersDigest: [UInt8]) -> [UInt8]? {
        guard let closedSent, let closedReceived else { return nil }
        let (alice, bob) =
            role == .alice ? (closedSent, closedReceived) : (closedReceived, closedSent)
        var writer = ByteWriter()
        writer.put(sender.rawValue)
        writer.put(session)
        writer.put(block)
        writer.put(bytes: parametersDigest)
        writer.put(UInt64(alice.count))
        writer.put(UInt64(bob.count))
        writer.put(bytes: alice)
        writer.put(bytes: bob)
        return writer.bytes
    }

    /// Forgets the closed transcripts; their tags are done.
    mutating func endBlock() {
        closedSent = nil
        closedReceived = nil
    }

    /// Forgets everything said, at the end of the session.
    mutating func destroy() {
        sent = []
        received = []
        endBlock()
    }
}
