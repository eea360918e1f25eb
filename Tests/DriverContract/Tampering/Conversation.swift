import DeviceProfiles
import Emulated
import HostIO
import Instruments
import Quantities

/// A driver and the model of its instrument, with somebody in between.
///
/// Whatever is done to the bytes, every operation of the driver ends in time, with success or with a
/// named error, and once nothing is done to them any more the instrument can be opened and used.
package struct Conversation: Sendable {
    /// The profiles of instruments that bytes go to and from, in order.
    package static let profiles: [String] = {
        let all = (try? shippedCatalog.get())?.profiles ?? []
        return all.filter { $0.identity.transport != .gpio }.map(\.id).sorted()
    }()

    /// The longest that a disturbed conversation may take: every one of its requests may run into its
    /// longest time-out.
    private static let limit = Duration.seconds(3600)

    /// The instrument.
    package let profile: String
    /// Whether it is behind its USB bridge or endpoints, or on a serial line.
    package let cable: SerialCable
    private let script: TamperScript

    /// A conversation that `bytes` describe: the first byte chooses the instrument, bit 7 the line where
    /// there is one, and the rest is a `TamperScript`. Nil without a first byte.
    package init?(_ bytes: [UInt8]) {
        guard let first = bytes.first, !Self.profiles.isEmpty else { return nil }
        profile = Self.profiles[Int(first & 0x7F) % Self.profiles.count]
        cable = first & 0x80 == 0 ? .usb : .line
        script = TamperScript(bytes.dropFirst())
    }

    /// Holds it.
    ///
    /// - Returns: what was broken; empty when all went as it should.
    /// - Throws: what the bench throws, `VirtualTimeDeadlock` when a driver waits for ever.
    package func hold() throws -> [String] {
        let reactor = VirtualReactor()
        return try reactor.run {
            let bench = try ContractBench(
                profile: profile, seed: 1, reactor: reactor, cable: cable)
            let recorder = SessionRecorder(reactor: reactor)
            let broken = try await within(Self.limit, reactor) {
                try await disturbed(bench, recorder)
            }
            guard let broken else {
                let last = recorder.events.suffix(12).flatMap(Session.lines)
                return ["still busy after \(Self.limit), since\n" + last.joined(separator: "\n")]
            }
            script.stop()
            return try await broken + undisturbed(bench)
        }
    }

    /// Opens and uses the instrument while the script runs.
    private func disturbed(
        _ bench: ContractBench, _ recorder: SessionRecorder
    ) async throws -> [String] {
        let place = TamperPlace(script: script, reactor: bench.reactor) { bench.unplug() }
        let ports = HostPorts(
            usb: bench.ports.usb.map { TamperingUSBHost($0, place) },
            serial: bench.ports.serial.map { TamperingSerialHost($0, place) },
            reactor: bench.reactor)
        let made = try await bench.make(through: recorder.ports(over: ports))
        var broken: [String] = []
        do throws(DriverError) {
            try await made.instrument.open()
            _ = try await made.instrument.selfTest()
            _ = try await Exercise(reactor: bench.reactor, rounds: 1).run(made)
        } catch {
            if error.found.isEmpty || error.advice.isEmpty { broken = ["says only \(error)"] }
        }
        await made.instrument.close()
        return broken
    }

    /// Opens and uses it again, through ports that nobody touches.
    private func undisturbed(_ bench: ContractBench) async throws -> [String] {
        try await bench.reactor.sleep(for: .seconds(1))
        if try await !bench.isAttached() { bench.plugIn() }
        // What was sent to the instrument may have made it restart.
        try await bench.reactor.sleep(for: .seconds(3))
        let broken = try await within(Contract.limit, bench.reactor) { () -> [String] in
            guard let first = await attempt(bench) else { return [] }
            // It was told things that nobody meant: it may have to be switched off and on.
            try bench.repair()
            guard let second = await attempt(bench) else { return [] }
            return ["after \(first): not even switched off and on: \(second)"]
        }
        return broken ?? ["still busy, undisturbed, after \(Contract.limit)"]
    }

    private func attempt(_ bench: ContractBench) async -> String? {
        do {
            let made = try await bench.make()
            do {
                try await made.instrument.open()
                _ = try await Exercise(reactor: bench.reactor, rounds: 1).run(made)
                await made.instrument.close()
                return nil
            } catch {
                await made.instrument.close()
                return "\(error)"
            }
        } catch {
            return "\(error)"
        }
    }
}
