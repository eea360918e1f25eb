import HostIO

/// A GPIO host whose lines are listened to.
final class RecordingGPIOHost: GPIOHost {
    private let host: any GPIOHost
    private let recorder: SessionRecorder

    init(_ host: any GPIOHost, _ recorder: SessionRecorder) {
        self.host = host
        self.recorder = recorder
    }

    func chips() async throws(GPIOError) -> [GPIOChipSummary] { try await host.chips() }

    func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput {
        let output = try await recorder.record(line, options.sessionText(safeLevel: safeLevel)) {
            () async throws(GPIOError) in
            try await host.output(line, safeLevel: safeLevel, options: options)
        }
        return RecordingOutput(output, recorder)
    }

    func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput {
        let input = try await recorder.record(line, options.sessionText(safeLevel: nil)) {
            () async throws(GPIOError) in
            try await host.input(line, options: options)
        }
        return RecordingInput(input, recorder)
    }
}

extension GPIOLineOptions {
    /// The request for a line as it stands in a session. Names of consumers are left out.
    func sessionText(safeLevel: Bool?) -> String {
        (safeLevel.map { "output \($0 ? 1 : 0)" } ?? "input") + (isActiveLow ? " active low" : "")
    }
}

extension GPIOEdge {
    /// The edge as a byte: bit 0 rising, bit 1 set when edges may be lost.
    var sessionByte: UInt8 { (isRising ? 1 : 0) | (lossPossible ? 2 : 0) }
}

extension SessionRecorder {
    fileprivate func record<Result>(
        _ line: GPIOLineID, _ operation: String, received: (Result) -> [UInt8]? = { _ in nil },
        _ body: () async throws(GPIOError) -> Result
    ) async throws(GPIOError) -> Result {
        let number = begin(line.description, operation)
        do throws(GPIOError) {
            let result = try await body()
            end(number, received: received(result))
            return result
        } catch {
            end(number, failure: "\(error)")
            throw error
        }
    }
}

private final class RecordingOutput: GPIOOutput {
    private let output: any GPIOOutput
    private let recorder: SessionRecorder

    init(_ output: any GPIOOutput, _ recorder: SessionRecorder) {
        self.output = output
        self.recorder = recorder
    }

    var line: GPIOLineID { output.line }

    func set(_ level: Bool) async throws(GPIOError) {
        try await recorder.record(line, "set \(level ? 1 : 0)") { () async throws(GPIOError) in
            try await output.set(level)
        }
    }

    func release() async {
        let number = recorder.begin(line.description, "release")
        await output.release()
        recorder.end(number)
    }
}

private final class RecordingInput: GPIOInput {
    private let input: any GPIOInput
    private let recorder: SessionRecorder

    init(_ input: any GPIOInput, _ recorder: SessionRecorder) {
        self.input = input
        self.recorder = recorder
    }

    var line: GPIOLineID { input.line }

    func level() async throws(GPIOError) -> Bool {
        try await recorder.record(line, "level", received: { [$0 ? 1 : 0] }) {
            () async throws(GPIOError) in try await input.level()
        }
    }

    func nextEdge() async throws(GPIOError) -> GPIOEdge {
        let edge = try await input.nextEdge()
        recorder.arrival(line.description, received: [edge.sessionByte])
        return edge
    }

    func release() async {
        let number = recorder.begin(line.description, "release")
        await input.release()
        recorder.end(number)
    }
}
