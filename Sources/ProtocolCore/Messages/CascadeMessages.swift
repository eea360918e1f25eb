import Quantities

/// Opens Cascade for a block: the parameters, and the seed of its permutations and subsets.
public struct CascadeStart: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// Drawn by Alice when the string is complete.
    public var seed: UInt64
    /// The parameters, with `revisit` at `smallestBlock`.
    public var parameters: CascadeParameters

    package init(block: UInt32, seed: UInt64, parameters: CascadeParameters) {
        self.block = block
        self.seed = seed
        self.parameters = parameters
    }

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(seed)
        writer.put(UInt32(parameters.bits))
        writer.put(UInt32(parameters.windowBits))
        writer.put(UInt8(parameters.checks))
        writer.put(UInt8(parameters.blockSizes.count))
        for size in parameters.blockSizes { writer.put(UInt32(size)) }
    }
}

extension CascadeStart {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        seed = try reader.integer(UInt64.self, "seed")
        let bits = try reader.integer("bits", in: 1...MessageLimits.cascadeBits)
        let windowBits = try reader.integer("window", in: 64...1 << 16 as ClosedRange<UInt32>)
        let checks = try reader.integer("subsets", in: 0...64 as ClosedRange<UInt8>)
        let passes = try reader.integer("passes", in: 1...32 as ClosedRange<UInt8>)
        var sizes: [Int] = []
        for _ in 0..<passes {
            sizes.append(
                Int(try reader.integer("block size", in: 2...MessageLimits.cascadeBits)))
        }
        guard
            let parameters = CascadeParameters(
                bits: Int(bits), windowBits: Int(windowBits), blockSizes: sizes,
                checks: Int(checks))
        else {
            throw reader.refusal(
                "parameters", size: 10 + 4 * sizes.count, expected: "parameters of Cascade",
                found: "\(bits) bits, \(windowBits) a window, blocks \(sizes)")
        }
        self.parameters = parameters
    }
}

/// Alice's parities for one step of Cascade. Which blocks they belong to follows from what was said
/// before.
public struct CascadeParities: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// Counts the steps of the block, from 0.
    public var step: UInt32
    /// The parities; each is charged as one bit.
    public var parities: BitBuffer

    package init(block: UInt32, step: UInt32, parities: BitBuffer) {
        self.block = block
        self.step = step
        self.parities = parities
    }

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(step)
        writer.put(countedBits: parities)
    }
}

extension CascadeParities {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        step = try reader.integer(UInt32.self, "step")
        parities = try reader.countedBits(limit: MessageLimits.cascadeBitsPerStep, "parities")
    }
}

/// Where Bob's parities differ from Alice's in one step of Cascade.
public struct CascadeDifferences: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The step that is answered.
    public var step: UInt32
    /// A one for each parity that differs; each bit tells one bit about Bob's errors.
    public var differences: BitBuffer

    package init(block: UInt32, step: UInt32, differences: BitBuffer) {
        self.block = block
        self.step = step
        self.differences = differences
    }

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(step)
        writer.put(countedBits: differences)
    }
}

extension CascadeDifferences {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        step = try reader.integer(UInt32.self, "step")
        differences = try reader.countedBits(
            limit: MessageLimits.cascadeBitsPerStep, "differences")
    }
}
