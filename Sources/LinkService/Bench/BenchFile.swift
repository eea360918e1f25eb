import DeviceProfiles
import HostIO
import OpticalBench
import Quantities
import Yams

/// One instrument of a bench file.
public struct BenchDevice: Hashable, Sendable {
    /// The serial number it shows, or its name where it shows none; unique on the bench.
    public var name: String
    /// The identifier of its profile.
    public var profile: String
    /// What it is wired to.
    public var terminal = BenchTerminal.standIn
    /// The USB port it is plugged into; nil gives it the next free one.
    public var port: String?
    /// The speed of its USB connection, where its bridge allows both.
    public var speed = USBSpeed.high
    /// The GPIO lines it is wired to, by role.
    public var lines: [String: GPIOLineID] = [:]
    /// The lines that its digital pins are wired to, by number.
    public var pins: [Int: GPIOLineID] = [:]
    /// The addresses of the units on its line, in the order the light passes them; empty for one unit.
    public var addresses: [UInt8] = []
    /// Whether it is a bare chip that waits for its firmware.
    public var isCold = false
    /// An instrument.
    public init(name: String, profile: String) {
        self.name = name
        self.profile = profile
    }
}

/// A bench as its YAML file describes it: instruments, wiring, physics and planned faults.
///
/// `docs/bench.md` describes the keys. Reading is strict: an unknown key, a profile that nobody
/// knows, a line used twice or a value out of range is an error with line and column.
public struct BenchFile: Hashable, Sendable {
    /// The name of the file in messages.
    public let file: String
    /// The name of the bench.
    public var name = ""
    /// Decides everything random.
    public var seed: UInt64 = 1
    /// What the fibre is exposed to.
    public private(set) var drift = DriftPreset.buried
    /// The optics. Slot period and mean photon numbers come from the plan of the link instead.
    public var optics = LinkBenchConfiguration.metropolitan
    /// The instruments, in the order they are plugged in.
    public var devices: [BenchDevice] = []
    /// What goes wrong, and when, counted from the start of the bench.
    public var faults: [PlannedBenchFault] = []

    /// Exposes the fibre to other surroundings; its loss and delay stay.
    public mutating func expose(to drift: DriftPreset) {
        self.drift = drift
        optics.fibre.diffusionInRadiansPerRootSecond =
            drift.fibre.diffusionInRadiansPerRootSecond
        optics.fibre.windInRadiansPerSecond = drift.fibre.windInRadiansPerSecond
    }

    /// The shipped bench that the demonstration runs on.
    ///
    /// - Throws: `ConfigurationError` when `catalog` lacks one of its profiles.
    public static func bb84(catalog: ProfileCatalog) throws(ConfigurationError) -> BenchFile {
        let file = EmbeddedFiles.files.first { $0.name == "bb84.yaml" }
        return try BenchFile(text: file?.text ?? "", file: "bb84.yaml", catalog: catalog)
    }

    /// Reads a bench file whose instruments are described in `catalog`.
    ///
    /// - Throws: `ConfigurationError` with the place of the first mistake.
    public init(
        text: String, file: String, catalog: ProfileCatalog
    ) throws(ConfigurationError) {
        self.file = file
        let reader = StrictYAML(file: file)
        let root = try reader.document(text)
        let fields = try reader.fields(
            root, ["schema", "name", "seed", "physics", "devices", "faults"],
            "a mapping that describes a bench")
        let schema = try reader.required(fields, "schema", of: root)
        guard schema.string == "1" else { throw reader.error(schema, "1", reader.text(schema)) }
        name = try reader.string(
            try reader.required(fields, "name", of: root), "a name of 1 to 64 characters"
        ) { (1...64).contains($0.count) }
        if let node = fields["seed"] {
            seed = try reader.integer(node, 0...UInt64(Int64.max))
        }
        if let node = fields["physics"] {
            drift = try BenchPhysics(reader).read(node, into: &optics)
        }
        let list = try reader.required(fields, "devices", of: root)
        for node in try reader.sequence(list, 1...64, of: "devices") {
            devices.append(try device(node, reader, catalog))
        }
        if let node = fields["faults"] {
            for item in try reader.sequence(node, 0...1000, of: "faults") {
                faults.append(try fault(item, reader))
            }
        }
    }

    // MARK: - Devices

    private func device(
        _ node: Node, _ reader: StrictYAML, _ catalog: ProfileCatalog
    ) throws(ConfigurationError) -> BenchDevice {
        let fields = try reader.fields(
            node,
            [
                "name", "profile", "wired_to", "port", "speed", "chip", "lines", "pins",
                "addresses", "cold",
            ],
            "a mapping that describes a device")
        let nameNode = try reader.required(fields, "name", of: node)
        let name = try reader.string(
            nameNode, "a name of 1 to 64 letters, digits, dots, dashes and underlines",
            Self.isName)
        guard !devices.contains(where: { $0.name == name }) else {
            throw reader.error(nameNode, "a name that no other device has", "'\(name)' again")
        }
        let profileNode = try reader.required(fields, "profile", of: node)
        let id = try reader.string(profileNode, "the identifier of a profile") { !$0.isEmpty }
        guard let profile = catalog[id] else {
            throw reader.error(
                profileNode,
                "a known profile (list them with 'berek profiles')", "'\(id)'")
        }
        var device = BenchDevice(name: name, profile: id)
        if let node = fields["wired_to"] {
            device.terminal = try terminal(node, profile, reader)
        }
        if let node = fields["port"] {
            device.port = try reader.string(
                node, "a USB port such as 1-3 that no other device has"
            ) { port in
                port.wholeMatch(of: /[1-9][0-9]?-[1-9][0-9]?(\.[1-9][0-9]?)*/) != nil
                    && !devices.contains { $0.port == port }
            }
        }
        if let node = fields["speed"] {
            let word = try reader.string(node, "high or full") { ["high", "full"].contains($0) }
            device.speed = word == "full" ? .full : .high
        }
        try readWires(fields, of: node, into: &device, profile, reader)
        if let node = fields["addresses"] {
            device.addresses = try Self.addresses(node, device, profile, reader)
        }
        if let node = fields["cold"] {
            device.isCold = try reader.flag(node)
            guard !device.isCold || !(profile.coldBoot?.memory.isEmpty ?? true) else {
                throw reader.error(
                    node, "false: \(profile.id) is not a model that is loaded at first",
                    reader.text(node))
            }
        }
        return device
    }

    static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && !text.hasPrefix(".")
            && text.wholeMatch(of: /[A-Za-z0-9._-]+/) != nil
    }

    private func terminal(
        _ node: Node, _ profile: DeviceProfile, _ reader: StrictYAML
    ) throws(ConfigurationError) -> BenchTerminal {
        let terminal = try reader.word(node, BenchTerminal.self)
        if let kind = terminal.kind, kind != profile.identity.kind {
            throw reader.error(
                node, "a terminal for a \(profile.identity.kind.rawValue)",
                "\(terminal.rawValue), which is for a \(kind.rawValue)")
        }
        if terminal != .standIn,
            let other = devices.first(where: { $0.terminal == terminal })
        {
            throw reader.error(
                node, "a terminal that is free", "\(terminal.rawValue), which \(other.name) has")
        }
        return terminal
    }

    // MARK: - Faults

    private func fault(
        _ node: Node, _ reader: StrictYAML
    ) throws(ConfigurationError) -> PlannedBenchFault {
        let fields = try reader.fields(
            node, ["after_s"] + BenchFaultFields.names, "a mapping that describes a fault")
        let after = try reader.number(
            try reader.required(fields, "after_s", of: node), 0...1e6)
        do throws(BenchFaultFields.Refusal) {
            let fault = try BenchFaultFields { fields[$0]?.string }.fault()
            if let name = fault.device, !devices.contains(where: { $0.name == name }) {
                throw BenchFaultFields.Refusal(
                    name: "device", expected: "a device of this file", found: "'\(name)'")
            }
            return PlannedBenchFault(after: .seconds(after), fault: fault)
        } catch {
            throw reader.error(fields[error.name] ?? node, error.expected, error.found)
        }
    }
}
