import Emulated
import HostIO
import LinuxIO
import Quantities
import Synchronization

/// Carries bytes between the line of an emulated instrument and a stream to another program.
struct SerialFront: Sendable {
    private let port: EmulatedSerialPort
    private let reactor: EpollReactor
    private let isStopped: @Sendable () -> Bool

    /// How late a front may notice that it is to stop, or that a plug is in again.
    private static let pace = Duration.milliseconds(100)
    /// A client that takes nothing for so long is not there.
    private static let patience = Duration.seconds(86_400)

    init(
        port: EmulatedSerialPort, reactor: EpollReactor, isStopped: @escaping @Sendable () -> Bool
    ) {
        self.port = port
        self.reactor = reactor
        self.isStopped = isStopped
    }

    /// Serves a pseudo-terminal until the bench stops; it stays while the plug is pulled.
    func serve(_ terminal: PseudoTerminal) async {
        while !isStopped() {
            await carry(terminal.stream)
            guard (try? await reactor.sleep(for: Self.pace)) != nil else { break }
        }
        await terminal.stream.close()
    }

    /// Serves one client after the other until the bench stops; pulling the plug ends a connection,
    /// and a client that comes while another is served, or without a plug, is turned away.
    func serve(_ listener: TCPListener) async {
        let isBusy = Flag()
        while !isStopped() {
            guard let stream = try? await listener.accept(timeout: Self.pace) else { continue }
            guard port.isPluggedIn, isBusy.raise() else {
                await stream.close()
                continue
            }
            reactor.start { [self] in
                await carry(stream)
                await stream.close()
                isBusy.lower()
            }
        }
    }

    /// Carries bytes in both directions until either end is gone or the bench stops.
    private func carry(_ stream: any ByteStream) async {
        let isOver = Flag()
        let outward = reactor.start { [self] in
            do {
                while !isOver.isUp {
                    let bytes = try await port.read(upTo: 4096, timeout: .seconds(1_000_000_000))
                    try await stream.write(bytes, timeout: Self.patience)
                }
            } catch {}
            _ = isOver.raise()
        }
        while !isOver.isUp, !isStopped() {
            do throws(ByteStreamError) {
                let bytes = try await stream.read(upTo: 4096, timeout: Self.pace)
                try await port.write(bytes, timeout: Self.patience)
            } catch {
                if error != .timedOut { break }
            }
        }
        _ = isOver.raise()
        outward.cancel()
        if isStopped() { await stream.close() }
        await outward.value
    }
}

/// A flag that tasks share.
final class Flag: Sendable {
    private let state = Mutex(false)

    var isUp: Bool { state.withLock { $0 } }

    /// Raises it; returns whether it was down.
    func raise() -> Bool {
        state.withLock { flag in
            defer { flag = true }
            return !flag
        }
    }

    func lower() { state.withLock { $0 = false } }
}
