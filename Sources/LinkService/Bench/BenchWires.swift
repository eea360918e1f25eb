import DeviceProfiles
import HostIO
import Yams

// The wires of an instrument of a bench file: GPIO lines by role, digital pins by number, and the
// addresses on a line that several units share.

extension BenchFile {
    /// Reads `chip` with `lines` or `pins`.
    func readWires(
        _ fields: [String: Node], of node: Node, into device: inout BenchDevice,
        _ profile: DeviceProfile, _ reader: StrictYAML
    ) throws(ConfigurationError) {
        let isOnLines = profile.identity.transport == .gpio && device.terminal != .standIn
        let hasPins = profile.identity.kind == .digitalIO || profile.identity.kind == .analogIO
        if let stray = fields["lines"], !isOnLines {
            throw reader.error(
                stray,
                "no lines: only an instrument on GPIO lines that is wired to the bench has them",
                "lines of \(device.name)")
        }
        if let stray = fields["pins"], !hasPins {
            throw reader.error(
                stray, "no pins: only an instrument with digital inputs and outputs has them",
                "pins of \(device.name)")
        }
        guard isOnLines || fields["pins"] != nil else {
            guard let stray = fields["chip"] else { return }
            throw reader.error(stray, "a chip with lines or pins on it", "it alone")
        }
        let chip = try reader.string(
            try reader.required(fields, "chip", of: node), "the name of a GPIO chip", Self.isName)
        if isOnLines {
            let table = try reader.required(fields, "lines", of: node)
            device.lines = try lines(table, chip, profile, reader)
        } else if let table = fields["pins"] {
            device.pins = try pins(table, chip, profile, reader)
        }
    }

    /// The wires of an instrument on GPIO lines.
    private func lines(
        _ table: Node, _ chip: String, _ profile: DeviceProfile, _ reader: StrictYAML
    ) throws(ConfigurationError) -> [String: GPIOLineID] {
        let roles = profile.lines.map(\.role)
        let offsets = try reader.fields(table, roles, "a mapping of line numbers by role")
        var lines: [String: GPIOLineID] = [:]
        let taken = devices.flatMap { other in other.lines.values.map { (other.name, $0) } }
        for role in roles {
            guard let node = offsets[role] else { continue }
            let line = GPIOLineID(chip: chip, offset: UInt32(try reader.integer(node, 0...63)))
            let holder = lines.first { $0.value == line }?.key
            if let holder = holder ?? taken.first(where: { $0.1 == line })?.0 {
                throw reader.error(
                    node, "a line that is free", "\(chip) line \(line.offset), which \(holder) has")
            }
            lines[role] = line
        }
        guard !lines.isEmpty else { throw reader.error(table, "at least one line", "none") }
        return lines
    }

    /// The digital pins that `profile` has.
    private static func pinCount(_ profile: DeviceProfile) -> Int {
        // FIO, EIO and CIO of a LabJack; the profile of an adapter names its lines.
        profile.identity.kind == .analogIO ? 20 : profile.lines.count
    }

    /// What the digital pins of an instrument are wired to: free lines, or lines of another instrument,
    /// which is what such pins are for. Two pins on one line would drive against each other.
    private func pins(
        _ table: Node, _ chip: String, _ profile: DeviceProfile, _ reader: StrictYAML
    ) throws(ConfigurationError) -> [Int: GPIOLineID] {
        let names = (0..<Self.pinCount(profile)).map(String.init)
        var pins: [Int: GPIOLineID] = [:]
        let taken = devices.flatMap { other in other.pins.values.map { (other.name, $0) } }
        for (name, node) in try reader.fields(table, names, "a mapping of line numbers by pin")
            .sorted(by: { (Int($0.key) ?? 0) < (Int($1.key) ?? 0) })
        {
            guard let pin = Int(name) else { continue }
            let line = GPIOLineID(chip: chip, offset: UInt32(try reader.integer(node, 0...63)))
            let own = pins.first { $0.value == line }.map { "pin \($0.key)" }
            if let holder = own ?? taken.first(where: { $0.1 == line })?.0 {
                throw reader.error(
                    node, "a line without another pin",
                    "\(chip) line \(line.offset), which \(holder) has")
            }
            pins[pin] = line
        }
        guard !pins.isEmpty else { throw reader.error(table, "at least one pin", "none") }
        return pins
    }

    /// The addresses of the units on a line that can have several.
    static func addresses(
        _ node: Node, _ device: BenchDevice, _ profile: DeviceProfile, _ reader: StrictYAML
    ) throws(ConfigurationError) -> [UInt8] {
        guard profile.dialect?.style == .elliptecText else {
            throw reader.error(
                node, "no addresses: \(profile.id) does not share its line",
                "addresses of \(device.name)")
        }
        var addresses: [UInt8] = []
        for item in try reader.sequence(node, 1...16, of: "addresses") {
            let address = UInt8(try reader.integer(item, 0...15))
            guard !addresses.contains(address) else {
                throw reader.error(item, "each address once", "\(address) again")
            }
            addresses.append(address)
        }
        return addresses
    }
}
