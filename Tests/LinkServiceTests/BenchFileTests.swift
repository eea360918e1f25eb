import DeviceProfiles
import Emulated
import FirmwareProfiles
import Foundation
import HostIO
import Instruments
import LinkService
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The YAML file of a bench: what it says is built, and every mistake is refused with its place.
struct BenchFileTests {
    private let catalog = Result { try FirmwareProfiles.catalog() }

    private static let valid = """
        schema: 1
        name: small
        seed: 5
        physics:
          fibre: {drift: aerial, loss_db: 12.5}
          receiver: {cable_delays_ps: [1, 2, 3, 4]}
          detectors:
            D: {dark_rate_hz: 7}
            all: {dark_rate_hz: 99, dead_time_ps: 50000}
        devices:
          - {name: T-1, profile: s15-tdc1, wired_to: receiver_inputs, port: 1-4}
          - {name: loose, profile: s15-spd}
          - name: gated
            profile: ttl-gated-spad
            wired_to: detector_d
            chip: chip7
            lines: {gate_enable: 3, fault: 0}
        faults:
          - {after_s: 1.5, device: loose, kind: reboot}
          - {after_s: 2, optics: blinding, detector: D, duration_s: 0.5}

        """

    /// The valid file without the instrument whose wiring is too short to work.
    private static let working = valid.replacing(
        """
          - name: gated
            profile: ttl-gated-spad
            wired_to: detector_d
            chip: chip7
            lines: {gate_enable: 3, fault: 0}

        """, with: "")

    private func read(_ text: String) throws -> BenchFile {
        try BenchFile(text: text, file: "b.yaml", catalog: try catalog.get())
    }

    @Test func aValidFileIsRead() throws {
        let bench = try read(Self.valid)
        #expect(bench.name == "small" && bench.seed == 5 && bench.drift == .aerial)
        var expected = LinkBenchConfiguration.metropolitan
        expected.fibre = .aerial
        expected.fibre.loss = Decibels(12.5)
        expected.receiver.cableDelays = [1, 2, 3, 4].map { Picoseconds($0) }
        for index in 0..<4 {
            expected.detectors[index].darkRate = Hertz(99)
            expected.detectors[index].deadTime = Picoseconds(50_000)
        }
        // 'all' goes first, wherever it stands.
        expected.detectors[2].darkRate = Hertz(7)
        #expect(bench.optics == expected)
        #expect(bench.devices.map(\.name) == ["T-1", "loose", "gated"])
        #expect(bench.devices.map(\.terminal) == [.receiverInputs, .standIn, .detectorD])
        #expect(bench.devices[0].port == "1-4")
        #expect(
            bench.devices[2].lines == [
                "gate_enable": GPIOLineID(chip: "chip7", offset: 3),
                "fault": GPIOLineID(chip: "chip7", offset: 0),
            ])
        #expect(
            bench.faults.map(\.fault) == [
                .device("loose", EmulatedFault(.reboot)),
                .optics(.blinding(detector: 2), duration: .milliseconds(500)),
            ])
        #expect(bench.faults.map(\.after) == [.milliseconds(1500), .seconds(2)])
    }

    /// Each case replaces a piece of the valid file; place and words of the error are known.
    @Test(arguments: [
        ("schema: 1", "schema: 2", "b.yaml:1:9: expected 1, found '2'"),
        ("name: small\n", "", "b.yaml:1:1: expected the key 'name', found no such key"),
        (
            "seed: 5", "sead: 5",
            "b.yaml:3:1: expected one of schema, name, seed, physics, devices, faults, found 'sead'"
        ),
        (
            "loss_db: 12.5", "loss_db: -1",
            "b.yaml:5:35: expected a number from 0.0 to 200.0, found '-1'"
        ),
        ("aerial", "storm", "b.yaml:5:18: expected one of buried, aerial, found 'storm'"),
        (
            "[1, 2, 3, 4]", "[1, 2, 3]",
            "b.yaml:6:31: expected a list of 4 delays, for H, V, D and A, found 3"
        ),
        ("    D: {", "    E: {", "b.yaml:8:5: expected one of all, H, V, D, A, found 'E'"),
        (
            "dead_time_ps: 50000", "path_delay_ps: 1",
            "b.yaml:5:3: expected detectors[0].pathDelay: at least 8 pulse widths, found 1 ps"
        ),
        (
            "profile: s15-spd", "profile: s15-spt",
            "b.yaml:12:28: expected a known profile (list them with 'berek profiles'), "
                + "found 's15-spt'"
        ),
        (
            "name: loose", "name: T-1",
            "b.yaml:12:12: expected a name that no other device has, found 'T-1' again"
        ),
        (
            "name: loose", "name: ../x",
            "b.yaml:12:12: expected a name of 1 to 64 letters, digits, dots, dashes and "
                + "underlines, found '../x'"
        ),
        (
            "receiver_inputs", "detector_h",
            "b.yaml:11:46: expected a terminal for a time_tagger, found detector_h, which is for "
                + "a single_photon_detector"
        ),
        (
            "profile: s15-spd", "profile: s15-spd, wired_to: detector_q",
            "b.yaml:12:47: expected one of stand_in, receiver_inputs, source_inputs, "
                + "receiver_plates, detector_h, detector_v, detector_d, detector_a, found "
                + "'detector_q'"
        ),
        (
            "port: 1-4", "port: usb3",
            "b.yaml:11:69: expected a USB port such as 1-3 that no other device has, found 'usb3'"
        ),
        (
            "fault: 0", "fault: 3",
            "b.yaml:17:36: expected a line that is free, found chip7 line 3, which gate_enable has"
        ),
        (
            "gate_enable: 3", "gate: 3",
            "b.yaml:17:13: expected one of gate_enable, bias_enable, fault, over_light, "
                + "interlock, cooler_ready, cooler_fault, shutter_command, shutter_closed, "
                + "shutter_open, pps, found 'gate'"
        ),
        (
            "    chip: chip7\n", "", "b.yaml:13:5: expected the key 'chip', found no such key"
        ),
        (
            "kind: reboot", "kind: explode",
            "b.yaml:19:41: expected one of stall, nak_timeout, short_packet, byte_slip, "
                + "word_slip, checksum_error, disconnect, reboot, overflow, stuck_bit, "
                + "clock_loss, clock_step, wrong_firmware, ignored_command, stuck_motion, "
                + "oscillating_motion, stuck_line, lost_edges, over_light, found 'explode'"
        ),
        (
            "device: loose", "device: lose",
            "b.yaml:19:28: expected a device of this file, found 'lose'"
        ),
        (
            ", detector: D", "",
            "b.yaml:20:5: expected one of H, V, D, A, found none"
        ),
        (
            "after_s: 2", "after_s: x",
            "b.yaml:20:15: expected a number from 0.0 to 1000000.0, found 'x'"
        ),
    ])
    func aMistakeIsRefusedWithItsPlace(piece: String, with other: String, message: String) throws {
        let parts = Self.valid.split(
            separator: piece, maxSplits: 1, omittingEmptySubsequences: false)
        try #require(parts.count == 2)
        let error = #expect(throws: ConfigurationError.self) {
            _ = try read(parts[0] + other + parts[1])
        }
        #expect(error?.description == message)
    }

    private static let wires = """
        schema: 1
        name: wires
        devices:
          - {name: mounts, profile: thorlabs-ell14, addresses: [2, 3, 8]}
          - {name: fpga, profile: umass-timetag-fpga, cold: true}
          - name: gated
            profile: ttl-gated-spad
            wired_to: detector_d
            chip: chip7
            lines: {gate_enable: 3, fault: 0}
          - {name: bridge, profile: silabs-cp2112, chip: chip7, pins: {0: 3, 7: 5}}
          - {name: "320012345", profile: labjack-u3, chip: chip7, pins: {16: 0, 4: 6}}

        """

    @Test func wiresAddressesAndColdChipsAreRead() throws {
        let devices = try read(Self.wires).devices
        #expect(devices[0].addresses == [2, 3, 8] && !devices[0].isCold)
        #expect(devices[1].isCold && devices[1].addresses.isEmpty)
        func line(_ offset: UInt32) -> GPIOLineID { GPIOLineID(chip: "chip7", offset: offset) }
        // The line of a role is no taken line for a pin.
        #expect(devices[3].pins == [0: line(3), 7: line(5)] && devices[3].lines.isEmpty)
        #expect(devices[4].pins == [16: line(0), 4: line(6)])
    }

    @Test(arguments: [
        (
            "[2, 3, 8]", "[2, 3, 2]", "b.yaml:4:63: expected each address once, found 2 again"
        ),
        ("[2, 3, 8]", "[16]", "b.yaml:4:57: expected an integer from 0 to 15, found '16'"),
        ("[2, 3, 8]", "[]", "b.yaml:4:56: expected a list of 1 to 16 addresses, found 0"),
        (
            "profile: umass-timetag-fpga, cold: true",
            "profile: oz-epc-400, addresses: [1]",
            "b.yaml:5:50: expected no addresses: oz-epc-400 does not share its line, found "
                + "addresses of fpga"
        ),
        (
            "profile: umass-timetag-fpga, cold: true", "profile: s15-tdc1, cold: true",
            "b.yaml:5:43: expected false: s15-tdc1 is not a model that is loaded at first, "
                + "found 'true'"
        ),
        ("cold: true", "cold: very", "b.yaml:5:53: expected true or false, found 'very'"),
        (
            "profile: umass-timetag-fpga, cold: true", "profile: s15-tdc1, pins: {0: 1}",
            "b.yaml:5:43: expected no pins: only an instrument with digital inputs and outputs "
                + "has them, found pins of fpga"
        ),
        (
            "cold: true", "chip: chip7",
            "b.yaml:5:53: expected a chip with lines or pins on it, found it alone"
        ),
        (
            "chip: chip7, pins: {0: 3, 7: 5}", "pins: {0: 3}",
            "b.yaml:11:5: expected the key 'chip', found no such key"
        ),
        (
            "{0: 3, 7: 5}", "{0: 3, 8: 5}",
            "b.yaml:11:70: expected one of 0, 1, 2, 3, 4, 5, 6, 7, found '8'"
        ),
        (
            "{0: 3, 7: 5}", "{0: 3, 7: 3}",
            "b.yaml:11:73: expected a line without another pin, found chip7 line 3, which pin 0 has"
        ),
        (
            "{16: 0, 4: 6}", "{16: 0, 4: 5}",
            "b.yaml:12:76: expected a line without another pin, found chip7 line 5, which bridge has"
        ),
        ("{16: 0, 4: 6}", "{}", "b.yaml:12:65: expected at least one pin, found none"),
    ])
    func aWrongWireIsRefusedWithItsPlace(piece: String, with other: String, message: String) throws
    {
        let parts = Self.wires.split(
            separator: piece, maxSplits: 1, omittingEmptySubsequences: false)
        try #require(parts.count == 2)
        let error = #expect(throws: ConfigurationError.self) {
            _ = try read(parts[0] + other + parts[1])
        }
        #expect(error?.description == message)
    }

    /// Pins switch and read the lines of the bench; several units answer on one line.
    @Test func wiresAndAddressesWork() throws {
        // A gated detector needs more lines than this one has.
        let bench = try read(
            Self.wires.replacing(
                "profile: ttl-gated-spad\n    wired_to: detector_d\n    chip: chip7\n"
                    + "    lines: {gate_enable: 3, fault: 0}",
                with: "profile: s15-spd"))
        let catalog = try catalog.get()
        let reactor = VirtualReactor()
        try reactor.run {
            let link = try EmulatedLink(
                file: bench, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            let found = try await link.discover()
            func open(_ profile: String) async throws -> OpenableInstrument {
                let device = try #require(found.first { $0.profile == profile }, "\(profile)")
                let made = try link.registry.make(
                    device, catalog: catalog, ports: link.ports, wiring: link.wiring)
                try await made.instrument.open()
                return made
            }
            guard case .digitalIO(let bridge) = try await open("silabs-cp2112"),
                case .polarizationController(let mounts) = try await open("thorlabs-ell14")
            else {
                Issue.record("other kinds")
                return
            }
            #expect(await mounts.axes.count == 3)
            let chip = try #require(try await bridge.lines.chips().first?.name)
            let output = try await bridge.lines.output(
                GPIOLineID(chip: chip, offset: 7), safeLevel: false,
                options: GPIOLineOptions(consumer: "test"))
            let wire = GPIOLineID(chip: "chip7", offset: 5)
            for level in [true, false, true] {
                try await output.set(level)
                #expect(link.devices.gpio.electricalLevel(wire) == level)
            }
            #expect(
                found.first { $0.address.description.contains("usb") && $0.profile == nil }?
                    .availability.name == "awaiting_firmware")
        }
    }

    /// The bench with an instrument of every shipped profile: all are found, known and ready.
    @Test func theLabHasEveryProfileReady() throws {
        let catalog = try catalog.get()
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(
            contentsOf: root.appending(path: "benches/lab.yaml"), encoding: .utf8)
        let bench = try BenchFile(text: text, file: "lab.yaml", catalog: catalog)
        #expect(Set(bench.devices.map(\.profile)) == Set(catalog.profiles.map(\.id)))
        let reactor = VirtualReactor()
        let found = try reactor.run {
            let link = try EmulatedLink(
                file: bench, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            return try await link.discover()
        }
        let refused = found.filter { $0.availability != .ready }
        #expect(refused.isEmpty, "\(refused.map { "\($0.address) \($0.availability)" })")
        #expect(found.map { $0.profile ?? "" }.sorted() == bench.devices.map(\.profile).sorted())
    }

    @Test func whatTheParserSaysHasAPlace() throws {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try read("schema: 1\nname: [a\nseed: 1\n")
        }
        #expect(error?.line == 3, "\(String(describing: error))")
        let twice = #expect(throws: ConfigurationError.self) {
            _ = try read("schema: 1\nname: a\nname: b\n")
        }
        #expect(twice?.expected == "each key once")
    }

    /// A damaged file is read or refused with a place; nothing else.
    @Test(arguments: seeds(4)) func damagedFilesNeverCrash(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "damaged benches")
        let catalog = try catalog.get()
        var refused = 0
        for _ in 0..<100 {
            let text = String(
                decoding: mutated(Array(Self.valid.utf8), using: &generator), as: UTF8.self)
            do throws(ConfigurationError) {
                _ = try BenchFile(text: text, file: "b.yaml", catalog: catalog)
            } catch {
                refused += 1
                #expect(error.description.hasPrefix("b.yaml:"), "seed \(seed)")
            }
        }
        #expect(refused > 50, "seed \(seed)")
    }

    /// What the demonstration ran on before benches were files, number for number.
    @Test func theShippedBenchIsTheOneOfTheDemo() throws {
        let bench = try BenchFile.bb84(catalog: try catalog.get())
        #expect(bench.optics == .metropolitan && bench.seed == 1 && bench.drift == .buried)
        let reactor = VirtualReactor()
        let catalog = try catalog.get()
        let listing = try reactor.run {
            let link = try EmulatedLink(
                file: bench, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            return try await link.discover().map {
                "\($0.address) \($0.profile ?? "") \($0.serial)"
            }
        }
        #expect(
            listing == [
                "usb:1-1#1 cqt-timestamp-usb xx", "usb:1-2#2 s15-tdc1 TDC1-0019",
                "usb:1-3#3 thorlabs-mpc320 38000001", "usb:1-4#4 s15-spd SPD-0001",
                "usb:1-5#5 s15-spd SPD-0002", "gpio:detector-d ttl-gated-spad detector-d",
                "gpio:detector-a ttl-gated-spad detector-a",
            ])
    }

    @Test func plannedFaultsStrikeWhenTheyAreDue() throws {
        let text = Self.working.replacing(
            "device: loose, kind: reboot", with: "device: loose, kind: disconnect")
        let bench = try read(text)
        let catalog = try catalog.get()
        let reactor = VirtualReactor()
        try reactor.run {
            let link = try EmulatedLink(
                file: bench, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            func isThere() async throws -> Bool {
                try await link.discover().contains { $0.serial == "loose" }
            }
            try await reactor.sleep(for: .milliseconds(1499))
            #expect(try await isThere())
            try await reactor.sleep(for: .milliseconds(2))
            #expect(try await !isThere())
        }
    }

    @Test func aBenchWithoutAnInstrumentOfTheLinkSaysWhich() throws {
        let bench = try read(
            Self.working.replacing("name: T-1", with: "name: TDC1-0042"))
        let catalog = try catalog.get()
        let reactor = VirtualReactor()
        let message = try reactor.run {
            let link = try EmulatedLink(
                file: bench, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            do {
                _ = try await link.openReceiver(try await link.discover())
                return ""
            } catch { return "\(error)" }
        }
        #expect(message.contains("wired to receiver_plates in b.yaml"), "\(message)")
    }
}
