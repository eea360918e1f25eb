import CKernels
import Quantities

/// The polynomial hash that compares two corrected keys.
public struct VerificationHash: Hashable, Sendable {
    /// The number of tag bits, 1...128.
    public let tagBits: Int

    /// A hash with the shortest tag, in whole octets, whose collision bound for keys of `keyBits`
    /// bits is at most `epsilon`; `nil` when even 128 bits do not suffice.
    public init?(keyBits: Int, epsilon: Double) { return nil }

    /// A hash with the given number of tag bits, 1...128.
    public init(tagBits: Int) { self.tagBits = tagBits }

    /// The tag of `key` under the public random `point`.
    public func tag(of key: BitBuffer, point: GF128) -> BitBuffer { preconditionFailure() }

    /// An upper bound of the probability that two different keys of `keyBits` bits get one tag.
    public func collisionBound(keyBits: Int) -> Double { preconditionFailure() }
}
