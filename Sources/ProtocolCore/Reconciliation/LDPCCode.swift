import Quantities

/// The size of a code of the family: all that the two ends must agree on to build the same code.
public struct LDPCShape: Hashable, Sendable {
    /// The number of circulant rows; the syndrome has `rowBlocks * lift` bits.
    public let rowBlocks: Int
    /// Z, the size of the circulants: 64, 128 or 256.
    public let lift: Int

    /// The number of circulant columns of every code of the family.
    public static let columnBlocks = 240
    /// The row counts of the family: syndrome rates 0.05 to 0.55 in steps of 1/240.
    public static let rowBlockRange = 12...132
    /// The circulant sizes of the family, giving 15 360, 30 720 and 61 440 bits.
    public static let lifts = [64, 128, 256]

    /// Wraps the two numbers, or returns `nil` when the family has no such code.
    public init?(rowBlocks: Int, lift: Int) {
        guard Self.rowBlockRange.contains(rowBlocks), Self.lifts.contains(lift) else { return nil }
        self.rowBlocks = rowBlocks
        self.lift = lift
    }

    /// n, the number of key bits of a full frame.
    public var bitCount: Int { Self.columnBlocks * lift }
    /// The number of syndrome bits.
    public var syndromeBits: Int { rowBlocks * lift }
    /// The syndrome bits per bit of a full frame.
    public var syndromeRate: Double { Double(rowBlocks) / Double(Self.columnBlocks) }
}

/// One quasi-cyclic low-density parity-check code, generated deterministically from its shape.
public struct LDPCCode: Hashable, Sendable {
    /// The shape the code was generated from.
    public let shape: LDPCShape

    /// Generates the code of `shape`; the same shape always gives the same code.
    public init(shape: LDPCShape) {
        self.shape = shape
    }

    /// The syndrome of a frame of at most `shape.bitCount` bits; missing bits count as zero.
    public func syndrome(of frame: BitBuffer) -> BitBuffer {
        preconditionFailure()
    }

    /// The error rate a syndrome difference of the given weight is most likely for.
    public func errorRate(syndromeWeight: Int, frameBits: Int) -> Double {
        preconditionFailure()
    }
}
