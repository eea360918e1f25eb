import Emulated
import HostIO
import LinuxIO
import Quantities
import Synchronization

/// What happened at the USB/IP front of an emulated bench.
public enum USBIPServiceEvent: Sendable {
    /// A client has been given the device at a port of the bench.
    case imported(busID: String)
    /// A connection has ended; the reason is nil when the client had what it wanted.
    case ended(busID: String?, reason: String?)
    /// A device of the bench is attached to this machine, at a port of its virtual host controller.
    case attached(busID: String, port: Int)
    /// A device of the bench could not be attached to this machine.
    case notAttached(busID: String, VHCIError)

    fileprivate init(_ event: USBIPServerEvent) {
        self =
            switch event {
            case .imported(let device): .imported(busID: device.busID)
            case .ended(let device, let error):
                .ended(busID: device?.busID, reason: error.map { "\($0) (\($0.code))" })
            }
    }
}

/// Puts the USB devices of an emulated bench in front of the Linux kernel and of other programs:
/// over TCP on the loopback interface, or straight into this machine's virtual host controller.
public final class USBIPService: Sendable {
    private let host: EmulatedUSBHost
    private let reactor: EpollReactor
    private let server: USBIPServer
    private let onEvent: @Sendable (USBIPServiceEvent) -> Void
    private let isStopped = Mutex(false)
    /// The devices that are attached to this machine or about to be.
    private let attached = Mutex<Set<UInt32>>([])

    /// A front for the devices of `bench`, which has to run on `reactor`.
    ///
    /// - Parameter onEvent: called on any thread; must return soon.
    public init(
        bench: EmulatedBench, reactor: EpollReactor,
        onEvent: @escaping @Sendable (USBIPServiceEvent) -> Void = { _ in }
    ) {
        host = bench.usb
        self.reactor = reactor
        self.onEvent = onEvent
        server = USBIPServer(host: bench.usb, reactor: reactor) { onEvent(USBIPServiceEvent($0)) }
    }

    /// The ports of the bench whose devices a client could be given now, in order.
    public var busIDs: [String] { server.devices.map(\.busID) }

    /// Ends every connection: devices attached to this machine leave it. `serve` and `mirror`
    /// return.
    public func stop() {
        isStopped.withLock { $0 = true }
        server.stop()
    }

    // MARK: - TCP

    /// Serves clients until `stop`.
    ///
    /// - Parameter listener: on the loopback interface: USB/IP has no authentication.
    /// - Throws: `notSupported` for any other address, or what the listener throws.
    public func serve(on listener: TCPListener) async throws(ByteStreamError) {
        guard Self.isLoopback(listener.address) else {
            throw .notSupported(
                "USB/IP on \(listener.address): it has no authentication, so only 127.0.0.1")
        }
        while !isStopped.withLock({ $0 }) {
            let stream: any ByteStream
            do throws(ByteStreamError) {
                stream = try await listener.accept(timeout: Self.acceptTimeout)
            } catch .timedOut {
                continue
            }
            reactor.start { [server] in await server.serve(stream) }
        }
    }

    /// How late `serve` may notice that it is to stop.
    private static let acceptTimeout = Duration.milliseconds(200)

    private static func isLoopback(_ address: String) -> Bool {
        address.hasPrefix("127.") && address.split(separator: ".").count == 4
    }

    // MARK: - This machine

    /// Attaches the device at the port `busID` of the bench to this machine, without a network. It
    /// leaves when it is unplugged from the bench, detached, or when the service stops.
    ///
    /// - Returns: the port of the virtual host controller.
    /// - Throws: `VHCIError`; `importRefused` when the bench has no free device there.
    @discardableResult
    public func attach(_ busID: String, to controller: VHCI = VHCI()) throws(VHCIError) -> Int {
        guard let device = server.devices.first(where: { $0.busID == busID }) else {
            throw .importRefused(busID: busID, status: 4)
        }
        return try attach(device, to: controller)
    }

    private func attach(
        _ device: USBExportIdentity, to controller: VHCI
    ) throws(VHCIError) -> Int {
        guard attached.withLock({ $0.insert(device.deviceID).inserted }) else {
            throw .importRefused(busID: device.busID, status: 2)
        }
        let port: Int
        let stream: any ByteStream
        do throws(VHCIError) {
            let pair = try VHCISocket.pair(reactor: reactor)
            stream = pair.server
            port = try controller.attach(
                descriptor: pair.kernel.descriptor, deviceID: device.deviceID,
                speed: device.speed)
        } catch {
            forget(device)
            throw error
        }
        // What the kernel asks before this runs waits in the socket.
        reactor.start { [self] in
            await server.serve(stream, imported: device)
            forget(device)
        }
        return port
    }

    private func forget(_ device: USBExportIdentity) {
        attached.withLock { _ = $0.remove(device.deviceID) }
    }

    /// Keeps every device of the bench attached to this machine, those that come later too, until
    /// `stop`: a device that leaves the bench and comes back, as after a firmware upload, leaves
    /// the machine and comes back.
    public func mirror(to controller: VHCI = VHCI()) async {
        let events = host.events()
        for device in server.devices { mirror(device, to: controller) }
        let ticker = reactor.start { [self] in
            while !isStopped.withLock({ $0 }) {
                guard (try? await reactor.sleep(for: Self.acceptTimeout)) != nil else { return }
            }
        }
        let follower = reactor.start { [self] in
            for await event in events {
                if case .left = event { continue }
                for device in server.devices { mirror(device, to: controller) }
            }
        }
        await ticker.value
        follower.cancel()
        await follower.value
    }

    private func mirror(_ device: USBExportIdentity, to controller: VHCI) {
        do throws(VHCIError) {
            let port = try attach(device, to: controller)
            onEvent(.attached(busID: device.busID, port: port))
        } catch .importRefused {
            // It is being attached already.
        } catch {
            onEvent(.notAttached(busID: device.busID, error))
        }
    }
}
