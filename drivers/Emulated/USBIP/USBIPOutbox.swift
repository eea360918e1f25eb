import HostIO
import Synchronization

/// The replies of one connection on their way to its client, and the requests they belong to.
///
/// Completions add replies from under the lock of the emulated bench; one task takes them out and
/// writes them. The order in which replies are added is the order on the wire.
final class USBIPOutbox: Sendable {
    private struct Request {
        let submit: USBIPWire.Submit
        /// The unlink requests that named it while it was pending.
        var unlinks: [UInt32] = []
    }

    private struct State {
        var requests: [UInt32: Request] = [:]
        var requestedBytes = 0
        var replies: [[UInt8]] = []
        var firstReply = 0
        var firstByte = 0
        var queuedBytes = 0
        var ending: USBIPError?
        var isFinished = false
    }

    private let state = Mutex(State())
    private let limits: USBIPLimits
    /// Wakes the writing task.
    let filled: WakeUp
    /// Wakes the reading task, which waits while too many replies are queued.
    let emptied: WakeUp

    init(limits: USBIPLimits, reactor: any Reactor) {
        self.limits = limits
        filled = WakeUp(on: reactor)
        emptied = WakeUp(on: reactor)
    }

    // MARK: - Requests

    /// Notes a submission; false when the limits do not allow it.
    func begin(_ submit: USBIPWire.Submit) throws(USBIPError) -> Bool {
        try state.withLock { state throws(USBIPError) in
            guard state.requests[submit.number] == nil else {
                throw .malformed(
                    "a sequence number that no pending request has, not \(submit.number)")
            }
            guard state.requests.count < limits.pendingRequests,
                state.requestedBytes + submit.length <= limits.pendingBytes
            else { return false }
            state.requests[submit.number] = Request(submit: submit)
            state.requestedBytes += submit.length
            return true
        }
    }

    /// Replies to a submission. A transfer that was unlinked before a byte had moved is reported to
    /// the unlink request instead; one that had ended, or moved a part, is reported itself, before
    /// the unlink request learns that it came late. So no byte is lost by an unlink.
    func end(_ number: UInt32, _ result: USBRequestResult) {
        let isWaiting = state.withLock { state in
            guard let request = state.requests.removeValue(forKey: number) else { return false }
            state.requestedBytes -= request.submit.length
            let isTakenBack =
                result.status == .withdrawn && result.moved == 0 && !request.unlinks.isEmpty
            if !isTakenBack { Self.add(USBIPWire.submitReply(request.submit, result), to: &state) }
            for (index, unlink) in request.unlinks.enumerated() {
                let reply = USBIPWire.unlinkReply(unlink, isUnlinked: isTakenBack && index == 0)
                Self.add(reply, to: &state)
            }
            return true
        }
        if isWaiting { filled.wake() }
    }

    /// Replies to a submission that was never begun.
    func refuse(_ submit: USBIPWire.Submit, _ status: USBRequestStatus) {
        enqueue(USBIPWire.submitReply(submit, USBRequestResult(status)))
    }

    /// Notes an unlink request. True when its victim is pending and should be withdrawn; otherwise
    /// the victim has been answered, or never was, and the request is answered here.
    func unlink(_ victim: UInt32, by number: UInt32) -> Bool {
        let isPending = state.withLock { state in
            guard state.requests[victim] != nil else {
                Self.add(USBIPWire.unlinkReply(number, isUnlinked: false), to: &state)
                return false
            }
            state.requests[victim]?.unlinks.append(number)
            return true
        }
        if !isPending { filled.wake() }
        return isPending
    }

    // MARK: - Replies

    /// Adds a reply.
    func enqueue(_ reply: [UInt8]) {
        state.withLock { Self.add(reply, to: &$0) }
        filled.wake()
    }

    private static func add(_ reply: [UInt8], to state: inout State) {
        guard !state.isFinished else { return }
        state.replies.append(reply)
        state.queuedBytes += reply.count
    }

    /// Whether the client has to read before it may ask for more.
    var isFull: Bool { state.withLock { $0.queuedBytes > limits.queuedBytes && !$0.isFinished } }

    /// Takes up to `count` bytes to write; they count as queued until `written`.
    func take(upTo count: Int) -> [UInt8] {
        state.withLock { state in
            var batch: [UInt8] = []
            while batch.count < count, state.firstReply < state.replies.count {
                let reply = state.replies[state.firstReply]
                let end = min(reply.count, state.firstByte + count - batch.count)
                if batch.isEmpty, state.firstByte == 0, end == reply.count {
                    batch = reply
                } else {
                    batch += reply[state.firstByte..<end]
                }
                state.firstByte = end
                guard end == reply.count else { break }
                state.firstReply += 1
                state.firstByte = 0
            }
            // Nothing else refers to replies that are out.
            if state.firstReply == state.replies.count || state.firstReply > 64 {
                state.replies.removeFirst(state.firstReply)
                state.firstReply = 0
            }
            return batch
        }
    }

    /// Notes that bytes taken out are on their way.
    func written(_ count: Int) {
        state.withLock { $0.queuedBytes -= count }
        emptied.wake()
    }

    // MARK: - The end

    /// Takes no further replies; those queued are still written. The first reason given counts, nil
    /// standing for a client that has what it wanted.
    func finish(_ reason: USBIPError?) {
        state.withLock { state in
            guard !state.isFinished else { return }
            state.isFinished = true
            state.ending = reason
        }
        filled.wake()
        emptied.wake()
    }

    /// Whether no further reply will come.
    var isFinished: Bool { state.withLock { $0.isFinished } }

    /// The reason given to `finish`.
    var ending: USBIPError? { state.withLock { $0.ending } }
}
