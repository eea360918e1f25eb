import CKernels

/// An element of GF(2)[x] / (x^128 + x^7 + x^2 + x + 1); bit i of the 128 is the coefficient of x^i.
public struct GF128: Hashable, Sendable {
    /// The coefficients of x^0 … x^63.
    public var low: UInt64
    /// The coefficients of x^64 … x^127.
    public var high: UInt64
    /// Wraps the coefficients.
    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }
}
