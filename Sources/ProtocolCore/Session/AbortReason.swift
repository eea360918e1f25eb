import LinkTypes
import Quantities

/// Why a session ended. After it no key of the session is released.
public enum AbortReason: Error, Hashable, Sendable, CustomStringConvertible {
    /// The peer's bytes are not a message.
    case malformedMessage(MessageError)
    /// The peer's message is well formed and not allowed here: what, in which message, and why.
    case protocolViolation(message: String, sequence: UInt64, problem: String)
    /// The two ends run under different parameters.
    case parametersDiffer(own: String, peer: String)
    /// The pools of one-time pads of the two ends do not belong together.
    case poolsDiffer(String)
    /// The peer ended the session; its words are not authenticated.
    case peerAborted(code: UInt16, text: String)
    /// The connection ended.
    case channelClosed
    /// The peer sent nothing for too long.
    case peerSilent(Duration)
    /// The peer did not send what the session waits for.
    case peerStalled(awaiting: String, Duration)
    /// The error rate of a basis is above the limit beyond doubt of 10⁻⁶.
    case errorRateTooHigh(basis: Basis, measured: Double, trials: Int, limit: Double)
    /// Several blocks in a row gave no key; the failing inequality of the last one.
    case noKey(String)
    /// The peer's tag of a block is wrong: somebody changed a message, or the pools differ.
    case authenticationFailed(block: UInt32, String)
    /// Too little authentication key is left.
    case poolExhausted(needed: Int, available: Int)
    /// The consumption or refill of authentication key could not be made durable.
    case poolStoreFailed(String)
    /// Something would grow beyond its limit.
    case limitExceeded(what: String, limit: Int)
    /// This node ended the session.
    case cancelled(String)

    /// The number that goes over the wire.
    public var code: UInt16 {
        switch self {
        case .malformedMessage: 1
        case .protocolViolation: 2
        case .parametersDiffer: 3
        case .poolsDiffer: 4
        case .peerAborted: 5
        case .channelClosed: 6
        case .peerSilent: 7
        case .peerStalled: 8
        case .errorRateTooHigh: 9
        case .noKey: 10
        case .authenticationFailed: 11
        case .poolExhausted: 12
        case .poolStoreFailed: 13
        case .limitExceeded: 14
        case .cancelled: 15
        }
    }

    /// One line with the measured values and the limits.
    public var description: String {
        switch self {
        case .malformedMessage(let error): "malformed message: \(error)"
        case .protocolViolation(let message, let sequence, let problem):
            "protocol violation in message \(sequence) (\(message)): \(problem)"
        case .parametersDiffer(let own, let peer):
            "parameters differ: own digest \(own), peer's \(peer)"
        case .poolsDiffer(let text): "authentication pools differ: \(text)"
        case .peerAborted(let code, let text): "the peer ended the session (\(code)): \(text)"
        case .channelClosed: "the connection was closed"
        case .peerSilent(let time): "the peer was silent for \(time)"
        case .peerStalled(let awaiting, let time): "no \(awaiting) from the peer for \(time)"
        case .errorRateTooHigh(let basis, let measured, let trials, let limit):
            "\(basis == .z ? "Z" : "X")-basis error rate \(percent(measured)) of \(trials)"
                + " exceeds the limit \(percent(limit))"
        case .noKey(let text): "no key: \(text)"
        case .authenticationFailed(let block, let text):
            "authentication of block \(block) failed: \(text)"
        case .poolExhausted(let needed, let available):
            "authentication key exhausted: \(needed) octets needed, \(available) left"
        case .poolStoreFailed(let text): "authentication key store failed: \(text)"
        case .limitExceeded(let what, let limit): "\(what) exceeds its limit of \(limit)"
        case .cancelled(let text): "cancelled: \(text)"
        }
    }
}

/// A rate as percentage with two digits, without Foundation.
func percent(_ rate: Double) -> String {
    guard rate.isFinite else { return "\(rate)" }
    let hundredths = Int((rate * 10_000).rounded())
    let (whole, rest) = hundredths.quotientAndRemainder(dividingBy: 100)
    return "\(whole).\(rest < 10 ? "0" : "")\(rest) %"
}
