import Calibration
import FirmwareProfiles
import LinkService
import Testing

/// The calibration of an emulated bench as a whole.
struct CalibrationRunTests {
    private func digests(seed: UInt64) throws -> [String] {
        let catalog = try FirmwareProfiles.catalog()
        var bench = try BenchFile.bb84(catalog: catalog)
        bench.seed = seed
        return try CalibrationRun(bench: bench, catalog: catalog, through: .gate) { _ in }.run()
            .map(recordDigest)
    }

    @Test func theSeedDecidesEverything() throws {
        let first = try digests(seed: 11)
        #expect(first.count == 3)
        #expect(try digests(seed: 11) == first)
        for (one, other) in zip(first, try digests(seed: 12)) { #expect(one != other) }
    }
}
