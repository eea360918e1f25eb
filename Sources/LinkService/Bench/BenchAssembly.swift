import DeviceProfiles
import Emulated
import HostIO
import Instruments
import OpticalBench

/// Puts the instruments of a bench file on an emulated bench.
struct BenchAssembly {
    let file: BenchFile
    let catalog: ProfileCatalog
    let bench: EmulatedBench
    let optics: LinkBench

    /// Adds all instruments, in the order of the file.
    ///
    /// - Returns: the wiring that an operator would declare for them.
    /// - Throws: when a profile does not fit its connection, or a certified bench refuses one.
    func assemble(cable: (String) -> SerialCable) throws -> BenchWiring {
        addChips()
        var wiring = BenchWiring()
        for device in file.devices {
            guard let profile = catalog[device.profile] else {
                throw MissingProfileField(profile: device.profile, path: "the whole profile")
            }
            let connection = try device.terminal.connection(
                of: device, profile: profile, optics: optics, bench: bench)
            try bench.add(
                BenchEntry(
                    profile: profile, serial: device.name, connection: connection,
                    path: device.port, speed: device.speed, addresses: device.addresses,
                    startsCold: device.isCold, pins: device.pins, cable: cable(device.name)))
            declare(device, profile, connection, in: &wiring)
        }
        return wiring
    }

    /// The chips that the lines of the file are on, with a name for each line in use.
    private func addChips() {
        // Pins before lines: a line that both have is called after the instrument that it belongs to.
        let lines =
            file.devices.flatMap { device in
                device.pins.map { (line: $0.value, name: "\(device.name) pin \($0.key)") }
            }
            + file.devices.flatMap { device in
                device.lines.map { (line: $0.value, name: "\(device.name) \($0.key)") }
            }
        for chip in Set(lines.map(\.line.chip)).sorted() {
            let own = lines.filter { $0.line.chip == chip }
            let count = Int(own.map(\.line.offset).max() ?? 0) + 1
            var names = [String?](repeating: nil, count: count)
            for (line, name) in own { names[Int(line.offset)] = name }
            bench.gpio.addChip(chip, label: "emulated bench", lineNames: names)
        }
    }

    /// What can not be found by looking.
    private func declare(
        _ device: BenchDevice, _ profile: DeviceProfile, _ connection: BenchConnection,
        in wiring: inout BenchWiring
    ) {
        if case .gatedDetector(_, let lines, _) = connection {
            var assignment: LineAssignment = [:]
            for (role, line) in lines {
                if let role = Instruments.LineRole(rawValue: role) { assignment[role] = line }
            }
            wiring.lines.append(
                GPIOWiring(name: device.name, profile: profile.id, lines: assignment))
        }
        if profile.identity.transport == .serialLine || profile.usb?.isGeneric ?? false {
            wiring.serial.append(
                SerialWiring(
                    name: device.name, profile: profile.id,
                    location: .adapter(serial: device.name), addresses: device.addresses))
        }
    }
}
