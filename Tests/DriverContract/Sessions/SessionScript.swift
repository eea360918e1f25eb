import HostIO
import Instruments
import LinkTypes
import Quantities
import Registry

/// What a driver is made to do when a session is recorded, and again when it is replayed.
package enum SessionScript {
    /// Opens the instrument, tests it, uses it for a moment and closes it.
    ///
    /// - Returns: who it was.
    /// - Throws: what the driver throws; the instrument is closed then too.
    package static func play(
        _ made: OpenableInstrument, reactor: any Reactor, bias: Volts?
    ) async throws -> InstrumentIdentity {
        do {
            try await made.instrument.open()
            let identity = await made.instrument.identity
            _ = try await made.instrument.selfTest()
            _ = try await Exercise(reactor: reactor, rounds: 1, bias: bias).run(made)
            await made.instrument.close()
            return identity
        } catch {
            await made.instrument.close()
            throw error
        }
    }

    /// Records a session of an instrument.
    ///
    /// - Parameters:
    ///   - source: what the instrument is, in words.
    ///   - lines: the lines it is wired to, when it has no other port.
    ///   - make: makes its driver with the ports it is given.
    package static func record(
        profile: String, source: String, serial: String, addresses: [UInt8] = [],
        lines: LineAssignment = [:], bias: Volts?, ports: HostPorts,
        make: (HostPorts) async throws -> OpenableInstrument
    ) async throws -> Session {
        let recorder = SessionRecorder(reactor: ports.reactor)
        let made = try await make(recorder.ports(over: ports))
        let identity = try await play(made, reactor: ports.reactor, bias: bias)
        let route: Session.Route =
            if let device = recorder.device {
                .usb(device)
            } else if !lines.isEmpty {
                .lines(lines)
            } else {
                .port(addresses: addresses)
            }
        return Session(
            profile: profile, source: source, isEmulated: identity.provenance == .emulated,
            serial: serial, firmware: identity.firmware, bias: bias, route: route,
            events: recorder.events)
    }

    /// Replays a session to the driver that is compiled in.
    ///
    /// - Throws: `SessionDifference` at the first difference, or what the driver threw.
    package static func replay(_ session: Session, reactor: any Reactor) async throws {
        let catalog = try shippedCatalog.get()
        let player = SessionPlayer(session, reactor: reactor)
        let registry = BuiltInDrivers.registry()
        let found = try await registry.discover(
            on: player.ports, catalog: catalog, wiring: player.wiring)
        guard let device = found.first(where: { $0.profile == session.profile }) else {
            throw ContractBenchError("\(session.profile) is not recognised: \(found)")
        }
        let made = try registry.make(
            device, catalog: catalog, ports: player.ports, wiring: player.wiring)
        do {
            let identity = try await play(made, reactor: reactor, bias: session.bias)
            if let difference = player.difference { throw difference }
            guard identity.firmware == session.firmware else {
                throw SessionDifference(
                    line: 1, expected: "firmware '\(session.firmware)'",
                    found: "'\(identity.firmware)'")
            }
        } catch {
            throw player.hasDiffered ? player.difference ?? error : error
        }
    }
}
