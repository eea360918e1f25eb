import HostIO
import Quantities
import Synchronization

/// What a USB/IP server has to tell.
public enum USBIPServerEvent: Hashable, Sendable {
    /// A client has been given the device.
    case imported(USBExportIdentity)
    /// A connection has ended: why, or nil when the client had what it wanted.
    case ended(USBExportIdentity?, USBIPError?)
}

/// Serves the devices of an emulated USB bus to USB/IP clients, such as vhci-hcd of Linux, over any
/// byte streams.
///
/// USB/IP has no authentication: whoever reaches a stream can use the devices. Give it streams from
/// this machine only. A device is used by one client or in this process, never both. A connection
/// that breaks the protocol is closed with a reason and takes nothing else with it.
///
/// Deviations: isochronous transfers end with EINVAL. An unlink that comes while a transfer has
/// moved some of its bytes ends that transfer as if it had completed just before, with what it
/// moved; the server of Linux drops those bytes.
public final class USBIPServer: Sendable {
    private struct State {
        var connections: [ObjectIdentifier: USBIPConnection] = [:]
        var isStopped = false
    }

    private let host: EmulatedUSBHost
    private let reactor: any Reactor
    private let limits: USBIPLimits
    private let onEvent: @Sendable (USBIPServerEvent) -> Void
    private let state = Mutex(State())

    /// A server for the devices of `host`.
    ///
    /// - Parameter onEvent: called on the reactor; must return soon.
    public init(
        host: EmulatedUSBHost, reactor: any Reactor, limits: USBIPLimits = USBIPLimits(),
        onEvent: @escaping @Sendable (USBIPServerEvent) -> Void = { _ in }
    ) {
        self.host = host
        self.reactor = reactor
        self.limits = limits
        self.onEvent = onEvent
    }

    /// How many clients are connected.
    public var clients: Int { state.withLock { $0.connections.count } }

    /// The devices a client could be given now.
    public var devices: [USBExportIdentity] { host.exportable() }

    /// Serves one client from its first request on; returns when its stream is closed.
    ///
    /// - Returns: why the connection ended, nil when the client had what it wanted.
    @discardableResult
    public func serve(_ stream: any ByteStream) async -> USBIPError? {
        let device = Mutex<USBExportIdentity?>(nil)
        return await run(stream, device: { device.withLock { $0 } }) { [onEvent] connection in
            await connection.serve { identity in
                device.withLock { $0 = identity }
                onEvent(.imported(identity))
            }
        }
    }

    /// Serves a client that begins with transfers, as a kernel does that was handed a socket: the
    /// device is settled beforehand.
    ///
    /// - Parameter device: one of `devices`.
    /// - Returns: why the connection ended, nil when the client had what it wanted.
    @discardableResult
    public func serve(
        _ stream: any ByteStream, imported device: USBExportIdentity
    ) async -> USBIPError? {
        await run(stream, device: { device }) { [onEvent] connection in
            onEvent(.imported(device))
            return await connection.serve(imported: device)
        }
    }

    private func run(
        _ stream: any ByteStream, device: @Sendable () -> USBExportIdentity?,
        _ work: @Sendable (USBIPConnection) async -> USBIPError?
    ) async -> USBIPError? {
        let connection = USBIPConnection(stream, host: host, reactor: reactor, limits: limits)
        let refusal = state.withLock { state -> USBIPError? in
            if state.isStopped { return .stopped }
            if state.connections.count >= limits.clients { return .tooManyClients(limits.clients) }
            state.connections[ObjectIdentifier(connection)] = connection
            return nil
        }
        if let refusal {
            await stream.close()
            onEvent(.ended(nil, refusal))
            return refusal
        }
        let ending = await work(connection)
        state.withLock { $0.connections[ObjectIdentifier(connection)] = nil }
        onEvent(.ended(device(), ending))
        return ending
    }

    /// Ends every connection and takes no further one.
    public func stop() {
        let connections = state.withLock { state in
            state.isStopped = true
            return Array(state.connections.values)
        }
        for connection in connections { connection.finish(.stopped) }
    }
}
