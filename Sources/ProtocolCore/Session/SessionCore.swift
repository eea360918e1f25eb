import LinkTypes
import Quantities

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
    private let store: any SessionStore
    /// The last key this end released.
    private var lastReleased: KeyIdentifier?
    /// Bob: the key of an earlier session whose release by Alice is not settled.
    private var held: AgreedKey?
    /// Bob: Alice's greeting, not authenticated yet, says that she released it.
    private var heldIsSaidReleased = false
    /// The key of the block that is being confirmed.
    private var agreed: AgreedKey?
    private(set) var phase = Phase.idle
    private var link: SessionLink
    private var authenticator: Authenticator?
    private var random: WatchedGenerator
    /// What the health signals of the next blocks compare with.
    var healthExpectation = HealthExpectation()
    private var nonce: [UInt8] = []
    private var peerNonce: [UInt8] = []
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
        authenticator: consuming Authenticator, store: any SessionStore,
        memory: consuming SessionMemory, random: any RandomNumberGenerator & Sendable
    ) {
        self.parameters = parameters
        self.limits = limits
        self.authenticator = consume authenticator
        self.store = store
        var memory = memory
        lastReleased = memory.lastReleased
        held = memory.takeHeld()
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
                    receiving: pools.receiving, lastReleased: lastReleased,
                    held: heldIdentifier)))
    }

    private var heldIdentifier: KeyIdentifier? {
        switch held {
        case .some(let key): key.identifier
        case .none: nil
        }
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
        var peer = (sending: hello.sending, receiving: hello.receiving)
        if role == .bob, let id = heldIdentifier, hello.lastReleased == id {
            // Her word is not authenticated yet. Were it false, the octets appended here would not
            // be hers, and no tag would fit; nothing of it is durable before one does.
            heldIsSaidReleased = true
            appendRefills()
        } else if role == .alice, let id = lastReleased, hello.held == id {
            // Bob will add the refills of that key once he has read this end's greeting.
            peer.receiving = peer.receiving.extended(by: AgreedKey.aliceRefillOctets)
            peer.sending = peer.sending.extended(by: AgreedKey.bobRefillOctets)
        }
        let own = poolRanges()
        try comparePools("own", sender: own.sending, verifier: peer.receiving)
        try comparePools("peer's", sender: peer.sending, verifier: own.receiving)
        peerNonce = hello.nonce
        let (alice, bob) = role == .alice ? (nonce, peerNonce) : (peerNonce, nonce)
        link.name(aliceNonce: alice, bobNonce: bob)
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
        // Her second tag comes before Bob has the refill.
        let available = authenticator?.sending.available ?? 0
        if role == .alice, available < AgreedKey.aliceRefillOctets {
            throw .poolExhausted(needed: AgreedKey.aliceRefillOctets, available: available)
        }
        let tag: AuthenticationTag?
        do throws(AuthenticationError) {
            tag = try authenticator?.tag(message)
        } catch {
            throw Self.reason(error, block: block)
        }
        guard let tag else { return }
        try send(.blockTag(BlockTag(block: block, padOffset: tag.offset, tag: tag.octets)))
    }

    /// Verifies the peer's tag of a block. Bob learns from Alice's first tag of a session, which
    /// covers her greeting, whether she released the key he still holds.
    mutating func verify(_ tag: BlockTag) throws(AbortReason) {
        guard
            let message = link.tagged(
                sender: role.peer, block: tag.block, parametersDigest: digest)
        else { throw violation(.blockTag(tag), "no block waits for a tag") }
        try verify(tag, of: message)
    }

    private mutating func verify(
        _ tag: BlockTag, of message: [UInt8]
    ) throws(AbortReason) {
        guard let received = AuthenticationTag(offset: tag.padOffset, octets: tag.tag) else {
            throw violation(.blockTag(tag), "a tag has \(AuthenticationTag.octetCount) octets")
        }
        do throws(AuthenticationError) {
            try authenticator?.check(message, tag: received)
        } catch {
            throw Self.reason(error, block: tag.block)
        }
        // Before the pad is spent: it may be one of the octets that this makes durable.
        try settleHeld()
        do throws(AuthenticationError) {
            try authenticator?.spend(received)
        } catch {
            throw Self.reason(error, block: tag.block)
        }
    }

    /// What Alice said in her greeting about the key that Bob holds is true: acts on it.
    private mutating func settleHeld() throws(AbortReason) {
        guard let key = held.take() else { return }
        let identifier = key.identifier
        do {
            if heldIsSaidReleased {
                try store.release(key)
            } else {
                try store.forget(identifier)
            }
        } catch {
            throw .poolStoreFailed("\(error)")
        }
        guard heldIsSaidReleased else { return }
        lastReleased = identifier
        emit(.recovered(identifier))
    }

    private mutating func appendRefills() {
        let role = self.role
        switch held {
        case .some(let key): authenticator?.refill(with: key, role: role)
        case .none: break
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

    /// Names and splits the key of a block whose peer's tag is verified: the pools first, then the
    /// consumer.
    mutating func agree(_ key: SecretParcel, of account: BlockAccount, keyBits: Int) {
        let net = BlockAccount.netOctets(ofKeyBits: keyBits)
        let (alice, bob) = role == .alice ? (nonce, peerNonce) : (peerNonce, nonce)
        let pools = poolRanges()
        let (ofAlice, ofBob) =
            role == .alice ? (pools.sending, pools.receiving) : (pools.receiving, pools.sending)
        let first = AgreedKey.aliceRefillOctets
        let second = first + AgreedKey.bobRefillOctets
        agreed = key.open().withBytes { octets in
            AgreedKey(
                identifier: KeyIdentifier(
                    aliceNonce: alice, bobNonce: bob, block: account.block),
                provenance: account.provenance,
                key: SecretBytes(copying: octets[second..<second + net]),
                aliceRefill: SecretBytes(copying: octets[..<first]),
                aliceOffset: ofAlice.upperBound,
                bobRefill: SecretBytes(copying: octets[first..<second]),
                bobOffset: ofBob.upperBound)
        }
    }

    /// Bob: makes the agreed key durable before his tag tells Alice that he holds it.
    mutating func hold() throws(AbortReason) {
        do {
            switch agreed {
            case .some(let key): try store.hold(key)
            case .none: preconditionFailure("a key is agreed before it is held")
            }
        } catch {
            throw .poolStoreFailed("\(error)")
        }
    }

    /// Releases the agreed key: the store first, then the pools in memory and the consumer.
    mutating func release(
        of account: BlockAccount, keyLength: KeyLengthReport, epsilonBefore: Double
    ) throws(AbortReason) {
        guard let key = agreed.take() else {
            preconditionFailure("a key is agreed before it is released")
        }
        do { try store.release(key) } catch { throw .poolStoreFailed("\(error)") }
        link.endBlock()
        discardedInRow = 0
        lastReleased = key.identifier
        let role = self.role
        authenticator?.refill(with: key, role: role)
        var epsilon = EpsilonLedger()
        for entry in Rusca2018.epsilonEntries(parameters.security) { epsilon.add(entry) }
        // Bob has checked the tag of `released`; Alice makes it only now that the key is released.
        let spent =
            role == .alice ? epsilonWithRelease(of: account.block) : authenticationEpsilon
        epsilon.add(
            name: "authentication", value: max(0, spent - epsilonBefore),
            source: "tags of this block, both directions")
        var report = account.report(
            session: session, outcome: .delivered(bits: 8 * key.key.count),
            keyLength: keyLength, epsilon: epsilon)
        report.health = account.health + generatorSignals()
        emit(
            .deliver(
                SecretBlock(
                    identifier: key.identifier, key: key.key.duplicate(),
                    provenance: account.provenance, report: report)))
    }

    private func epsilonWithRelease(of block: UInt32) -> Double {
        let octets = releaseMessage(block: block).count
        return switch authenticator {
        case .some(let held): held.epsilon(withTagOver: octets)
        case .none: 0
        }
    }

    /// Alice: tells Bob that the key of `block` is released here.
    mutating func sendReleased(block: UInt32) throws(AbortReason) {
        let message = releaseMessage(block: block)
        let tag: AuthenticationTag?
        do throws(AuthenticationError) {
            tag = try authenticator?.tag(message)
        } catch {
            throw Self.reason(error, block: block)
        }
        guard let tag else { return }
        try send(.released(BlockTag(block: block, padOffset: tag.offset, tag: tag.octets)))
    }

    /// Bob: verifies that Alice released the key of the block.
    mutating func verifyReleased(_ tag: BlockTag) throws(AbortReason) {
        try verify(tag, of: releaseMessage(block: tag.block))
    }

    /// What the tag of `released` covers.
    private func releaseMessage(block: UInt32) -> [UInt8] {
        let (alice, bob) = role == .alice ? (nonce, peerNonce) : (peerNonce, nonce)
        let identifier = KeyIdentifier(aliceNonce: alice, bobNonce: bob, block: block)
        var writer = ByteWriter()
        writer.put(bytes: "berek released 1".utf8)
        writer.put(session)
        writer.put(block)
        writer.put(bytes: identifier.octets)
        return writer.bytes
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
        agreed = nil
        held = nil
        link.destroy()
        emit(.aborted(reason))
    }
}

extension KeyPool {
    /// The offsets of the octets not yet spent.
    var unspent: Range<UInt64> { consumedThrough..<consumedThrough + UInt64(available) }
}

extension Authenticator {
    /// Adds the refills of a key to both pools.
    mutating func refill(with key: borrowing AgreedKey, role: Role) {
        switch role {
        case .alice:
            refillSending(key.aliceRefill.duplicate())
            refillReceiving(key.bobRefill.duplicate())
        case .bob:
            refillSending(key.bobRefill.duplicate())
            refillReceiving(key.aliceRefill.duplicate())
        }
    }
}

extension Range<UInt64> {
    /// The range with `count` more at its end, or itself when that is out of reach: the peer's
    /// numbers may be any.
    fileprivate func extended(by count: Int) -> Range<UInt64> {
        let (end, overflow) = upperBound.addingReportingOverflow(UInt64(count))
        return overflow ? self : lowerBound..<end
    }
}
