import DeviceProfiles
import FirmwareProfiles
import Foundation
import LinkService
import Testing

/// The udev rules are grammatical, and say what the profiles say.
struct UdevRulesTests {
    private func lines(_ catalog: ProfileCatalog) -> [String] {
        UdevRules(catalog).text.split(separator: "\n").map(String.init)
    }

    /// One token of a rule by udev(7): key, optional attribute, operator, value in quotes.
    private struct Token {
        var key: String
        var operation: String
        var value: String
    }

    private func tokens(of rule: String) throws -> [Token] {
        let grammar = /([A-Z_]+(?:\{[A-Za-z_]+\})?)(==|!=|\+=|:=|=)"([^"\\]*)"/
        return try rule.split(separator: ", ").map { part in
            let match = try #require(
                part.wholeMatch(of: grammar), "not a token of a rule: \(part)")
            return Token(
                key: String(match.1), operation: String(match.2), value: String(match.3))
        }
    }

    @Test func everyLineIsGrammatical() throws {
        let lines = lines(try FirmwareProfiles.catalog())
        let comparing = [
            "ACTION", "SUBSYSTEM", "KERNEL", "ENV{DEVTYPE}", "ENV{DRIVER}", "ATTR{idVendor}",
            "ATTR{idProduct}", "ATTR{manufacturer}", "ATTR{product}", "ATTR{serial}",
            "ATTRS{idVendor}", "ATTRS{idProduct}", "ATTRS{manufacturer}", "ATTRS{product}",
            "ATTRS{serial}",
        ]
        let assigning: [String: [String]] = [
            "GOTO": ["="], "LABEL": ["="], "MODE": ["="], "GROUP": ["="], "TAG": ["+="],
            "ENV{ID_MM_DEVICE_IGNORE}": ["="], "RUN": ["+="],
        ]
        var labels: Set<String> = []
        var targets: Set<String> = []
        var rules = 0
        for line in lines where !line.hasPrefix("#") {
            var assigns = false
            for token in try tokens(of: line) {
                if token.key == "LABEL" { labels.insert(token.value) }
                if token.key == "GOTO" { targets.insert(token.value) }
                if comparing.contains(token.key) {
                    #expect(["==", "!="].contains(token.operation), "\(line)")
                    #expect(!token.value.isEmpty)
                    #expect(!assigns, "comparisons come before assignments: \(line)")
                } else {
                    #expect(assigning[token.key]?.contains(token.operation) == true, "\(line)")
                    assigns = true
                }
            }
            #expect(assigns, "a rule that does nothing: \(line)")
            rules += 1
        }
        #expect(labels == targets)
        #expect(rules > 5)
    }

    /// Every profile on USB is named; it has a rule for its numbers, or says why not.
    @Test func everyProfileOnUSBHasARuleOrAReason() throws {
        let catalog = try FirmwareProfiles.catalog()
        let lines = lines(catalog)
        func hex(_ value: UInt16) -> String { String(format: "%04x", value) }
        for profile in catalog.profiles {
            let start = lines.firstIndex { $0.hasPrefix("# \(profile.id): ") }
            guard let usb = profile.usb else {
                #expect(start == nil, "\(profile.id) is not on USB")
                continue
            }
            let section = lines[try #require(start, "\(profile.id)")...].dropFirst()
                .prefix { !$0.hasPrefix("# ") || $0.hasPrefix("#   ") }
            if let vendor = usb.vendorID, let product = usb.productID {
                let rule = try #require(section.first)
                #expect(rule.contains("ATTR{idVendor}==\"\(hex(vendor))\""))
                #expect(rule.contains("ATTR{idProduct}==\"\(hex(product))\""))
                #expect(rule.contains("TAG+=\"uaccess\"") && rule.contains("GROUP=\"plugdev\""))
                // Whatever has a serial port must be left alone by ModemManager, port and device.
                let quiet = section.count { $0.contains("ID_MM_DEVICE_IGNORE") }
                #expect(quiet == (profile.serialPort == nil ? 0 : 2), "\(profile.id): \(section)")
            } else {
                #expect(section.map { $0.hasPrefix("#   no rule: ") } == [true], "\(profile.id)")
            }
            if let cold = profile.coldBoot {
                let numbers =
                    "ATTRS{idVendor}==\"\(hex(cold.vendorID))\", "
                    + "ATTRS{idProduct}==\"\(hex(cold.productID))\""
                #expect(lines.count { $0.contains("usbtest/unbind") && $0.contains(numbers) } == 1)
            }
        }
    }

    @Test func theRuleOfAControllerMatchesItsSerialNumbers() throws {
        let rules = lines(try FirmwareProfiles.catalog()).filter { $0.contains("\"faf0\"") }
        let expected = """
            SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="0403", \
            ATTR{idProduct}=="faf0", ATTR{serial}=="38[0-9][0-9][0-9][0-9][0-9][0-9]", \
            MODE="0660", GROUP="plugdev", TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"
            """
        #expect(rules.first == expected)
        #expect(rules.count == 2 && rules[1].hasPrefix("SUBSYSTEM==\"tty\", ATTRS{idVendor}"))
    }

    @Test(arguments: [
        ("38######", "38[0-9][0-9][0-9][0-9][0-9][0-9]"), ("*TDC?", "*TDC?"),
        ("a\\*b\\?c\\#d", "a[*]b[?]c#d"), ("[x]|\"", "[[]x]??"),
    ])
    func patternsBecomeShellPatterns(pattern: String, shell: String) throws {
        #expect(try #require(TextPattern(pattern)).shellPattern == shell)
    }
}
