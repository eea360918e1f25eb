/// What the host knows about a USB device before it talks to it.
public struct USBSummary: Hashable, Sendable {
    /// `idVendor`.
    public var vendorID: UInt16
    /// `idProduct`.
    public var productID: UInt16
    /// `bcdDevice`.
    public var deviceRelease: UInt16
    /// The manufacturer string; nil when it could not be read, for lack of permission say.
    public var manufacturer: String?
    /// The product string; nil when it could not be read.
    public var product: String?
    /// The serial number string; nil when it could not be read.
    public var serial: String?

    /// Describes a device.
    public init(
        vendorID: UInt16, productID: UInt16, deviceRelease: UInt16, manufacturer: String? = nil,
        product: String? = nil, serial: String? = nil
    ) {
        self.vendorID = vendorID
        self.productID = productID
        self.deviceRelease = deviceRelease
        self.manufacturer = manufacturer
        self.product = product
        self.serial = serial
    }
}

/// A profile that may describe a device.
public struct ProfileMatch: Sendable {
    /// The profile.
    public let profile: DeviceProfile
    /// Properties the profile is recognised by that could not be read; empty for a certain match.
    public let unread: [USBMatchField]
    /// Whether everything the profile is recognised by was read and fits.
    public var isCertain: Bool { unread.isEmpty }
}

/// All profiles a program knows, free of duplicates and in a fixed order.
public struct ProfileCatalog: Sendable {
    /// One file to read.
    public typealias File = (name: String, text: String)

    /// The profiles ordered by `id`.
    public let profiles: [DeviceProfile]

    /// A catalogue of profiles that were read before.
    ///
    /// - Throws: `ProfileErrors` when two profiles have one `id`, or can both describe one device.
    public init(_ profiles: [DeviceProfile]) throws(ProfileErrors) {
        self.profiles = profiles.sorted { ($0.id, $0.source.file) < ($1.id, $1.source.file) }
        let errors = Self.duplicates(self.profiles)
        if !errors.isEmpty { throw ProfileErrors(errors) }
    }

    /// Reads the compiled-in files and those of the user's directories.
    ///
    /// - Parameters:
    ///   - builtIn: name and text of each compiled-in file.
    ///   - external: name and text of each further file; the caller reads the directories.
    /// - Throws: `ProfileErrors` with the errors of all files.
    public init(builtIn: [File], external: [File] = []) throws(ProfileErrors) {
        var profiles: [DeviceProfile] = []
        var errors: [ProfileError] = []
        let files =
            builtIn.map { ($0, ProfileOrigin.builtIn) }
            + external.map { ($0, ProfileOrigin.external) }
        for (file, origin) in files {
            do throws(ProfileErrors) {
                profiles.append(
                    try DeviceProfile(text: file.text, file: file.name, origin: origin))
            } catch {
                errors += error.errors
            }
        }
        if !errors.isEmpty { throw ProfileErrors(errors) }
        try self.init(profiles)
    }

    /// A file from the bytes a directory gave.
    ///
    /// - Throws: `ProfileErrors` when the bytes are not UTF-8.
    public static func file(name: String, bytes: [UInt8]) throws(ProfileErrors) -> File {
        (name, try DeviceProfile.text(of: bytes, file: name))
    }

    /// A catalogue with more profiles.
    ///
    /// - Throws: `ProfileErrors` for errors in the files and for duplicates.
    public func adding(_ external: [File]) throws(ProfileErrors) -> ProfileCatalog {
        let added = try ProfileCatalog(builtIn: [], external: external)
        return try ProfileCatalog(profiles + added.profiles)
    }

    /// The profile with this `id`, or nil.
    public subscript(id: String) -> DeviceProfile? { profiles.first { $0.id == id } }

    /// The profiles that may describe a USB device: certain ones first, then by `id`.
    public func matches(for device: USBSummary) -> [ProfileMatch] {
        let found = profiles.compactMap { profile in
            profile.usb.flatMap { $0.isGeneric ? nil : $0.unreadFields(for: device) }.map {
                ProfileMatch(profile: profile, unread: $0)
            }
        }
        return found.filter(\.isCertain) + found.filter { !$0.isCertain }
    }

    /// The profiles of instruments that are built from such a device, by `id`. The device itself may
    /// as well be anything else.
    public func possibilities(for device: USBSummary) -> [DeviceProfile] {
        profiles.filter {
            guard let usb = $0.usb, usb.isGeneric else { return false }
            return usb.unreadFields(for: device)?.isEmpty ?? false
        }
    }

    /// The profiles of the same model for other firmware, among which an instrument that tells its
    /// version only after it was opened decides; by `id`, without `profile` itself.
    public func siblings(of profile: DeviceProfile) -> [DeviceProfile] {
        profiles.filter { $0.id != profile.id && $0.isSameModel(as: profile) }
    }

    /// The profiles of one kind of instrument, by `id`.
    public func profiles(of kind: DeviceKind) -> [DeviceProfile] {
        profiles.filter { $0.identity.kind == kind }
    }
}

extension USBIdentity {
    /// The properties that could not be compared, or nil when one of them does not fit.
    ///
    /// Without any readable property that fits there is no match at all, so that a device without
    /// strings does not match every profile that is recognised by strings.
    func unreadFields(for device: USBSummary) -> [USBMatchField]? {
        var unread: [USBMatchField] = []
        for field in match {
            let fits: Bool? =
                switch field {
                case .vendorID: vendorID == device.vendorID
                case .productID: productID == device.productID
                case .deviceRelease: deviceRelease?.contains(device.deviceRelease) ?? false
                case .manufacturer: fit(manufacturer, device.manufacturer)
                case .product: fit(product, device.product)
                case .serial: fit(serial, device.serial)
                }
            guard let fits else {
                unread.append(field)
                continue
            }
            if !fits { return nil }
        }
        return unread.count < match.count ? unread : nil
    }

    private func fit(_ pattern: TextPattern?, _ text: String?) -> Bool? {
        guard let pattern, let text else { return nil }
        return pattern.matches(text)
    }

    /// Whether some device could fit both.
    ///
    /// Two different patterns may overlap in ways this does not see; such a device gets two
    /// certain matches, which the caller must treat as an error.
    func canCoincide(with other: USBIdentity) -> Bool {
        for field in match where other.match.contains(field) {
            let apart: Bool =
                switch field {
                case .vendorID: vendorID != other.vendorID
                case .productID: productID != other.productID
                case .deviceRelease: !overlap(deviceRelease, other.deviceRelease)
                case .manufacturer: manufacturer != other.manufacturer
                case .product: product != other.product
                case .serial: serial != other.serial
                }
            if apart { return false }
        }
        // Profiles recognised by disjoint properties are told apart by nothing at all, but that is
        // no duplicate: one is found by its numbers, the other by its strings.
        return match.contains { other.match.contains($0) }
    }

    private func overlap(_ left: ClosedRange<UInt16>?, _ right: ClosedRange<UInt16>?) -> Bool {
        guard let left, let right else { return false }
        return left.overlaps(right)
    }
}

extension DeviceProfile {
    /// What an emulated device of this model shows on USB.
    ///
    /// Real values come first; `emulation` fills in what is unknown or differs from unit to unit.
    /// Throws `MissingProfileField` when the device is not on USB or neither states its numbers.
    public func emulatedUSB() throws(MissingProfileField) -> USBSummary {
        let usb = try requireUSB()
        guard let vendorID = usb.vendorID ?? emulation?.vendorID else {
            throw MissingProfileField(profile: id, path: "emulation.vendor_id")
        }
        guard let productID = usb.productID ?? emulation?.productID else {
            throw MissingProfileField(profile: id, path: "emulation.product_id")
        }
        guard let release = emulation?.deviceRelease ?? usb.deviceRelease?.lowerBound else {
            throw MissingProfileField(profile: id, path: "emulation.device_release")
        }
        return USBSummary(
            vendorID: vendorID, productID: productID, deviceRelease: release,
            manufacturer: emulation?.manufacturer ?? usb.manufacturer?.literal,
            product: emulation?.product ?? usb.product?.literal,
            serial: emulation?.serial ?? usb.serial?.literal)
    }
}

extension DeviceProfile {
    /// Whether both describe one model whose firmware is told by a banner.
    fileprivate func isSameModel(as other: DeviceProfile) -> Bool {
        firmware.grammar == .banner && other.firmware.grammar == .banner
            && identity.vendor == other.identity.vendor
            && identity.model == other.identity.model && identity.kind == other.identity.kind
    }
}

extension ProfileCatalog {
    private static func duplicates(_ profiles: [DeviceProfile]) -> [ProfileError] {
        var errors: [ProfileError] = []
        for (index, profile) in profiles.enumerated() {
            for earlier in profiles[..<index] {
                if earlier.id == profile.id {
                    errors.append(
                        profile.clash(
                            with: earlier, at: "identity.id", expected: "an id of its own",
                            found: "\"\(profile.id)\""))
                } else if let mine = profile.usb, let theirs = earlier.usb,
                    mine.canCoincide(with: theirs), profile.firmware.overlaps(earlier.firmware)
                {
                    errors.append(
                        profile.clash(
                            with: earlier, at: "usb.match",
                            expected: "devices or firmware no other profile covers",
                            found: "those of \"\(earlier.id)\""))
                } else if profile.isSameModel(as: earlier),
                    profile.firmware.overlaps(earlier.firmware)
                {
                    errors.append(
                        profile.clash(
                            with: earlier, at: "firmware.grammar",
                            expected: "firmware no other profile of this model covers",
                            found: "versions of \"\(earlier.id)\""))
                }
            }
        }
        return errors
    }
}

extension DeviceProfile {
    fileprivate func clash(
        with earlier: DeviceProfile, at path: String, expected: String, found: String
    ) -> ProfileError {
        let mark = marks[path] ?? ProfileScreen.Position(line: 1, column: 1)
        return ProfileError(
            file: source.file, line: mark.line, column: mark.column, path: path,
            expected: expected, found: "\(found), used in \(earlier.source.file)")
    }
}
