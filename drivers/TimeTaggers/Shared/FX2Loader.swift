import DeviceProfiles
import HostIO
import Instruments
import Quantities

/// Loads firmware into a bare Cypress FX2 chip and waits for the device that it becomes.
///
/// The request that writes the chip's memory is carried out by its hardware: the processor is held in
/// reset, the image written in pieces, the processor released. It then leaves the bus and comes back
/// with other numbers at the same port.
///
/// Sources: github.com/esden/fxload at 0530087, `ezusb.c` (request, control register, memory);
/// bRequest, addresses and times come from the profile.
public struct FX2Loader: Sendable {
    private let profile: DeviceProfile
    private let cold: ColdBoot
    private let warm: (vendorID: UInt16, productID: UInt16)
    private let patience: Duration
    private let reactor: any Reactor

    /// Bytes in one request; Linux passes on at most 4096.
    package static let pieceBytes = 1024
    private static let timeout = Duration.seconds(2)

    /// A loader of the models in `profile`.
    ///
    /// - Throws: `notSupported` when the profile does not say how the model is loaded.
    public init(profile: DeviceProfile, reactor: any Reactor) throws(DriverError) {
        let model = profile.identity.model
        do throws(MissingProfileField) {
            guard let cold = profile.coldBoot, !cold.memory.isEmpty else {
                throw MissingProfileField(profile: profile.id, path: "cold_boot.memory")
            }
            let usb = try profile.requireUSB()
            guard let vendorID = usb.vendorID, let productID = usb.productID else {
                throw MissingProfileField(profile: profile.id, path: "usb.product_id")
            }
            self.cold = cold
            warm = (vendorID, productID)
            patience = try profile.duration("renumeration_limit_ms")
        } catch {
            throw DriverError(error, instrument: model, operation: "load firmware")
        }
        self.profile = profile
        self.reactor = reactor
    }

    /// Whether `device` is a chip that waits for such firmware.
    public func canLoad(_ device: USBDeviceSummary) -> Bool {
        device.vendorID == cold.vendorID && device.productID == cold.productID
    }

    /// Loads `image` into `device` and returns the device it has become.
    ///
    /// - Throws: `wrongDevice` unless it is a bare chip, and `outOfRange` for an image that does not fit
    ///   its memory, both before a byte is sent; `transport`, `timedOut` or `disconnected` when a request
    ///   fails; `deviceFault` when the firmware was started and the device did not return in time.
    public func load(
        _ image: FirmwareImage, into device: USBDeviceSummary, on host: any USBHost
    ) async throws(DriverError) -> USBDeviceSummary {
        guard canLoad(device) else {
            throw failure(
                FX2LoadError.notBare(found: Self.numbers(device.vendorID, device.productID)))
        }
        for segment in image.segments
        where !cold.canLoad(segment.bytes.count, at: segment.address) {
            throw failure(
                FX2LoadError.doesNotFit(
                    image: image.name, address: segment.address, bytes: segment.bytes.count))
        }
        // Before the processor starts, so that no arrival falls between.
        let arrival = WakeUp(on: reactor)
        let events = host.events()
        let listener = reactor.start { for await _ in events { arrival.wake() } }
        defer { listener.cancel() }
        try await write(image, device.id, host)
        return try await waitForReturn(of: device, image.name, host, arrival)
    }

    private func write(
        _ image: FirmwareImage, _ id: USBDeviceID, _ host: any USBHost
    ) async throws(DriverError) {
        let chip: any USBDevice
        do throws(USBTransferError) { chip = try await host.open(id) } catch {
            throw transferFailure(error)
        }
        do throws(USBTransferError) {
            try await request(cold.controlRegister, [1], chip)
            for segment in image.segments {
                for start in stride(from: 0, to: segment.bytes.count, by: Self.pieceBytes) {
                    let end = min(start + Self.pieceBytes, segment.bytes.count)
                    try await request(
                        segment.address + UInt16(start), Array(segment.bytes[start..<end]), chip)
                }
            }
        } catch {
            await chip.close()
            throw transferFailure(error)
        }
        // The processor may take the chip off the bus before it acknowledges; whether it runs shows
        // in what comes back.
        try? await request(cold.controlRegister, [0], chip)
        await chip.close()
    }

    private func request(
        _ address: UInt16, _ bytes: [UInt8], _ chip: any USBDevice
    ) async throws(USBTransferError) {
        try await chip.controlOut(
            USBControlRequest(
                requestType: 0x40, request: cold.loadRequest, value: address, index: 0),
            data: bytes, timeout: Self.timeout)
    }

    /// Looks at the list of devices whenever the host tells of a change, until the limit.
    private func waitForReturn(
        of device: USBDeviceSummary, _ image: String, _ host: any USBHost, _ arrival: WakeUp
    ) async throws(DriverError) -> USBDeviceSummary {
        let deadline = reactor.now + patience
        while true {
            let outcome = await arrival.wait(until: deadline)
            let list: [USBDeviceSummary]
            do throws(USBTransferError) { list = try await host.devices() } catch {
                throw transferFailure(error)
            }
            let there = list.first { $0.id.path == device.id.path }
            if let there, there.vendorID == warm.vendorID, there.productID == warm.productID {
                return there
            }
            switch outcome {
            case .woken: continue
            case .cancelled: throw transferFailure(.cancelled)
            case .timedOut:
                let found =
                    there.map {
                        $0.id == device.id
                            ? "the bare chip, which never left"
                            : Self.numbers($0.vendorID, $0.productID)
                    } ?? "nothing at port \(device.id.path)"
                throw failure(
                    FX2LoadError.doesNotReturn(
                        image: image, expected: Self.numbers(warm.vendorID, warm.productID),
                        after: patience, found: found))
            }
        }
    }

    private func failure(_ error: FX2LoadError) -> DriverError {
        error.driverError(instrument: profile.identity.model)
    }

    private func transferFailure(_ error: USBTransferError) -> DriverError {
        DriverError(error, instrument: profile.identity.model, operation: FX2LoadError.operation)
    }

    private static func numbers(_ vendor: UInt16, _ product: UInt16) -> String {
        func hex(_ value: UInt16) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 4 - digits.count) + digits
        }
        return hex(vendor) + ":" + hex(product)
    }
}

/// What can go wrong with loading beyond a failed transfer.
package enum FX2LoadError: Error, Hashable, Sendable {
    /// The device runs firmware already, or is no such chip.
    case notBare(found: String)
    /// The image has bytes where the chip has no memory.
    case doesNotFit(image: String, address: UInt16, bytes: Int)
    /// The firmware was started and the device did not come back.
    case doesNotReturn(image: String, expected: String, after: Duration, found: String)

    static let operation = "load firmware"

    /// The error as a port reports it.
    package func driverError(instrument: String) -> DriverError {
        switch self {
        case .notBare(let found):
            DriverError(
                code: .wrongDevice, instrument: instrument, operation: Self.operation,
                expected: "a chip without firmware", found: found,
                advice: "use the device as it is, or look for the bare chip again")
        case .doesNotFit(let image, let address, let bytes):
            DriverError(
                code: .outOfRange, instrument: instrument, operation: Self.operation,
                expected: "an image within the chip's memory",
                found: "\(bytes) bytes at address 0x\(String(address, radix: 16)) in \(image)",
                advice: "check that the image is for this model and this kind of chip")
        case .doesNotReturn(let image, let expected, let after, let found):
            DriverError(
                code: .deviceFault, instrument: instrument, operation: Self.operation,
                expected: "\(expected) within \(after) of its start", found: found,
                advice: "check that \(image) is the firmware of this model; pull the plug and "
                    + "try again")
        }
    }
}
