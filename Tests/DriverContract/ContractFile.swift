import DeviceProfiles
import HostIO
import Instruments
import Quantities
import Registry

/// What is wrong in a file that names real instruments.
package struct ContractFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The line, counted from 1.
    package var line: Int
    /// What was expected there.
    package var expected: String
    /// What was found.
    package var found: String
    /// A sentence for people.
    package var description: String { "line \(line): expected \(expected), found \(found)" }
}

/// An instrument that is there, by whatever route: hardware, a device of the kernel, a
/// pseudo-terminal.
package struct PresentInstrument: Hashable, Sendable, CustomStringConvertible {
    /// Where it is.
    package enum Place: Hashable, Sendable {
        /// On USB or a kernel's serial port that shows this serial number.
        case serial(String)
        /// At a USB port, for models that show no serial number.
        case usbPort(String)
        /// On the serial line of a device node.
        case path(String)
        /// On the serial line of an adapter with this serial number.
        case adapter(String)
        /// On GPIO lines.
        case lines(LineAssignment)
    }

    /// The identifier of its profile.
    package var profile: String
    /// Where it is.
    package var place: Place
    /// The addresses on a line that several units share.
    package var addresses: [UInt8] = []
    /// The bias that a detector may be armed with.
    package var bias: Volts?
    /// The time between two pulses at the first input of a time tagger, if nothing else arrives.
    package var pulsePeriod: Picoseconds?

    /// Profile and place.
    package var description: String { "\(profile) at \(name)" }

    /// What it is called in messages and in its session.
    package var name: String {
        switch place {
        case .serial(let text), .usbPort(let text), .path(let text), .adapter(let text): text
        case .lines: profile
        }
    }
}

/// A list of instruments to hold to the contract: `drivers/README.md` describes the file.
package struct ContractFile: Hashable, Sendable {
    /// The instruments, in the order of the file.
    package var instruments: [PresentInstrument] = []

    /// Reads a file: an instrument a line, a profile and then `key=value`; `#` begins a comment.
    ///
    /// - Throws: `ContractFileError` with the line of the first mistake.
    package init(text: String, catalog: ProfileCatalog) throws(ContractFileError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace)
            guard !words.isEmpty else { continue }
            var reader = LineReader(words: words.map(String.init), line: index + 1)
            instruments.append(try reader.instrument(catalog))
        }
        guard !instruments.isEmpty else {
            throw ContractFileError(line: 1, expected: "an instrument", found: "none")
        }
    }
}

private struct LineReader {
    let words: [String]
    let line: Int
    private var values: [String: String] = [:]

    init(words: [String], line: Int) {
        self.words = words
        self.line = line
    }

    mutating func instrument(
        _ catalog: ProfileCatalog
    ) throws(ContractFileError) -> PresentInstrument {
        guard let profile = catalog[words[0]] else {
            throw mistake("the identifier of a profile", words[0])
        }
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw mistake("KEY=VALUE", word) }
            guard values.updateValue(parts[1], forKey: parts[0]) == nil else {
                throw mistake("each key once", "\(parts[0]) again")
            }
        }
        var instrument = PresentInstrument(profile: profile.id, place: try place())
        if let list = values.removeValue(forKey: "addresses") {
            for item in list.split(separator: ",") {
                guard let address = UInt8(item) else { throw mistake("an address", list) }
                instrument.addresses.append(address)
            }
        }
        instrument.bias = try number("bias_V").map { Volts($0) }
        instrument.pulsePeriod = try number("pulse_period_us").map {
            Picoseconds(Int64($0 * 1e6))
        }
        try requireHarmless(profile, instrument)
        guard let unknown = values.keys.sorted().first else { return instrument }
        throw mistake("a key of drivers/README.md", unknown)
    }

    /// An exercise swings outputs over most of their range: the operator says that it may.
    private mutating func requireHarmless(
        _ profile: DeviceProfile, _ instrument: PresentInstrument
    ) throws(ContractFileError) {
        let isIdle = values.removeValue(forKey: "idle")
        guard isIdle == nil || isIdle == "yes" else { throw mistake("idle=yes", isIdle ?? "") }
        switch profile.identity.kind {
        case .singlePhotonDetector where profile.identity.transport != .gpio:
            guard instrument.bias != nil else {
                throw mistake("bias_V, the voltage this detector may be armed with", "none")
            }
        case .singlePhotonDetector, .analogIO, .digitalIO, .temperatureController:
            guard isIdle != nil else {
                throw mistake(
                    "idle=yes, which says that its outputs may be switched over their range",
                    "none")
            }
        default: break
        }
    }

    private mutating func place() throws(ContractFileError) -> PresentInstrument.Place {
        var places: [PresentInstrument.Place] = []
        if let text = values.removeValue(forKey: "serial") { places.append(.serial(text)) }
        if let text = values.removeValue(forKey: "usb") { places.append(.usbPort(text)) }
        if let text = values.removeValue(forKey: "path") { places.append(.path(text)) }
        if let text = values.removeValue(forKey: "adapter") { places.append(.adapter(text)) }
        var assignment: LineAssignment = [:]
        for role in LineRole.allCases {
            guard let text = values.removeValue(forKey: role.rawValue) else { continue }
            guard let line = SessionHeading.line(text) else { throw mistake("CHIP:OFFSET", text) }
            assignment[role] = line
        }
        if !assignment.isEmpty { places.append(.lines(assignment)) }
        guard places.count == 1 else {
            throw mistake("one of serial, usb, path, adapter or lines", "\(places.count)")
        }
        return places[0]
    }

    private mutating func number(_ key: String) throws(ContractFileError) -> Double? {
        guard let text = values.removeValue(forKey: key) else { return nil }
        guard let value = Double(text), value > 0, value < 1e9 else {
            throw mistake("\(key)=NUMBER", text)
        }
        return value
    }

    private func mistake(_ expected: String, _ found: String) -> ContractFileError {
        ContractFileError(line: line, expected: expected, found: "'\(found)'")
    }
}

extension PresentInstrument {
    /// What an operator declares to reach it.
    package var wiring: BenchWiring {
        switch place {
        case .serial, .usbPort: BenchWiring()
        case .path(let path):
            BenchWiring(serial: [
                SerialWiring(
                    name: name, profile: profile, location: .path(path), addresses: addresses)
            ])
        case .adapter(let serial):
            BenchWiring(serial: [
                SerialWiring(
                    name: name, profile: profile, location: .adapter(serial: serial),
                    addresses: addresses)
            ])
        case .lines(let lines):
            BenchWiring(lines: [GPIOWiring(name: name, profile: profile, lines: lines)])
        }
    }

    /// Looks for it and makes its driver.
    ///
    /// - Throws: `ContractBenchError` when it is not there.
    package func make(through ports: HostPorts) async throws -> OpenableInstrument {
        let catalog = try shippedCatalog.get()
        let registry = BuiltInDrivers.registry()
        let found = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
        guard let device = found.first(where: { isThis($0) }) else {
            let others = found.map { "\($0.address)" }.joined(separator: ", ")
            throw ContractBenchError("\(self) is not there; found: \(others)")
        }
        return try registry.make(device, catalog: catalog, ports: ports, wiring: wiring)
    }

    private func isThis(_ device: DiscoveredDevice) -> Bool {
        switch place {
        case .serial(let serial): device.profile == profile && device.serial == serial
        case .usbPort(let path): device.profile == profile && device.usb?.id.path == path
        case .path, .adapter: device.address == .serialLine(name: name)
        case .lines: device.address == .wired(name: name)
        }
    }

    /// It as the contract sees it, through `ports`.
    package func subject(through ports: HostPorts) -> ContractSubject {
        ContractSubject(
            profile: profile, reactor: ports.reactor, pulsePeriod: pulsePeriod, bias: bias
        ) { try await make(through: ports) }
    }
}
