import DeviceProfiles
import FirmwareProfiles
import Quantities
import Testing

/// The five profiles that are compiled in.
struct ShippedProfileTests {
    @Test func allLoad() throws {
        let catalog = try FirmwareProfiles.catalog()
        #expect(
            catalog.profiles.map(\.id) == [
                "cqt-timestamp-usb", "s15-spd", "s15-tdc1", "thorlabs-mpc320", "ttl-gated-spad",
            ])
    }
}
