import ArgumentParser
import Calibration
import EventPipeline
import HostIO
import LinkService

struct Calibrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Calibrates the emulated bench and prints the record of each procedure.",
        discussion: """
            Procedures build on each other, so those before the last one named run too. A failed \
            procedure leaves the previous settings in force. Exit code 1 when one fails.
            """)

    typealias Step = CalibrationSequence<InMemoryCalibrationRecordStore>.Step

    @Argument(help: "The last procedure to run: clock, delays, gate or polarization.")
    var through: Step = .polarization
    @OptionGroup var bench: BenchOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let catalog = try bench.profiles.catalog()
        let records = try CalibrationRun(
            bench: try bench.bench(catalog), catalog: catalog, certified: bench.certified,
            through: through, progress: Progress().show
        ).run()
        print(json ? JSONText.array(records.map(\.json)).text : CalibrationRun.text(of: records))
    }
}

extension CalibrationSequence.Step: ExpressibleByArgument {}
