import CKernels
import Quantities

/// A message of the peer that does not fit the state of the reconciliation.
public struct CascadeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bits that the message must have; 0 when none is expected.
    public var expected: Int
    /// The bits it has.
    public var found: Int

    package init(expected: Int, found: Int) {
        self.expected = expected
        self.found = found
    }

    /// Both numbers in words.
    public var description: String { "expected \(expected) parities, found \(found)" }
}

/// Alice's end: answers with the parities of her string, which never changes.
public final class CascadeAlice: @unchecked Sendable {
    // @unchecked: a session, itself confined to one owner, is the only user.
    private let search: any CascadeSearch
    /// Her parities under way, whose differences Bob has to announce.
    private var pending: Int
    /// The parities announced so far; each discloses one bit.
    public private(set) var announcedBits = 0
    /// The messages with parities so far.
    public private(set) var steps = 0

    /// Alice's end for her string and the seed that she draws for it.
    ///
    /// `bits` must have `parameters.bits` bits. The seed is public, but must be drawn after the
    /// string is complete.
    public convenience init(parameters: CascadeParameters, seed: UInt64, bits: BitBuffer) {
        self.init(parameters: parameters, seed: seed, bits: bits, kernel: BEREK_KERNEL_BEST)
    }

    package init(parameters: CascadeParameters, seed: UInt64, bits: BitBuffer, kernel: berek_kernel)
    {
        search = makeSearch(parameters, seed, bits, flipsOwnBits: false, kernel)
        pending = 0
    }

    /// Her parities for the first step.
    public func start() -> BitBuffer { announce() }

    /// Takes what Bob found different and returns her parities for the next step, or `nil` at the
    /// end.
    public func step(differences: BitBuffer) throws(CascadeError) -> BitBuffer? {
        guard differences.count == pending, pending > 0 else {
            throw CascadeError(expected: pending, found: differences.count)
        }
        search.take(differences)
        pending = 0
        return search.questionCount == 0 ? nil : announce()
    }

    /// Whether Bob was told everything he asked for and said that all parities agree.
    public var isFinished: Bool { search.questionCount == 0 }

    private func announce() -> BitBuffer {
        let parities = search.ownParities()
        pending = parities.count
        announcedBits += parities.count
        steps += 1
        return parities
    }

    /// The differences found: all of Bob's corrections, known to everyone who listened.
    public var errorCount: Int { search.flipCount }
}

/// Bob's end: compares, corrects his string, and announces where the parities differed.
public final class CascadeBob: @unchecked Sendable {
    // @unchecked: a session, itself confined to one owner, is the only user.
    private let search: any CascadeSearch
    /// The differences announced so far; each tells one bit about the errors.
    public private(set) var announcedBits = 0
    /// The messages with differences so far.
    public private(set) var steps = 0

    /// Bob's end for his string and Alice's seed; `bits` must have `parameters.bits` bits.
    public convenience init(parameters: CascadeParameters, seed: UInt64, bits: BitBuffer) {
        self.init(parameters: parameters, seed: seed, bits: bits, kernel: BEREK_KERNEL_BEST)
    }

    package init(parameters: CascadeParameters, seed: UInt64, bits: BitBuffer, kernel: berek_kernel)
    {
        search = makeSearch(parameters, seed, bits, flipsOwnBits: true, kernel)
    }

    /// Takes Alice's parities and returns where his own differ.
    public func step(parities: BitBuffer) throws(CascadeError) -> BitBuffer {
        let expected = search.questionCount
        guard parities.count == expected, expected > 0 else {
            throw CascadeError(expected: expected, found: parities.count)
        }
        let differences = parities ^ search.ownParities()
        search.take(differences)
        announcedBits += differences.count
        steps += 1
        return differences
    }

    /// Whether everything Alice was asked for has come and all parities agree.
    public var isFinished: Bool { search.questionCount == 0 }

    /// His string as corrected so far.
    public var corrected: BitBuffer { search.corrected }

    /// The bits corrected so far. A bit corrected wrongly and restored counts twice.
    public var errorCount: Int { search.flipCount }
}

private func makeSearch(
    _ parameters: CascadeParameters, _ seed: UInt64, _ bits: BitBuffer, flipsOwnBits: Bool,
    _ kernel: berek_kernel
) -> any CascadeSearch {
    precondition(bits.count == parameters.bits, "the string has another length")
    switch parameters.revisit {
    case .smallestBlock:
        return CascadeSmallestFirst(
            parameters, seed: seed, bits: bits, flipsOwnBits: flipsOwnBits, kernel: kernel)
    case .wholeBlock:
        return CascadePublished(
            parameters, seed: seed, bits: bits, flipsOwnBits: flipsOwnBits, kernel: kernel)
    }
}
