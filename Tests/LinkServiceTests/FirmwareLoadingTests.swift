import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import LinkService
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// Loading an operator's image into the bare chips of a bench.
struct FirmwareLoadingTests {
    private static let bench = """
        schema: 1
        name: cold
        devices:
          - {name: first, profile: umass-timetag-fpga, cold: true, port: 1-4}
          - {name: TDC1-0001, profile: s15-tdc1, port: 1-2}

        """

    /// What an emulated chip takes for the firmware of the tagger: a jump to itself, and the device
    /// descriptor at the place where the published build has it.
    static func image() -> String {
        func line(_ address: Int, _ data: [UInt8]) -> String {
            let body = [UInt8(data.count), UInt8(address >> 8), UInt8(address & 255), 0] + data
            return ":" + hex(body + [0 &- body.reduce(0, &+)]).uppercased()
        }
        return [
            line(0, [0x02, 0x00, 0x00]),
            line(
                0x3E00, [18, 1, 0, 2, 255, 255, 255, 64, 0xB4, 4, 4, 0x10, 1, 0, 0, 0, 0, 1]),
            ":00000001FF", "",
        ].joined(separator: "\n")
    }

    private func load(
        _ image: String = image(), bench: String = bench, port: String? = nil,
        profile: String? = nil
    ) throws -> FirmwareLoading.Outcome {
        let catalog = try FirmwareProfiles.catalog()
        let file = try BenchFile(text: bench, file: "b.yaml", catalog: catalog)
        let reactor = VirtualReactor()
        return try reactor.run {
            let link = try EmulatedLink(
                file: file, plan: LinkPlan(), catalog: catalog, reactor: reactor)
            let loading = try FirmwareLoading(
                intelHex: image, file: "own.ihx", ports: link.ports, catalog: catalog)
            return try await loading.load(port: port, profile: profile)
        }
    }

    @Test func theOneBareChipIsLoaded() throws {
        let outcome = try load()
        #expect(outcome.device.profile == "umass-timetag-fpga")
        #expect(outcome.device.availability == .ready && outcome.device.isEmulated)
        #expect(outcome.byteCount == 21 && outcome.duration >= .milliseconds(1500))
        #expect(outcome.chip.hasPrefix("usb:1-4"))
        #expect(try load(port: "1-4", profile: "umass-timetag-fpga").device.profile != nil)
    }

    @Test func whatCanNotBeLoadedSaysWhy() throws {
        func failure(
            bench: String = Self.bench, port: String? = nil, profile: String? = nil
        ) -> DriverError? {
            #expect(throws: DriverError.self) {
                _ = try load(bench: bench, port: port, profile: profile)
            }
        }
        let warm = Self.bench.replacing(", cold: true", with: "")
        #expect(failure(bench: warm)?.expected == "a bare chip that waits for firmware")
        let other = failure(port: "1-2")
        #expect(other?.code == .wrongDevice && other?.found == "s15-tdc1, which is none")
        #expect(other?.advice == "bare chips are at 1-4")
        #expect(failure(port: "1-9")?.found == "nothing there")
        let two = Self.bench + "  - {name: second, profile: umass-timetag-fpga, cold: true}\n"
        let several = failure(bench: two)
        #expect(several?.found.hasPrefix("2, at the ports 1-") == true, "\(several?.found ?? "")")
        #expect(several?.advice == "name one with --device")
        #expect(try load(bench: two, port: "1-4").device.profile == "umass-timetag-fpga")
        #expect(failure(profile: "s15-tdc1")?.code == .wrongDevice)
        #expect(failure(profile: "nothing")?.code == .outOfRange)
        // The profile does not say how long such a card takes to come back.
        #expect(failure(profile: "cqt-timestamp-usb")?.code == .notSupported)
    }

    @Test func aBadImageIsRefusedBeforeAnythingIsSent() throws {
        let damaged = Self.image().replacing(":03", with: ":04")
        let error = #expect(throws: FirmwareImageError.self) { _ = try load(damaged) }
        #expect(error?.line == 1 && error?.file == "own.ihx")
    }
}
