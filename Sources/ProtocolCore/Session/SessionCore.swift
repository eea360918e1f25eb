import LinkTypes
import Quantities

/// Where fresh authentication key is made durable before a session relies on it.
public protocol KeyPoolRefillStore: Sendable {
    /// Makes `key` durable as the octets from `offset` on of the pool that pads the tags of
    /// `sender`; returns only when it is. Repeating a call with the same octets does nothing.
    func refill(_ key: borrowing SecretBytes, poolOf sender: Role, at offset: UInt64) throws
}

/// What the two roles of a session share: greeting, silence, tags, the release of keys, the end.
struct SessionCore: ~Copyable {
    enum Phase {
        case idle
        case greeting
        case running
        case over
    }

    let parameters: SessionParameters
    let limits: SessionLimits
    private let digest: [UInt8]
    private let refillStore: any KeyPoolRefillStore
    private(set) var phase = Phase.idle
    private var link: SessionLink
    private var authenticator: Authenticator?
    private var random: WatchedGenerator
    /// What the health signals of the next blocks compare with.
    var healthExpectation = HealthExpectation()
    private var nonce: [UInt8] = []
    private var keyName: [UInt8] = []
    private var actions: [SessionAction] = []
    private var discardedInRow = 0

    private(set) var now = HostInstant.zero
    private var lastHeard = HostInstant.zero
    private var lastSpoken = HostInstant.zero
    private var lastProgress = HostInstant.zero
    /// What the session needs from the peer to go on, or `nil` when nothing.
    var awaiting: String?

    var role: Role { link.role }
    var session: UInt64 { link.session }

    init(
        role: Role, parameters: SessionParameters, limits: SessionLimits,
        authenticator: consuming Authenticator, refillStore: any KeyPoolRefillStore,
        random: any RandomNumberGenerator & Sendable
    ) {
        self.parameters = parameters
        self.limits = limits
        self.authenticator = consume authenticator
        self.refillStore = refillStore
        self.random = WatchedGenerator(random)
        digest = parameters.digest
        link = SessionLink(role: role, transcriptLimit: limits.transcriptBytes)
    }

    mutating func emit(_ action: SessionAction) { actions.append(action) }

    mutating func takeActions() -> [SessionAction] {
        defer { actions = [] }
        return actions
    }

    // MARK: Randomness

    mutating func draw(probability: Double) -> Bool { random.bernoulli(probability) }

    mutating func drawWord() -> UInt64 { random.next() }

    mutating func drawBits(_ count: Int) -> BitBuffer {
        var words: [UInt64] = []
        words.reserveCapacity((count + 63) / 64)
        for _ in 0..<((count + 63) / 64) { words.append(random.next()) }
        return BitBuffer(words: words, count: count)
    }

    /// What the session's generator showed since the last block.
    private mutating func generatorSignals() -> [HealthSignal] {
        random.tests.takeSignals("generator of \(role)")
    }

    // MARK: Messages

    mutating func send(_ message: Message) throws(AbortReason) {
        emit(.send(try link.frame(message)))
        lastSpoken = now
    }

    /// Takes an input and returns the peer's frames in it, and the reason to end after them.
    mutating func take(
        _ input: SessionInput
    ) throws(AbortReason) -> (frames: [Frame], refusal: AbortReason?) {
        switch input {
        case .start(let now): try start(now)
        case .received(let bytes): return link.decode(bytes)
        case .closed: throw .channelClosed
        case .tick(let now): try tick(now)
        case .cancel(let text): throw .cancelled(text)
        }
        return ([], nil)
    }

    /// Admits one frame and handles what both roles handle alike; returns the message otherwise.
    mutating func admit(_ frame: Frame) throws(AbortReason) -> Message? {
        guard phase != .idle else { throw violation(frame.message, "the session has not started") }
        try link.admit(frame)
        lastHeard = now
        switch frame.message {
        case .abort(let notice): throw .peerAborted(code: notice.code, text: notice.text)
        case .keepAlive: return nil
        case .hello(let hello):
            guard phase == .greeting else { throw violation(frame.message, "already greeted") }
            try greet(hello)
            lastProgress = now
            return nil
        default:
            guard phase == .running else { throw violation(frame.message, "hello comes first") }
            lastProgress = now
            return frame.message
        }
    }

    func violation(_ message: Message, _ problem: String) -> AbortReason {
        .protocolViolation(
            message: "\(message.type)", sequence: max(1, link.receivedCount) - 1, problem: problem)
    }

    // MARK: Greeting and silence

    private mutating func start(_ now: HostInstant) throws(AbortReason) {
        guard phase == .idle else { return }
        phase = .greeting
        (self.now, lastHeard, lastProgress) = (now, now, now)
        for word in [random.next(), random.next()] {
            withUnsafeBytes(of: word.littleEndian) { nonce.append(contentsOf: $0) }
        }
        awaiting = "hello"
        let pools = poolRanges()
        try send(
            .hello(
                Hello(
                    role: role, nonce: nonce, parametersDigest: digest, sending: pools.sending,
                    receiving: pools.receiving)))
    }

    private func poolRanges() -> (sending: Range<UInt64>, receiving: Range<UInt64>) {
        switch authenticator {
        case .some(let held): (held.sending.unspent, held.receiving.unspent)
        case .none: (0..<0, 0..<0)
        }
    }

    private mutating func greet(_ hello: Hello) throws(AbortReason) {
        guard hello.role == role.peer else {
            throw violation(.hello(hello), "the peer is \(hello.role) as well")
        }
        guard hello.parametersDigest == digest else {
            throw .parametersDiffer(
                own: digest.hexadecimal, peer: hello.parametersDigest.hexadecimal)
        }
        let own = poolRanges()
        try comparePools("own", sender: own.sending, verifier: hello.receiving)
        try comparePools("peer's", sender: hello.sending, verifier: own.receiving)
        let (alice, bob) = role == .alice ? (nonce, hello.nonce) : (hello.nonce, nonce)
        link.name(aliceNonce: alice, bobNonce: bob)
        keyName = Array("berek key 1".utf8) + alice + bob
        phase = .running
        awaiting = nil
        emit(.established(session: session))
    }

    /// The sender of tags may be ahead of the verifier, who then skips forwards; never behind, or a
    /// pad would serve twice. Both must have the same end, where the next refill is appended.
    private func comparePools(
        _ name: String, sender: Range<UInt64>, verifier: Range<UInt64>
    ) throws(AbortReason) {
        guard sender.lowerBound >= verifier.lowerBound, sender.upperBound == verifier.upperBound
        else {
            throw .poolsDiffer(
                "\(name) tags: sender has octets \(sender), verifier \(verifier);"
                    + " expected the same end and no octet of the sender spent by the verifier")
        }
    }

    private mutating func tick(_ now: HostInstant) throws(AbortReason) {
        if now > self.now { self.now = now }
        guard phase == .greeting || phase == .running else { return }
        if self.now - lastHeard > limits.silence { throw .peerSilent(limits.silence) }
        if let awaiting {
            if self.now - lastProgress > limits.response {
                throw .peerStalled(awaiting: awaiting, limits.response)
            }
        } else {
            lastProgress = self.now
        }
        if phase == .running, self.now - lastSpoken > limits.silence / 4 { try send(.keepAlive) }
    }

    // MARK: Tags and keys

    mutating func cutSent() { link.cutSent() }
    mutating func cutReceived() { link.cutReceived() }

    /// The failure probability of the tags made and checked so far.
    var authenticationEpsilon: Double {
        switch authenticator {
        case .some(let held): held.epsilon
        case .none: 0
        }
    }

    mutating func sendTag(block: UInt32) throws(AbortReason) {
        guard
            let message = link.tagged(sender: role, block: block, parametersDigest: digest)
        else { preconditionFailure("both directions are cut before tags are made") }
        let tag: AuthenticationTag?
        do throws(AuthenticationError) {
            tag = try authenticator?.tag(message)
        } catch {
            throw Self.reason(error, block: block)
        }
        guard let tag else { return }
        try send(.blockTag(BlockTag(block: block, padOffset: tag.offset, tag: tag.octets)))
    }

    mutating func verify(_ tag: BlockTag) throws(AbortReason) {
        guard
            let message = link.tagged(
                sender: role.peer, block: tag.block, parametersDigest: digest),
            let received = AuthenticationTag(offset: tag.padOffset, octets: tag.tag)
        else { throw violation(.blockTag(tag), "no block waits for a tag") }
        do throws(AuthenticationError) {
            try authenticator?.verify(message, tag: received)
        } catch {
            throw Self.reason(error, block: tag.block)
        }
    }

    private static func reason(_ error: AuthenticationError, block: UInt32) -> AbortReason {
        switch error {
        case .exhausted(let needed, let available):
            .poolExhausted(needed: needed, available: available)
        case .notPersisted(let cause): .poolStoreFailed("\(cause)")
        case .forged:
            .authenticationFailed(
                block: block, "the tag is wrong: the two ends did not read the same messages")
        case .offsetSpent, .hashKeyWorn, .hashKeyLength:
            .authenticationFailed(block: block, "\(error)")
        }
    }

    /// Splits a key whose tags are both verified: the pools first, then the consumer.
    mutating func release(
        _ key: SecretParcel, of account: BlockAccount, keyLength: KeyLengthReport,
        epsilonBefore: Double
    ) throws(AbortReason) {
        link.endBlock()
        discardedInRow = 0
        let net = BlockAccount.netOctets(ofKeyBits: keyLength.length)
        let pad = BlockAccount.padOctets
        let whole = key.open()
        let (forAlice, forBob, released) = whole.withBytes { octets in
            (
                SecretParcel(SecretBytes(copying: octets[..<pad])),
                SecretParcel(SecretBytes(copying: octets[pad..<2 * pad])),
                SecretParcel(SecretBytes(copying: octets[2 * pad..<2 * pad + net]))
            )
        }
        try refill(role == .alice ? forAlice : forBob, isSending: true)
        try refill(role == .alice ? forBob : forAlice, isSending: false)
        var epsilon = EpsilonLedger()
        for entry in Rusca2018.epsilonEntries(parameters.security) { epsilon.add(entry) }
        epsilon.add(
            name: "authentication", value: max(0, authenticationEpsilon - epsilonBefore),
            source: "tags of this block, both directions")
        var name = keyName
        withUnsafeBytes(of: account.block.littleEndian) { name.append(contentsOf: $0) }
        var report = account.report(
            session: session, outcome: .delivered(bits: 8 * net), keyLength: keyLength,
            epsilon: epsilon)
        report.health = account.health + generatorSignals()
        emit(
            .deliver(
                SecretBlock(
                    identifier: Array(SHA256.digest(of: name)[..<16]), key: released.open(),
                    provenance: account.provenance, report: report)))
    }

    private mutating func refill(_ parcel: SecretParcel, isSending: Bool) throws(AbortReason) {
        let key = parcel.open()
        let pools = poolRanges()
        do {
            try refillStore.refill(
                key, poolOf: isSending ? role : role.peer,
                at: isSending ? pools.sending.upperBound : pools.receiving.upperBound)
        } catch {
            throw .poolStoreFailed("\(error)")
        }
        if isSending {
            authenticator?.refillSending(key)
        } else {
            authenticator?.refillReceiving(key)
        }
    }

    /// Records a block without key; several in a row end the session.
    mutating func discard(
        _ account: BlockAccount, reason: String, keyLength: KeyLengthReport? = nil
    ) throws(AbortReason) {
        var report = account.report(
            session: session, outcome: .discarded(reason), keyLength: keyLength,
            epsilon: EpsilonLedger())
        report.health = account.health + generatorSignals()
        emit(.discarded(report))
        discardedInRow += 1
        if discardedInRow >= limits.discardedBlocks { throw .noKey(reason) }
    }

    /// Throws when an error rate is above the limit with a failure probability of at most 10⁻⁶.
    func checkErrorRate(_ basis: Basis, errors: Int, trials: Int) throws(AbortReason) {
        guard trials > 0 else { return }
        let measured = Double(errors) / Double(trials)
        let limit = parameters.maximumErrorRate
        guard measured > limit else { return }
        let interval = clopperPearson(successes: errors, trials: trials, confidence: 1 - 2e-6)
        guard interval.lowerBound > limit else { return }
        throw .errorRateTooHigh(basis: basis, measured: measured, trials: trials, limit: limit)
    }

    // MARK: The end

    /// Ends the session: tells the peer unless it knows, and destroys what this part holds.
    mutating func end(_ reason: AbortReason) {
        guard phase != .over else { return }
        switch reason {
        case .peerAborted, .channelClosed: break
        default:
            if phase != .idle {
                let notice = AbortNotice(code: reason.code, text: reason.description)
                // A notice that no longer fits the record of the session is not worth an error.
                if let bytes = try? link.frame(.abort(notice)) { emit(.send(bytes)) }
            }
        }
        phase = .over
        authenticator = nil
        link.destroy()
        emit(.aborted(reason))
    }
}

extension KeyPool {
    /// The offsets of the octets not yet spent.
    var unspent: Range<UInt64> { consumedThrough..<consumedThrough + UInt64(available) }
}
