import DeviceProfiles
import HostIO
import Instruments
import Quantities
import Registry
import TimeTaggers

/// Loads an operator's firmware image into a bare chip, and finds the instrument it becomes.
public struct FirmwareLoading: Sendable {
    private let image: FirmwareImage
    private let ports: HostPorts
    private let catalog: ProfileCatalog
    private let registry = BuiltInDrivers.registry()
    private static let operation = "load firmware"

    /// What came of it.
    public struct Outcome: Hashable, Sendable {
        /// The address of the bare chip.
        public let chip: String
        /// The instrument that came back.
        public let device: DiscoveredDevice
        /// The bytes that were written.
        public let byteCount: Int
        /// From the first byte to the instrument.
        public let duration: Duration
    }

    /// Reads an image in Intel HEX format.
    ///
    /// - Parameter file: its name in messages.
    /// - Throws: `FirmwareImageError` with the line of the first mistake.
    public init(
        intelHex text: String, file: String, ports: HostPorts, catalog: ProfileCatalog
    ) throws(FirmwareImageError) {
        image = try FirmwareImage(intelHex: text, name: file)
        self.ports = ports
        self.catalog = catalog
    }

    /// Loads the image into one bare chip.
    ///
    /// - Parameters:
    ///   - port: the USB port of the chip, such as `1-3`; needed when there are several.
    ///   - profile: the model that the image is for; needed when the chip may become several.
    /// - Throws: `DriverError`: `wrongDevice` when there is no such chip, or several and none named;
    ///   `notSupported` for a model that is not loaded; the errors of `FX2Loader.load`; `wrongDevice`
    ///   when what came back is none that can be used.
    public func load(port: String?, profile: String?) async throws -> Outcome {
        guard let usb = ports.usb else {
            throw failure(.notSupported, "a USB host", "none", "run it where the chip is attached")
        }
        let found = try await registry.discover(on: ports, catalog: catalog)
        let (chip, summary, candidates) = try self.chip(at: port, among: found)
        let model = try self.model(profile, among: candidates)
        let loader = try FX2Loader(profile: model, reactor: ports.reactor)
        let start = ports.reactor.now
        let warm = try await loader.load(image, into: summary, on: usb)
        let duration = ports.reactor.now - start
        let now = try await registry.discover(on: ports, catalog: catalog)
        guard let device = now.first(where: { $0.usb?.id == warm.id }) else {
            throw failure(
                .disconnected, "\(model.id) at port \(warm.id.path)", "nothing",
                "check cable and power, then load it again")
        }
        return Outcome(
            chip: "\(chip.address)", device: device, byteCount: image.byteCount, duration: duration)
    }

    private func chip(
        at port: String?, among found: [DiscoveredDevice]
    ) throws(DriverError) -> (DiscoveredDevice, USBDeviceSummary, profiles: [String]) {
        var chips: [(device: DiscoveredDevice, usb: USBDeviceSummary, profiles: [String])] = []
        for device in found {
            if case .awaitingFirmware(let profiles) = device.availability, let usb = device.usb {
                chips.append((device, usb, profiles))
            }
        }
        let list = chips.map(\.usb.id.path).sorted().joined(separator: ", ")
        guard let port else {
            guard let only = chips.first else {
                // A chip that can not be opened is not known to be bare.
                throw failure(
                    .wrongDevice, "a bare chip that waits for firmware", "none",
                    "see 'berek devices' for what is attached and why it can not be used")
            }
            guard chips.count == 1 else {
                throw failure(
                    .wrongDevice, "one bare chip", "\(chips.count), at the ports \(list)",
                    "name one with --device")
            }
            return only
        }
        guard let chip = chips.first(where: { $0.usb.id.path == port }) else {
            let other = found.first { $0.usb?.id.path == port }
            let there = other.map { $0.profile ?? "\($0.vendor) \($0.model)" }
            throw failure(
                .wrongDevice, "a bare chip at port \(port)",
                there.map { "\($0), which is none" } ?? "nothing there",
                chips.isEmpty ? "see 'berek devices'" : "bare chips are at \(list)")
        }
        return chip
    }

    private func model(
        _ wanted: String?, among candidates: [String]
    ) throws(DriverError) -> DeviceProfile {
        func isLoadable(_ profile: DeviceProfile) -> Bool {
            (try? FX2Loader(profile: profile, reactor: ports.reactor)) != nil
        }
        if let wanted {
            guard let profile = catalog[wanted] else {
                throw failure(
                    .outOfRange, "a known profile", "'\(wanted)'", "list them with 'berek profiles'"
                )
            }
            guard candidates.contains(wanted) else {
                throw failure(
                    .wrongDevice, "one of \(candidates.joined(separator: ", "))", wanted,
                    "this chip does not become that model")
            }
            return profile
        }
        let loadable = candidates.compactMap { catalog[$0] }.filter(isLoadable)
        guard loadable.count == 1 else {
            let names = loadable.map(\.id).joined(separator: ", ")
            throw failure(
                loadable.isEmpty ? .notSupported : .wrongDevice, "one model that it may become",
                loadable.isEmpty ? "none whose loading is described" : names,
                "say with --profile which one the image is for")
        }
        return loadable[0]
    }

    private func failure(
        _ code: DriverErrorCode, _ expected: String, _ found: String, _ advice: String
    ) -> DriverError {
        DriverError(
            code: code, instrument: "bare chip", operation: Self.operation, expected: expected,
            found: found, advice: advice)
    }
}
