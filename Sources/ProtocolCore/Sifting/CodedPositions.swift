import CKernels

/// Increasing positions below a limit that both ends know, under an entropy code.
///
/// The gaps are coded by asymmetric numeral systems under the geometric law that the number of
/// positions and the limit imply (docs/protocol.md, "Positions"). Positions of independent clicks
/// of probability p cost h(p)/p bits each, and any others of the same number cost no more: within
/// 0.2 % and some 12 octets, for p from 10⁻⁵ to 0.9. A code has one form: two codes that decode
/// to the same positions are equal.
public struct CodedPositions: Hashable, Sendable {
    /// The number of positions.
    public var count: Int
    /// The coder's states, its words and the low bits of the gaps; empty without positions.
    public var code: [UInt8]

    /// Wraps received fields; `decode` checks them.
    public init(count: Int, code: [UInt8]) {
        self.count = count
        self.code = code
    }

    /// The code of `positions`, which must increase strictly and lie below `limit` ≤ 2³² − 1.
    public init(encoding positions: [UInt32], below limit: UInt64) {
        precondition(limit <= UInt64(UInt32.max) && positions.count <= limit)
        count = positions.count
        guard let last = positions.last else {
            code = []
            return
        }
        precondition(last < limit, "positions lie below the limit")
        precondition(
            zip(positions, positions.dropFirst()).allSatisfy { $0 < $1 },
            "positions increase strictly")
        var model = berek_position_model()
        berek_position_model_make(&model, UInt32(count), UInt32(limit))
        code = [UInt8](unsafeUninitializedCapacity: berek_positions_code_limit(&model)) {
            code, size in
            withUnsafeTemporaryAllocation(
                of: UInt8.self, capacity: berek_positions_symbol_limit(&model)
            ) { symbols in
                size = berek_positions_encode(
                    &model, positions, symbols.baseAddress, code.baseAddress)
            }
        }
    }

    /// The positions, all below `limit` ≤ 2³² − 1.
    ///
    /// Refuses every code that `init(encoding:below:)` does not make. Takes time and memory
    /// proportional to `count`, which the caller has bounded.
    public func decode(below limit: UInt64) throws(PositionCodeError) -> [UInt32] {
        precondition(limit <= UInt64(UInt32.max))
        guard count >= 0, UInt64(count) <= limit else {
            throw PositionCodeError(
                offset: 0, expected: "at most \(limit) positions", found: "\(count)")
        }
        guard count > 0 else {
            guard code.isEmpty else {
                throw PositionCodeError(
                    offset: 0, expected: "no code without positions",
                    found: "\(code.count) octets")
            }
            return []
        }
        var model = berek_position_model()
        berek_position_model_make(&model, UInt32(count), UInt32(limit))
        var offset = 0
        var status = BEREK_POSITIONS_FINE
        let positions = [UInt32](unsafeUninitializedCapacity: count) { memory, initialized in
            memory.initialize(repeating: 0)
            initialized = count
            status = berek_positions_decode(
                &model, code, code.count, memory.baseAddress, &offset)
        }
        guard status == BEREK_POSITIONS_FINE else {
            let (expected, found) = Self.refusal(status, limit: limit)
            throw PositionCodeError(offset: offset, expected: expected, found: found)
        }
        return positions
    }

    private static func refusal(
        _ status: berek_positions_status, limit: UInt64
    ) -> (expected: String, found: String) {
        switch status {
        case BEREK_POSITIONS_LENGTH: ("states, whole words and low bits", "another length")
        case BEREK_POSITIONS_STATE: ("a state of 65536 or more", "a smaller one")
        case BEREK_POSITIONS_SHORT: ("another word", "the end of the words")
        case BEREK_POSITIONS_LIMIT: ("positions below \(limit)", "a larger one")
        case BEREK_POSITIONS_SURPLUS: ("the end of the words", "more words")
        case BEREK_POSITIONS_FINAL: ("the final state 65536", "another one")
        default: ("zero bits after the last gap", "a one")
        }
    }
}

/// Why a code of positions was refused.
public struct PositionCodeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The octet of the code at which it was found out.
    public var offset: Int
    /// What a code has there.
    public var expected: String
    /// What this one has.
    public var found: String

    /// One line naming place, expectation and finding.
    public var description: String {
        "octet \(offset) of the positions: expected \(expected), found \(found)"
    }
}
