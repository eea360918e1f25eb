import DeviceProfiles
import FirmwareProfiles
import Testing

/// Many profiles together: duplicates, order, lookup, confidence.
struct ProfileCatalogTests {
    private static func failure(_ external: [ProfileCatalog.File]) -> [String] {
        do throws(ProfileErrors) {
            _ = try FirmwareProfiles.catalog(adding: external)
            return []
        } catch {
            return error.errors.map(\.description)
        }
    }

    @Test func externalProfilesAreAdded() throws {
        let catalog = try FirmwareProfiles.catalog(adding: [("/etc/tt2.yaml", ExampleProfile.text)])
        #expect(catalog.profiles.map(\.id).first == "acme-tt2")
        #expect(catalog["acme-tt2"]?.source.origin == .external)
        #expect(catalog["acme-tt2"]?.source.file == "/etc/tt2.yaml")
        #expect(catalog["s15-tdc1"]?.source.origin == .builtIn)
        #expect(
            catalog.profiles(of: .timeTagger).map(\.id) == [
                "acme-tt2", "cqt-timestamp-usb", "s15-tdc1", "tapr-ticc-2017", "tapr-ticc-2020",
                "tapr-ticc-2025", "umass-timetag-fpga",
            ])
    }

    @Test func filesOfADirectoryMustBeUTF8() throws {
        let file = try ProfileCatalog.file(name: "a.yaml", bytes: Array(ExampleProfile.text.utf8))
        #expect(file.text == ExampleProfile.text)
        #expect(throws: ProfileErrors.self) {
            try ProfileCatalog.file(name: "a.yaml", bytes: [0x61, 0xff])
        }
    }

    @Test func errorsOfAllFilesAreCollected() {
        let wrong = ExampleProfile.replacing("kind: time_tagger", "kind: clock")
        let found = Self.failure([("b.yaml", wrong), ("a.yaml", "schema: 1"), ("c.yaml", wrong)])
        #expect(
            found.map { $0.prefix(6) } == Array(repeating: "a.yaml", count: 5) + [
                "b.yaml", "c.yaml",
            ])
    }

    @Test func duplicateIdentityIsRefused() {
        #expect(
            Self.failure([("a.yaml", ExampleProfile.text), ("b.yaml", ExampleProfile.text)]) == [
                "b.yaml:3:7: identity.id: expected an id of its own, "
                    + "found \"acme-tt2\", used in a.yaml"
            ])
    }

    @Test func duplicateMatchIsRefused() {
        let other = ExampleProfile.replacing("id: acme-tt2", "id: acme-tt3")
        #expect(
            Self.failure([("a.yaml", ExampleProfile.text), ("b.yaml", other)]) == [
                "b.yaml:17:10: usb.match: expected devices or firmware no other profile covers, "
                    + "found those of \"acme-tt2\", used in a.yaml"
            ])
        let nextFirmware = other.replacing(
            "from: \"1.0\", through: \"2.0\"", with: "from: \"2.0.1\"")
        #expect(Self.failure([("a.yaml", ExampleProfile.text), ("b.yaml", nextFirmware)]).isEmpty)
        let nextRelease = other.replacing(
            "{min: 0x0100, max: 0x0200}", with: "{min: 0x0201, max: 0x0300}")
        #expect(Self.failure([("a.yaml", ExampleProfile.text), ("b.yaml", nextRelease)]).isEmpty)
    }

    /// Firmware told by a banner: ranges of one model must not overlap, whatever the port shows.
    @Test func siblingsMustNotOverlap() throws {
        let file = try #require(
            FirmwareProfiles.files.first { $0.name == "tapr-ticc-2020.yaml" }?.text)
        let other = file.replacing("id: tapr-ticc-2020", with: "id: other-ticc")
        let overlapping = Self.failure([("b.yaml", other)])
        #expect(overlapping.count == 1)
        #expect(overlapping.first?.contains("expected devices or firmware no other") == true)
        let elsewhere = other.replacing("vendor_id: 0x2341", with: "vendor_id: 0x2a03")
        #expect(
            Self.failure([("b.yaml", elsewhere)]).first?.contains(
                "firmware.grammar: expected firmware no other profile of this model covers")
                == true)
        let later = elsewhere.replacing("\"20200412.1\"", with: "\"20200413.1\"")
        #expect(Self.failure([("b.yaml", later)]).isEmpty)
    }

    @Test func aGeneralBoardIsNotRecognised() throws {
        let catalog = try FirmwareProfiles.catalog()
        let mega = USBSummary(vendorID: 0x2341, productID: 0x0042, deviceRelease: 1)
        #expect(catalog.matches(for: mega).isEmpty)
        let possible = catalog.possibilities(for: mega).map(\.id)
        #expect(possible == ["tapr-ticc-2017", "tapr-ticc-2020", "tapr-ticc-2025"])
        let uno = USBSummary(vendorID: 0x2341, productID: 0x0043, deviceRelease: 1)
        #expect(catalog.possibilities(for: uno).isEmpty)
        let declared = try #require(catalog["tapr-ticc-2020"])
        #expect(
            catalog.siblings(of: declared).map(\.id) == ["tapr-ticc-2017", "tapr-ticc-2025"])
        #expect(catalog.siblings(of: try #require(catalog["s15-tdc1"])).isEmpty)
    }

    @Test func orderDoesNotDependOnFileOrder() throws {
        let forward = try ProfileCatalog(builtIn: FirmwareProfiles.files)
        let backward = try ProfileCatalog(builtIn: FirmwareProfiles.files.reversed())
        #expect(forward.profiles.map(\.id) == backward.profiles.map(\.id))
    }

    @Test func devicesAreFoundByWhatTheyShow() throws {
        let catalog = try FirmwareProfiles.catalog()
        func find(_ device: USBSummary) -> [String] {
            catalog.matches(for: device).map {
                "\($0.profile.id) \($0.unread.map(\.rawValue).joined(separator: "+"))"
            }
        }
        // The card needs no strings: at full speed it has none.
        #expect(
            find(USBSummary(vendorID: 0x04b4, productID: 0x1234, deviceRelease: 0x0201))
                == ["cqt-timestamp-usb "])
        #expect(find(USBSummary(vendorID: 0x04b4, productID: 0x1234, deviceRelease: 0x0202)) == [])
        // Any Thorlabs controller has these numbers: without its serial it may be an MPC320.
        var thorlabs = USBSummary(vendorID: 0x0403, productID: 0xfaf0, deviceRelease: 0x1000)
        #expect(find(thorlabs) == ["thorlabs-mpc320 serial"])
        thorlabs.serial = "38449564"
        #expect(find(thorlabs) == ["thorlabs-mpc320 "])
        thorlabs.serial = "55123456"
        #expect(find(thorlabs) == [])
        // Strings alone, whatever the numbers.
        var tagger = USBSummary(
            vendorID: 0xabcd, productID: 1, deviceRelease: 1, manufacturer: "S-Fifteen Instruments",
            product: "USB Counter", serial: "TDC1-0019")
        #expect(find(tagger) == ["s15-tdc1 "])
        tagger.serial = nil
        #expect(find(tagger) == ["s15-spd serial", "s15-tdc1 serial"])
        tagger.manufacturer = nil
        tagger.product = nil
        #expect(find(tagger) == [], "nothing readable is no match")
    }

    @Test func emulatedDevicesMatchTheirOwnProfileOnly() throws {
        let catalog = try FirmwareProfiles.catalog()
        for profile in catalog.profiles where profile.usb != nil {
            let matches = catalog.matches(for: try profile.emulatedUSB())
            // A general board is nobody's until its operator says whose.
            let isGeneric = profile.usb?.isGeneric ?? false
            #expect(matches.map(\.profile.id) == (isGeneric ? [] : [profile.id]))
            #expect(matches.allSatisfy { $0.isCertain })
        }
        #expect(throws: MissingProfileField(profile: "ttl-gated-spad", path: "usb")) {
            _ = try catalog["ttl-gated-spad"]?.emulatedUSB()
        }
    }

    @Test func confidenceFollowsTheLongestPath() throws {
        let text = ExampleProfile.text + "\n    topology: memory\n    topology.channels.1: seen\n"
        let profile = try DeviceProfile(text: text, file: "x.yaml")
        #expect(profile.confidence(of: "usb.vendor_id") == .seen)
        #expect(profile.confidence(of: "topology.channels.0.label") == .memory)
        #expect(profile.confidence(of: "topology.channels.1.label") == .seen)
        #expect(profile.confidence(of: "topology.channels.1.dead_time_ps") == .assumed)
        #expect(profile.confidence(of: "quirks.odd.value") == .assumed)
        #expect(
            profile.assumedFields == [
                "topology.channels.1.dead_time_ps", "quirks.odd.value",
            ])
    }

    @Test func certifiedModeRefusesGuesses() throws {
        let profile = try DeviceProfile(text: ExampleProfile.text, file: "x.yaml")
        #expect {
            try profile.certified()
        } throws: {
            "\($0)" == "profile acme-tt2 cannot be used in certified mode: 2 assumed field(s): "
                + "topology.channels.1.dead_time_ps, quirks.odd.value"
        }
        try profile.certified(excluding: ["topology", "quirks"])
        #expect(throws: UncertifiedProfile.self) {
            try profile.certified(excluding: ["topo", "quirks"])
        }

        let catalog = try FirmwareProfiles.catalog()
        try catalog["cqt-timestamp-usb"]?.certified()
        try catalog["thorlabs-mpc320"]?.certified(excluding: ["emulation"])
        for id in ["s15-tdc1", "s15-spd", "ttl-gated-spad"] {
            let profile = try #require(catalog[id])
            #expect(throws: UncertifiedProfile.self) { try profile.certified() }
        }
    }

    @Test func missingFactsAreNamed() throws {
        let profile = try DeviceProfile(text: ExampleProfile.text, file: "x.yaml")
        #expect(try profile.command("set").opcode == 2)
        #expect(throws: MissingProfileField(profile: "acme-tt2", path: "dialect.commands.reset")) {
            try profile.command("reset")
        }
        #expect(throws: MissingProfileField(profile: "acme-tt2", path: "limits.bias")) {
            try profile.limit("bias")
        }
        #expect(profile.hasQuirk("odd") && !profile.hasQuirk("even"))
    }
}
