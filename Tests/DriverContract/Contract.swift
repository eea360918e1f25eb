import HostIO
import Instruments
import LinkTypes
import Quantities

/// An instrument that the contract is tried on, by whatever route it is reached.
package struct ContractSubject: Sendable {
    /// The identifier of its profile.
    package var profile: String
    /// The thread and the time of its driver.
    package var reactor: any Reactor
    /// Whether it is a model of a device; nil where the route does not tell, as a kernel's tty.
    package var isEmulated: Bool?
    /// The time between two pulses at the first input of a time tagger, when nothing else arrives at
    /// any input; nil when nobody knows what arrives.
    package var pulsePeriod: Picoseconds?
    /// The bias that a detector may be armed with.
    package var bias: Volts?
    /// Looks for the instrument and makes its driver.
    package var make: @Sendable () async throws -> OpenableInstrument

    /// A subject.
    package init(
        profile: String, reactor: any Reactor, isEmulated: Bool? = nil,
        pulsePeriod: Picoseconds? = nil, bias: Volts? = nil,
        make: @escaping @Sendable () async throws -> OpenableInstrument
    ) {
        self.profile = profile
        self.reactor = reactor
        self.isEmulated = isEmulated
        self.pulsePeriod = pulsePeriod
        self.bias = bias
        self.make = make
    }
}

/// What holds for every driver, whether its device is emulated in this process, behind the kernel, or
/// real. Each rule throws what the driver threw, or returns what it broke, empty when it holds.
package struct Contract: Sendable {
    /// Longer than any rule may take, homing and time-outs included.
    package static let limit = Duration.seconds(300)

    private let subject: ContractSubject

    /// The contract of `subject`.
    package init(_ subject: ContractSubject) { self.subject = subject }

    private func exercise(rounds: Int) -> Exercise {
        Exercise(reactor: subject.reactor, rounds: rounds, bias: subject.bias)
    }

    /// It opens, tells who it is, works, closes, and opens again, for as long as `limit`.
    package func lifeCycle() async throws -> [String] {
        let broken = try await within(Self.limit, subject.reactor) {
            let made = try await subject.make()
            return try await cycle(made) + cycle(made)
        }
        return broken ?? ["still busy after \(Self.limit)"]
    }

    private func cycle(_ made: OpenableInstrument) async throws -> [String] {
        do {
            try await made.instrument.open()
            let broken = try await use(made)
            await made.instrument.close()
            await made.instrument.close()
            return broken
        } catch {
            // A real instrument stays as it was left.
            await made.instrument.close()
            throw error
        }
    }

    private func use(_ made: OpenableInstrument) async throws -> [String] {
        var broken: [String] = []
        func require(_ holds: Bool, _ found: @autoclosure () -> String) {
            if !holds { broken.append(found()) }
        }
        let identity = await made.instrument.identity
        require(identity.profile == subject.profile, "drives it as \(identity.profile)")
        require(!identity.model.isEmpty && !identity.vendor.isEmpty, "does not know \(identity)")
        if let isEmulated = subject.isEmulated {
            require(
                (identity.provenance == .emulated) == isEmulated,
                "takes it for \(identity.provenance)")
        }
        let health = await made.instrument.health
        require(health == .good, "health is \(health)")
        let report = try await made.instrument.selfTest()
        require(report.passed, "self-test: \(report.checks.filter { !$0.passed })")
        guard let record = try await exercise(rounds: 2).run(made) else { return broken }
        require(record.losses.isEmpty, "lost \(record.losses)")
        guard let period = subject.pulsePeriod else { return broken }
        let expected = 0.9e12 / Double(period.rawValue)
        require(
            Double(record.tags.count) > expected,
            "\(record.tags.count) tags, expected more than \(expected)")
        let gap = record.unmarkedLoss(period: period)
        require(gap == nil, "unmarked loss: \(gap ?? "")")
        return broken
    }

    /// It refuses work before it was opened, and after it was closed.
    package func refusesWorkWhileClosed() async throws -> [String] {
        let broken = try await within(Self.limit, subject.reactor) {
            let made = try await subject.make()
            let before = await refusal(of: made)
            try await made.instrument.open()
            await made.instrument.close()
            return before + (await refusal(of: made))
        }
        return broken ?? ["still busy after \(Self.limit)"]
    }

    private func refusal(of made: OpenableInstrument) async -> [String] {
        do throws(DriverError) {
            _ = try await exercise(rounds: 1).run(made)
            return ["works while it is closed"]
        } catch {
            return error.code == .wrongState ? [] : ["refuses with \(error)"]
        }
    }

    /// It tells that it was unplugged, and works again once it is back.
    ///
    /// - Parameters:
    ///   - unplug: pulls it out, 130 ms after it was opened.
    ///   - plugIn: brings it back.
    package func survivesUnplugging(
        unplug: @escaping @Sendable () -> Void, plugIn: @escaping @Sendable () async throws -> Void
    ) async throws -> [String] {
        let broken = try await within(Self.limit, subject.reactor) { () -> [String] in
            let made = try await subject.make()
            try await made.instrument.open()
            subject.reactor.schedule(
                at: subject.reactor.now + .milliseconds(130), unplug)
            var broken: [String] = []
            do throws(DriverError) {
                // Enough rounds for any instrument to be caught at work.
                _ = try await exercise(rounds: 40).run(made)
                broken = ["works without a cable"]
            } catch {
                if error.code != .disconnected { broken = ["calls it \(error)"] }
            }
            await made.instrument.close()
            try await plugIn()
            let again = try await subject.make()
            try await again.instrument.open()
            _ = try await exercise(rounds: 1).run(again)
            await again.instrument.close()
            return broken
        }
        return broken ?? ["still busy after \(Self.limit)"]
    }
}
