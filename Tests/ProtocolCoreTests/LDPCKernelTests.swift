import CKernels
import ProtocolCore
import Quantities
import Testing

/// A small code straight in the kernel's terms.
struct KernelCode {
    let rows: Int
    let columns: Int
    let lift: Int
    var rowStart: [Int32] = [0]
    var column: [Int32] = []
    var shift: [Int32] = []
    var posterior: [Int16] = []

    static let offset = Int(BEREK_LDPC_OFFSET)
    var stride: Int { lift + Int(BEREK_LDPC_TILE) }

    /// Rows with the given columns and random shifts, posteriors from `value` by column and lane.
    init(
        _ rowColumns: [[Int]], columns: Int, lift: Int, using generator: inout SeededGenerator,
        value: (inout SeededGenerator) -> Int
    ) {
        (rows, self.columns, self.lift) = (rowColumns.count, columns, lift)
        for row in rowColumns {
            column += row.map(Int32.init)
            shift += row.map { _ in Int32.random(in: 0..<Int32(lift), using: &generator) }
            rowStart.append(Int32(column.count))
        }
        for _ in 0..<columns {
            let lanes = (0..<lift).map { _ in Int16(value(&generator) + Self.offset) }
            posterior += lanes + lanes.prefix(Int(BEREK_LDPC_TILE))
        }
    }

    /// Sweeps `count` times; returns what each reported, and the decided bits.
    mutating func sweep(
        _ kernel: berek_kernel, count: Int, syndrome: [UInt64]
    ) -> (violated: [Int64], decided: [UInt64]) {
        let octets = column.count * lift
        let message = UnsafeMutableRawPointer.allocate(byteCount: octets, alignment: 64)
        message.initializeMemory(
            as: UInt8.self, repeating: UInt8(Self.offset), count: octets)
        defer { message.deallocate() }
        var violated: [Int64] = []
        var decided = [UInt64](repeating: 0, count: columns * lift / 64)
        let (rows, columns, lift) = (Int32(rows), Int32(columns), Int32(lift))
        let place = column.map { $0 * Int32(stride) }
        rowStart.withUnsafeBufferPointer { rowStart in
            column.withUnsafeBufferPointer { column in
                shift.withUnsafeBufferPointer { shift in
                    place.withUnsafeBufferPointer { place in
                        var code = berek_ldpc_code(
                            rows: rows, columns: columns, lift: lift,
                            row_start: rowStart.baseAddress, column: column.baseAddress,
                            shift: shift.baseAddress, place: place.baseAddress)
                        for _ in 0..<count {
                            violated.append(
                                berek_ldpc_sweep(
                                    &code, syndrome, &posterior,
                                    message.assumingMemoryBound(to: UInt8.self), kernel))
                        }
                        berek_ldpc_decide(&code, posterior, &decided, kernel)
                    }
                }
            }
        }
        return (violated, decided)
    }

    /// The posterior of one lane of a column, without the offset.
    func ratio(_ column: Int, _ lane: Int) -> Int {
        Int(posterior[column * stride + lane % lift]) - Self.offset
    }
}

@Suite struct LDPCKernelTests {
    static let lifts = [64, 128, 512]

    /// Seed 58.
    static func example(lift: Int) -> (code: KernelCode, syndrome: [UInt64]) {
        var generator = SeededGenerator(seed: 58)
        let rows = (0..<7).map { row in (0..<29).filter { ($0 + row) % 3 != 0 || $0 < row } }
        let code = KernelCode(rows, columns: 29, lift: lift, using: &generator) {
            $0.bernoulli(0.05) ? ($0.bernoulli(0.5) ? 4096 : -4096) : Int(40 * $0.gaussian())
        }
        let syndrome = (0..<7 * lift / 64).map { _ in generator.next() }
        return (code, syndrome)
    }

    @Test(arguments: [BEREK_KERNEL_AVX2, BEREK_KERNEL_AVX512, BEREK_KERNEL_BEST], lifts)
    func everyInstructionSetGivesTheSameBits(_ kernel: berek_kernel, _ lift: Int) {
        var (reference, syndrome) = Self.example(lift: lift)
        var other = reference
        let before = reference.posterior
        let expected = reference.sweep(BEREK_KERNEL_PORTABLE, count: 6, syndrome: syndrome)
        let found = other.sweep(kernel, count: 6, syndrome: syndrome)
        #expect(found == expected)
        #expect(other.posterior == reference.posterior)
        #expect(reference.posterior != before)
        for column in 0..<29 {
            for lane in 0..<Int(BEREK_LDPC_TILE) {
                let at = column * reference.stride + lane
                #expect(reference.posterior[at] == reference.posterior[at + lift])
            }
        }
    }

    /// a ⊞ b for log-likelihood ratios in nats.
    static func box(_ a: Double, _ b: Double) -> Double {
        let product = hyperbolicTangent(a / 2) * hyperbolicTangent(b / 2)
        return naturalLog1p(product) - naturalLog1p(-product)
    }

    static func hyperbolicTangent(_ x: Double) -> Double {
        let e = exponentialMinus1(2 * x)
        return e / (e + 2)
    }

    /// One check against the rule in binary64: the least reliable bit hears the others, the rest
    /// hear all; rounding never moves an output by more than 0.17 nats. Seed 59.
    @Test(arguments: [2, 3, 4, 5, 7, 8, 9, 12, 24, 25, 60, 150])
    func checkUpdateIsTheExactRule(_ degree: Int) {
        let lift = 64
        var generator = SeededGenerator(seed: 59, label: "\(degree)")
        var code = KernelCode(
            [Array(0..<degree)], columns: degree, lift: lift, using: &generator,
            value: { max(-127, min(127, Int(30 * $0.gaussian()))) })
        let before = code
        let syndrome = [generator.next()]
        _ = code.sweep(BEREK_KERNEL_BEST, count: 1, syndrome: syndrome)
        let unit = Double(BEREK_LDPC_UNIT)
        var worst = 0.0
        for check in 0..<lift {
            let lanes = before.shift.map { (check + Int($0)) % lift }
            let inputs = lanes.enumerated().map { before.ratio($0, $1) }
            let least = inputs.map(abs).min() ?? 0
            var parity = syndrome[0] >> UInt64(check) & 1 == 1
            for input in inputs where input < 0 { parity.toggle() }
            for (index, input) in inputs.enumerated() {
                let isLeast = abs(input) == least
                var magnitude = Double.infinity
                for (other, value) in inputs.enumerated() where other != index || !isLeast {
                    let ratio = Double(abs(value)) / unit
                    magnitude = magnitude.isInfinite ? ratio : Self.box(magnitude, ratio)
                }
                let message = Double(code.ratio(index, lanes[index]) - input) / unit
                let isNegative = parity != (input < 0)
                worst = max(worst, abs(message - (isNegative ? -magnitude : magnitude)))
            }
        }
        #expect(worst < 0.17, "\(worst) nats at degree \(degree)")
    }
}

/// Sum-product decoding by the book, in binary64, edge by edge, row after row.
struct ReferenceDecoder {
    let checks: [[Int]]

    init(code: LDPCCode) {
        checks = (0..<code.shape.syndromeBits).map { code.bits(ofCheck: $0) }
    }

    /// Whether the pattern that the syndrome belongs to is found.
    func finds(_ errors: BitBuffer, syndrome: BitBuffer, errorRate: Double, sweeps: Int) -> Bool {
        var posterior = [Double](
            repeating: naturalLog((1 - errorRate) / errorRate), count: errors.count)
        var messages = checks.map { [Double](repeating: 0, count: $0.count) }
        for _ in 0..<sweeps {
            for (check, bits) in checks.enumerated() {
                let incoming = bits.indices.map { posterior[bits[$0]] - messages[check][$0] }
                let tangents = incoming.map { max(-1 + 1e-12, min(1 - 1e-12, tangent($0 / 2))) }
                // Products of the tangents before and after each place.
                var after = [Double](repeating: 1, count: bits.count + 1)
                for index in bits.indices.reversed() {
                    after[index] = after[index + 1] * tangents[index]
                }
                var before = syndrome[check] ? -1.0 : 1.0
                for index in bits.indices {
                    let product = before * after[index + 1]
                    let message = naturalLog1p(product) - naturalLog1p(-product)
                    messages[check][index] = message
                    posterior[bits[index]] = incoming[index] + message
                    before *= tangents[index]
                }
            }
            if posterior.indices.allSatisfy({ (posterior[$0] < 0) == errors[$0] }) { return true }
        }
        return false
    }

    private func tangent(_ x: Double) -> Double { LDPCKernelTests.hyperbolicTangent(x) }
}

@Suite struct LDPCReferenceTests {
    /// Messages of 8 bits lose next to nothing: of frames at the error rates where this code begins
    /// to fail, the decoder corrects as many as sum-product decoding in binary64 does, give or take
    /// what 40 frames can tell. Seed 63.
    @Test func thresholdAgreesWithSumProductInBinary64() throws {
        let shape = try #require(LDPCShape(rowBlocks: 20, columnBlocks: 80, lift: 64))
        let code = LDPCCode(shape: shape)
        let plan = try #require(ReconciliationPlan(shape: shape, frameBits: shape.bitCount))
        let reference = ReferenceDecoder(code: code)
        var generator = SeededGenerator(seed: 63)
        var (found, expected, both) = (0, 0, 0)
        for errorRate in [0.034, 0.036] {
            for _ in 0..<20 {
                let errors = BitBuffer(
                    (0..<shape.bitCount).map { _ in generator.bernoulli(errorRate) })
                let syndrome = code.syndrome(of: errors)
                let isExpected = reference.finds(
                    errors, syndrome: syndrome, errorRate: errorRate, sweeps: 40)
                var decoder = FrameDecoder(plan: plan, code: code)
                let outcome = decoder.decode(
                    syndrome: syndrome, noisy: BitBuffer(zeros: shape.bitCount),
                    priorQBER: errorRate)
                var isFound = false
                if case .corrected(let pattern, _) = outcome { isFound = pattern == errors }
                found += isFound ? 1 : 0
                expected += isExpected ? 1 : 0
                both += isFound && isExpected ? 1 : 0
            }
        }
        #expect((8...36).contains(expected), "the rates do not straddle the threshold: \(expected)")
        #expect(abs(found - expected) <= 5, "\(found) corrected, \(expected) by the reference")
        #expect(both >= min(found, expected) - 3, "different frames: \(both)")
    }
}
