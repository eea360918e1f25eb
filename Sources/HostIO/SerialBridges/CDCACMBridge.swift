import Quantities

/// The requests of the USB communications class, abstract control model. Pure encoding.
///
/// Source: USB Class Definitions for Communications Devices 1.2, PSTN subclass 1.2, sections 6.3.10
/// to 6.3.12 and table 17.
package enum CDCACMWire {
    package static let setLineCoding: UInt8 = 0x20
    package static let setControlLineState: UInt8 = 0x22

    /// Rate, one stop bit, no parity, eight data bits.
    package static func lineCoding(baud: Int) -> [UInt8] {
        let rate = UInt32(clamping: baud)
        return (0..<4).map { UInt8(truncatingIfNeeded: rate >> (8 * $0)) } + [0, 0, 8]
    }

    package static func controlLineState(dtr: Bool, rts: Bool) -> UInt16 {
        (dtr ? 1 : 0) | (rts ? 2 : 0)
    }

    /// The two interfaces of one serial port.
    package struct Interfaces: Hashable, Sendable {
        package var control: USBInterface
        package var data: USBInterface
        package var input: USBEndpoint
        package var output: USBEndpoint
    }

    /// Finds a communications interface with subclass 2 and the data interface that follows it.
    ///
    /// The union descriptor that ties them together is not part of a summary; the data interface
    /// with the next number is meant, as in every device that uses an interface association.
    package static func interfaces(of device: USBDeviceSummary) -> Interfaces? {
        for control in device.interfaces where control.classTriple.starts(with: [0x02, 0x02]) {
            let candidates = device.interfaces.filter {
                $0.classTriple.first == 0x0A && $0.number > control.number
            }
            for data in candidates {
                guard let input = data.endpoints.first(where: { $0.kind == .bulk && $0.isIn }),
                    let output = data.endpoints.first(where: { $0.kind == .bulk && !$0.isIn })
                else { continue }
                return Interfaces(control: control, data: data, input: input, output: output)
            }
        }
        return nil
    }
}

/// A serial line of the USB communications class, driven over USB without a kernel driver.
///
/// RTS/CTS flow control does not exist in the abstract control model; asking for it is refused.
public actor CDCACMBridge: SerialPort {
    /// Whether the device behind the bridge is a model.
    public nonisolated let isEmulated: Bool
    private nonisolated let reactor: any Reactor
    private let device: any USBDevice
    private let interfaces: CDCACMWire.Interfaces
    private nonisolated let buffer: ReceiveBuffer
    private var queue: (any USBInQueue)?
    private var isClosed = false

    /// The reactor: completions and calls run on its thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    private static let controlTimeout = Duration.seconds(1)
    private static let transferCount = 16
    private static let transferSize = 4096

    private init(
        device: any USBDevice, interfaces: CDCACMWire.Interfaces, reactor: any Reactor
    ) {
        self.device = device
        self.interfaces = interfaces
        self.reactor = reactor
        isEmulated = device.summary.isEmulated
        buffer = ReceiveBuffer(on: reactor)
    }

    /// Claims both interfaces, sets the line coding, and raises DTR and RTS.
    ///
    /// - Throws: `notSupported` when the descriptors show no such port or flow control is asked
    ///   for, or `usb`.
    public static func open(
        _ device: any USBDevice, settings: SerialSettings, reactor: any Reactor
    ) async throws(ByteStreamError) -> CDCACMBridge {
        guard let interfaces = CDCACMWire.interfaces(of: device.summary) else {
            await device.close()
            throw .notSupported("a USB device without communications class interfaces")
        }
        let bridge = CDCACMBridge(device: device, interfaces: interfaces, reactor: reactor)
        do throws(ByteStreamError) {
            try await bridge.start(settings)
        } catch {
            await bridge.close()
            throw error
        }
        return bridge
    }

    private func start(_ settings: SerialSettings) async throws(ByteStreamError) {
        do throws(USBTransferError) {
            for interface in [interfaces.control, interfaces.data] {
                try await device.claim(
                    interface: interface.number, alternate: interface.alternate)
            }
        } catch { throw ByteStreamError(bridge: error) }
        try await configure(settings)
        try await setModemLines(dtr: true, rts: true)
        let packet = interfaces.input.maxPacketSize
        do throws(USBTransferError) {
            let queue = try device.openQueue(
                endpoint: interfaces.input.address, transferCount: Self.transferCount,
                transferSize: max(1, Self.transferSize / packet) * packet)
            self.queue = queue
            let receiver = BulkReceiver(
                queue: queue, buffer: buffer, transferCount: Self.transferCount)
            reactor.start { await receiver.run { (Array($0), nil) } }
        } catch { throw ByteStreamError(bridge: error) }
    }

    /// Sets the line coding.
    public func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        guard settings.flowControl == .none else {
            throw .notSupported("RTS/CTS flow control on a communications class port")
        }
        try await send(
            CDCACMWire.setLineCoding, value: 0, data: CDCACMWire.lineCoding(baud: settings.baud))
    }

    /// Drives DTR and RTS.
    public func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try await send(
            CDCACMWire.setControlLineState,
            value: CDCACMWire.controlLineState(dtr: dtr, rts: rts), data: [])
    }

    /// Forgets what was received; the class has no request to empty the buffers of the device.
    public func discardBuffers() async throws(ByteStreamError) {
        guard !isClosed else { throw .closed }
        buffer.discard()
    }

    /// Between 1 and `count` received bytes.
    public nonisolated func read(
        upTo count: Int, timeout: Duration
    ) async throws(ByteStreamError) -> [UInt8] {
        try await buffer.read(upTo: count, timeout: timeout)
    }

    /// Sends all of `bytes`.
    public func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        guard !isClosed else { throw .closed }
        do throws(USBTransferError) {
            try await device.write(bytes, to: interfaces.output.address, timeout: timeout)
        } catch { throw ByteStreamError(bridge: error) }
    }

    /// Cancels the pending transfers and closes the device.
    public func close() async {
        guard !isClosed else { return }
        isClosed = true
        buffer.fail(.closed)
        await queue?.cancelAll()
        await device.release(interface: interfaces.data.number)
        await device.release(interface: interfaces.control.number)
        await device.close()
    }

    private func send(
        _ request: UInt8, value: UInt16, data: [UInt8]
    ) async throws(ByteStreamError) {
        guard !isClosed else { throw .closed }
        let setup = USBControlRequest(
            requestType: 0x21, request: request, value: value,
            index: UInt16(interfaces.control.number))
        do throws(USBTransferError) {
            try await device.controlOut(setup, data: data, timeout: Self.controlTimeout)
        } catch { throw ByteStreamError(bridge: error) }
    }
}
