import Glibc

/// A decoder, or a chain of them, that takes bytes from outside.
struct FuzzTarget: Sendable {
    let name: String
    /// Must end for any input, without a trap.
    let run: @Sendable ([UInt8]) -> Void

    /// All of them. Chosen with the environment variable `BEREK_FUZZ_TARGET`.
    static let all = [
        FuzzTarget(name: "profile", run: fuzzProfile),
        FuzzTarget(name: "recording", run: fuzzRecording),
        FuzzTarget(name: "usbip", run: fuzzUSBIP),
        FuzzTarget(name: "model", run: fuzzModel),
        FuzzTarget(name: "conversation", run: fuzzConversation),
    ]

    static let chosen: FuzzTarget = {
        let name = getenv("BEREK_FUZZ_TARGET").map { String(cString: $0) } ?? ""
        guard let target = all.first(where: { $0.name == name }) else {
            let names = all.map(\.name).joined(separator: ", ")
            preconditionFailure("BEREK_FUZZ_TARGET: expected one of \(names), found '\(name)'")
        }
        return target
    }()
}

/// What libFuzzer calls with every input (https://llvm.org/docs/LibFuzzer.html).
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzTarget.chosen.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}

/// The driver of libFuzzer, which its own main function would call.
@_extern(c, "LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// SwiftPM names the entry point of an executable after its target.
@_cdecl("fuzz_targets_main")
public func fuzzMain(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments, fuzzOneInput)
}
