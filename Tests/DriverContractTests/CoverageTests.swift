import DeviceProfiles
import Emulated
import FirmwareProfiles
import Instruments
import Registry
import TestSupport
import Testing

/// No profile is shipped without a driver, nor without a model to test the driver with.
struct CoverageTests {
    @Test func everyProfileHasOneDriverFamilyAndOneModelFamily() throws {
        for profile in try FirmwareProfiles.catalog().profiles {
            let drivers = BuiltInDrivers.registry().factories.filter { $0.drives(profile) }
            #expect(drivers.count == 1, "\(profile.id): \(drivers.map(\.family))")
            let models = BuiltInModels.factories.filter { $0.models(profile) }
            #expect(models.count == 1, "\(profile.id)")
        }
    }
}
