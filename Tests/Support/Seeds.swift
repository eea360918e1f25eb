/// Consecutive seeds for a property test: `@Test(arguments: seeds(20))`.
///
/// A failing case names its seed in the test's arguments, which reproduces it.
public func seeds(_ count: Int, from first: UInt64 = 1) -> [UInt64] {
    (0..<UInt64(count)).map { first + $0 }
}
