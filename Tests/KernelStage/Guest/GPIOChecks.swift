import CSystemShims
import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkService
import LinuxIO
import Quantities
import Registry

/// The gated detector driver on libgpiod and the kernel's GPIO chip.
struct GPIOChecks {
    let checklist: Checklist
    let catalog: ProfileCatalog
    let reactor: EpollReactor
    let benchReactor: EpollReactor

    private static let label = "gpio-emu"

    func run() async {
        let host = LinuxGPIOHost(reactor: reactor)
        var made: GPIOBench?
        await checklist.check("gpio chip") {
            let chips = try await host.chips().filter { $0.label == Self.label }
            guard let chip = chips.first, chips.count == 1 else {
                throw CheckFailure("expected one chip \(Self.label), found \(chips.count)")
            }
            try requireEqual(chip.lineNames.count, GPIOBench.lineCount, "lines")
            made = try GPIOBench(chip: chip.name, catalog: catalog, reactor: benchReactor)
            return "\(chip.name) with \(chip.lineNames.count) lines"
        }
        guard let bench = made else { return }
        await detectorChecks(bench, host)
        await EdgeChecks(
            checklist: checklist, bench: bench, host: host, reactor: reactor,
            benchReactor: benchReactor
        ).run()
        await checklist.check("gpio records") {
            try requireEqual(bench.missingRecords, 0, "records the kernel had no room for")
            return "none missing"
        }
    }

    private func detectorChecks(_ bench: GPIOBench, _ host: LinuxGPIOHost) async {
        let registry = BuiltInDrivers.registry()
        let ports = HostPorts(gpio: host, reactor: reactor)
        let wiring = BenchWiring(lines: bench.wirings)
        var opened: (any SinglePhotonDetector)?
        await checklist.check("gated detector: discovery, opening") {
            let found = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
            try requireEqual(found.map(\.serial), GPIOBench.detectorNames, "wired detectors")
            for device in found {
                try requireEqual(device.availability, .ready, device.serial)
            }
            let made = try registry.make(found[0], catalog: catalog, ports: ports, wiring: wiring)
            guard let detector = made.singlePhotonDetector else {
                throw CheckFailure("the driver is not one of a detector")
            }
            try await detector.open()
            try requireEqual(bench.detectors[0].isGateOpen, false, "gate after opening")
            opened = detector
            return found.map { "\($0.address)" }.joined(separator: ", ")
        }
        guard let detector = opened else { return }
        await checklist.check("gated detector: line in use") {
            guard let line = bench.wirings[0].lines[.gateEnable] else { return "" }
            let error = await failure(of: GPIOError.self) {
                _ = try await host.output(
                    line, safeLevel: false, options: GPIOLineOptions(consumer: "second"))
            }
            try requireEqual(error, .busy(line, consumer: "berek detector-d"), "second request")
            return "\(error?.code ?? "")"
        }
        await armingChecks(bench, detector)
        await checklist.check("gated detector: close and reopen") {
            await detector.close()
            try await detector.open()
            try await detector.arm()
            try requireEqual(bench.detectors[0].isGateOpen, true, "gate after arming again")
            await detector.close()
            try requireEqual(bench.detectors[0].isGateOpen, false, "gate after closing")
            return "gate closed"
        }
    }

    private func armingChecks(_ bench: GPIOBench, _ detector: any SinglePhotonDetector) async {
        await checklist.check("gated detector: arm") {
            try await detector.arm()
            // The record of the last line may still be on its way to the bench.
            try await reactor.sleep(for: .milliseconds(1))
            try requireEqual(bench.detectors[0].isGateOpen, true, "gate")
            try requireEqual(bench.detectors[1].isGateOpen, false, "gate of the other detector")
            try requireEqual(
                try await detector.status(), DetectorStatus(isCounting: true), "status")
            return "bias, shutter with end switches, gate"
        }
        await checklist.check("gated detector: too much light") {
            guard let gating = await detector.gating else { throw CheckFailure("no gating") }
            let struck = reactor.now
            bench.bench.schedule([
                PlannedFault(
                    time: struck, device: "detector-d",
                    fault: EmulatedFault(.overLight, duration: .milliseconds(20)))
            ])
            let event = try await gating.nextSafetyEvent()
            try requireEqual(event.cause, .overLight, "cause")
            try await reactor.sleep(for: .milliseconds(1))
            try requireEqual(bench.detectors[0].isGateOpen, false, "gate")
            return "gate closed; edge seen after \((event.time - struck).wholeNanoseconds) ns"
        }
        await checklist.check("gated detector: interlock") {
            try await reactor.sleep(for: .milliseconds(50))
            bench.bench.gatedDetector("detector-d")?.setInterlockClosed(false)
            let error = await failure(of: DriverError.self) { try await detector.arm() }
            try requireEqual(error?.code, .interlock, "arming with the interlock open")
            try requireEqual(bench.detectors[0].isGateOpen, false, "gate")
            bench.bench.gatedDetector("detector-d")?.setInterlockClosed(true)
            try await reactor.sleep(for: .milliseconds(10))
            try await detector.arm()
            return "\(error?.code.rawValue ?? "")"
        }
    }
}
