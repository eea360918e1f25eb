import HostIO
import Instruments
import Quantities

/// Reads the heading of a session.
struct SessionHeading {
    private let lines: [String]
    private var number = 1
    private var usb: USBDeviceSummary?
    private var assignment: LineAssignment = [:]
    private var addresses: [UInt8]?
    private var values: [String: String] = [:]

    init(lines: [String]) { self.lines = lines }

    mutating func read() throws(SessionTextError) -> Session {
        guard lines.first == "session 1" else { throw mistake("'session 1'", lines.first ?? "") }
        for line in lines.dropFirst() {
            number += 1
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { throw mistake("NAME: VALUE", line) }
            try take(String(parts[0]), String(parts[1].drop { $0 == " " }))
        }
        let isEmulated = try value("emulated")
        guard ["yes", "no"].contains(isEmulated) else { throw mistake("yes or no", isEmulated) }
        let bias = values["bias_V"].map { Double($0) }
        if case .some(nil) = bias { throw mistake("a voltage", values["bias_V"] ?? "") }
        return Session(
            profile: try value("profile"), source: try value("recorded from"),
            isEmulated: isEmulated == "yes", serial: try value("serial"),
            firmware: try value("firmware"), bias: bias.flatMap { $0 }.map { Volts($0) },
            route: try route(isEmulated: isEmulated == "yes"), events: [])
    }

    private func route(isEmulated: Bool) throws(SessionTextError) -> Session.Route {
        if var usb {
            usb.isEmulated = isEmulated
            return .usb(usb)
        }
        if let addresses { return .port(addresses: addresses) }
        guard !assignment.isEmpty else { throw mistake("usb, port or line", "none of these") }
        return .lines(assignment)
    }

    private mutating func take(_ name: String, _ text: String) throws(SessionTextError) {
        let words = text.split(separator: " ").map(String.init)
        switch name {
        case "profile", "recorded from", "emulated", "serial", "firmware", "bias_V":
            guard values.updateValue(text, forKey: name) == nil else {
                throw mistake("each line once", "\(name) again")
            }
        case "port":
            addresses = []
            for word in words {
                guard let address = UInt8(word) else { throw mistake("an address", word) }
                addresses?.append(address)
            }
        case "line":
            guard words.count == 2, let role = LineRole(rawValue: words[0]),
                let line = Self.line(words[1])
            else { throw mistake("ROLE CHIP:OFFSET", text) }
            assignment[role] = line
        case "usb": usb = try device(words)
        case "usb manufacturer": usb?.manufacturer = text
        case "usb product": usb?.product = text
        case "usb serial": usb?.serial = text
        case "usb interface":
            let interface = try interface(words)
            usb?.interfaces.append(interface)
        default: throw mistake("a name of the heading", name)
        }
    }

    private func device(_ words: [String]) throws(SessionTextError) -> USBDeviceSummary {
        let numbers = words.first?.split(separator: ":").map { UInt16($0, radix: 16) } ?? []
        guard words.count == 7, words[1] == "release", words[3] == "class", words[5] == "speed",
            numbers.count == 2, let vendor = numbers[0], let product = numbers[1],
            let release = UInt16(words[2], radix: 16), let triple = Self.triple(words[4]),
            let speed = USBSpeed(rawValue: words[6])
        else { throw mistake("VVVV:PPPP release RRRR class C.S.P speed SPEED", words.joined()) }
        return USBDeviceSummary(
            id: USBDeviceID(path: "1-1", address: 1), vendorID: vendor, productID: product,
            bcdDevice: release, classTriple: triple, speed: speed, manufacturer: nil,
            product: nil, serial: nil, interfaces: [], access: .available, isEmulated: false)
    }

    private func interface(_ words: [String]) throws(SessionTextError) -> USBInterface {
        guard words.count >= 3, let number = UInt8(words[0]), let alternate = UInt8(words[1]),
            let triple = Self.triple(words[2])
        else { throw mistake("NUMBER ALTERNATE C.S.P ENDPOINTS", words.joined(separator: " ")) }
        var endpoints: [USBEndpoint] = []
        for word in words.dropFirst(3) {
            let parts = word.split(separator: ":")
            guard parts.count == 3, let address = UInt8(parts[0], radix: 16),
                let kind = UInt8(parts[1]).flatMap(USBEndpointKind.init(rawValue:)),
                let size = Int(parts[2])
            else { throw mistake("ADDRESS:KIND:SIZE", word) }
            endpoints.append(USBEndpoint(address: address, kind: kind, maxPacketSize: size))
        }
        return USBInterface(
            number: number, alternate: alternate, classTriple: triple, endpoints: endpoints)
    }

    private static func triple(_ text: String) -> [UInt8]? {
        let numbers = text.split(separator: ".").compactMap { UInt8($0) }
        return numbers.count == 3 ? numbers : nil
    }

    /// A line from `CHIP:OFFSET`.
    static func line(_ text: some StringProtocol) -> GPIOLineID? {
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let offset = UInt32(text[text.index(after: colon)...])
        else { return nil }
        return GPIOLineID(chip: String(text[..<colon]), offset: offset)
    }

    private func value(_ name: String) throws(SessionTextError) -> String {
        guard let value = values[name] else { throw mistake("the line '\(name)'", "none") }
        return value
    }

    private func mistake(_ expected: String, _ found: String) -> SessionTextError {
        SessionTextError(line: number, expected: expected, found: "'\(found)'")
    }
}
