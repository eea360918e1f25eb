import Quantities

/// A serial line behind an FTDI converter, driven over USB without a kernel driver.
///
/// The chip repeats two status bytes at the start of every packet and sends a packet with nothing
/// but these after each latency period; neither reaches the reader. Overrun, parity, framing and
/// break are thrown by `read` as `lineError` at the place in the stream where they happened.
/// Protocol sources: see `FTDIWire`. Only single-port chips with a 3 MHz baud base are supported.
public actor FTDIBridge: SerialPort {
    /// Whether the device behind the bridge is a model.
    public nonisolated let isEmulated: Bool
    private nonisolated let reactor: any Reactor
    private let device: any USBDevice
    private let interface: USBInterface
    private let inPacketSize: Int
    private let inEndpoint: UInt8
    private let outEndpoint: UInt8
    private nonisolated let buffer: ReceiveBuffer
    private var queue: (any USBInQueue)?
    private var isClosed = false

    /// The reactor: completions and calls run on its thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    private static let controlTimeout = Duration.seconds(1)
    private static let transferCount = 4
    private static let transferSize = 4096

    private init(device: any USBDevice, reactor: any Reactor) throws(ByteStreamError) {
        let candidate = device.summary.interfaces.first { interface in
            interface.classTriple == [0xFF, 0xFF, 0xFF] && interface.alternate == 0
        }
        guard let interface = candidate,
            let input = interface.endpoints.first(where: { $0.kind == .bulk && $0.isIn }),
            let output = interface.endpoints.first(where: { $0.kind == .bulk && !$0.isIn }),
            input.maxPacketSize > FTDIWire.statusBytes
        else { throw .notSupported("a USB device without FTDI bulk endpoints") }
        self.device = device
        self.reactor = reactor
        self.interface = interface
        isEmulated = device.summary.isEmulated
        inEndpoint = input.address
        outEndpoint = output.address
        inPacketSize = input.maxPacketSize
        buffer = ReceiveBuffer(on: reactor)
    }

    /// Claims the converter and brings the line to `settings`, DTR and RTS high, buffers empty.
    ///
    /// - Parameter latencyTimer: how long the chip waits for more bytes before it sends a packet
    ///   that is not full, 1 to 255 ms.
    /// - Throws: `notSupported` for a baud rate the chip can not make within 3 %, or `usb`.
    public static func open(
        _ device: any USBDevice, settings: SerialSettings, latencyTimer: Int, reactor: any Reactor
    ) async throws(ByteStreamError) -> FTDIBridge {
        let bridge: FTDIBridge
        do throws(ByteStreamError) {
            bridge = try FTDIBridge(device: device, reactor: reactor)
        } catch {
            await device.close()
            throw error
        }
        do throws(ByteStreamError) {
            try await bridge.start(settings, latencyTimer: latencyTimer)
        } catch {
            await bridge.close()
            throw error
        }
        return bridge
    }

    private func start(
        _ settings: SerialSettings, latencyTimer: Int
    ) async throws(ByteStreamError) {
        do throws(USBTransferError) {
            try await device.claim(interface: interface.number, alternate: interface.alternate)
        } catch { throw ByteStreamError(bridge: error) }
        try await send(.reset, value: FTDIWire.Reset.device.rawValue)
        try await configure(settings)
        try await send(.setLatencyTimer, value: UInt16(clamping: min(max(latencyTimer, 1), 255)))
        try await purge()
        try await setModemLines(dtr: true, rts: true)
        let size = max(1, Self.transferSize / inPacketSize) * inPacketSize
        do throws(USBTransferError) {
            let queue = try device.openQueue(
                endpoint: inEndpoint, transferCount: Self.transferCount, transferSize: size)
            self.queue = queue
            let receiver = BulkReceiver(
                queue: queue, buffer: buffer, transferCount: Self.transferCount)
            let packetSize = inPacketSize
            reactor.start {
                await receiver.run { transfer in
                    let (bytes, status) = FTDIWire.payload(of: transfer, packetSize: packetSize)
                    return (bytes, status.errorDescription)
                }
            }
        } catch { throw ByteStreamError(bridge: error) }
    }

    /// Sets baud rate, eight data bits without parity, and flow control.
    public func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        guard let divisor = FTDIWire.baudDivisor(settings.baud) else {
            throw .notSupported("\(settings.baud) baud (an FTDI chip divides 3 MHz in eighths)")
        }
        try await send(.setBaudRate, value: divisor.value, index: divisor.index)
        try await send(.setData, value: FTDIWire.eightDataBitsNoParity)
        try await send(
            .setFlowControl, index: FTDIWire.flowControlIndex(settings.flowControl))
    }

    /// Drives DTR and RTS.
    public func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try await send(.setModemControl, value: FTDIWire.modemControl(dtr: dtr, rts: rts))
    }

    /// Empties the buffers of the chip and of this bridge.
    public func discardBuffers() async throws(ByteStreamError) {
        try await purge()
        buffer.discard()
    }

    private func purge() async throws(ByteStreamError) {
        try await send(.reset, value: FTDIWire.Reset.purgeReceive.rawValue)
        try await send(.reset, value: FTDIWire.Reset.purgeTransmit.rawValue)
    }

    /// Between 1 and `count` received bytes, without status bytes.
    public nonisolated func read(
        upTo count: Int, timeout: Duration
    ) async throws(ByteStreamError) -> [UInt8] {
        try await buffer.read(upTo: count, timeout: timeout)
    }

    /// Sends all of `bytes`.
    public func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        guard !isClosed else { throw .closed }
        do throws(USBTransferError) {
            try await device.write(bytes, to: outEndpoint, timeout: timeout)
        } catch { throw ByteStreamError(bridge: error) }
    }

    /// Cancels the pending transfers and closes the device.
    public func close() async {
        guard !isClosed else { return }
        isClosed = true
        buffer.fail(.closed)
        await queue?.cancelAll()
        await device.release(interface: interface.number)
        await device.close()
    }

    private func send(
        _ request: FTDIWire.Request, value: UInt16 = 0, index: UInt16 = 0
    ) async throws(ByteStreamError) {
        guard !isClosed else { throw .closed }
        let setup = USBControlRequest(
            requestType: 0x40, request: request.rawValue, value: value, index: index)
        do throws(USBTransferError) {
            try await device.controlOut(setup, data: [], timeout: Self.controlTimeout)
        } catch { throw ByteStreamError(bridge: error) }
    }
}

extension USBEndpoint {
    /// Whether it moves data towards the host.
    package var isIn: Bool { address & 0x80 != 0 }
}
