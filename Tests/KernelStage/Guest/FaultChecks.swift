import DeviceProfiles
import Emulated
import Glibc
import HostIO
import Instruments
import LinkService
import LinkTypes
import LinuxIO
import Quantities

/// What goes wrong, as the kernel and libusb tell it.
struct FaultChecks {
    let usb: USBChecks
    private var bench: USBBench { usb.bench }
    private var reactor: EpollReactor { usb.reactor }

    /// Unplugging and plugging in again, in a row.
    private static let cycles = 20

    func run() async {
        let checklist = usb.checklist
        await checklist.check("unplugged while acquiring") { try await unpluggedCard() }
        await checklist.check("serial port unplugged") { try await unpluggedPort() }
        await checklist.check("stall") {
            try await endOfAcquisition(after: EmulatedFault(.stall))
        }
        await checklist.check("silence of the command endpoint") { try await silence() }
        await checklist.check("churn") { try await churn() }
        await checklist.check("kernel log") { try kernelLog() }
    }

    private func startCard() async throws -> (tagger: any TimeTagger, source: any TagBlockSource) {
        try await usb.wait("the time stamp card") { try await !cards().isEmpty }
        return try await usb.startCard()
    }

    private func cards() async throws -> [DiscoveredDevice] {
        try await usb.present().filter { $0.profile == "cqt-timestamp-usb" }
    }

    /// Reads until the acquisition ends; what it ended with, and the loss marks before it.
    private func drain(
        _ source: any TagBlockSource
    ) async throws -> (error: DriverError?, losses: [LossReason]) {
        var losses: [LossReason] = []
        do throws(DriverError) {
            while let block = try await source.next() { losses += block.losses.map(\.reason) }
            return (nil, losses)
        } catch { return (error, losses) }
    }

    private func unpluggedCard() async throws -> String {
        guard let host = usb.ports.usb else { throw CheckFailure("no USB") }
        let events = host.events()
        try await reactor.sleep(for: .milliseconds(1))
        let card = try await startCard()
        _ = try await usb.follow(card.source, count: 5000, period: USBBench.cardPeriod)
        let pulled = reactor.now
        bench.unplug(USBBench.card)
        let ending = try await drain(card.source)
        let noticed = reactor.now
        try requireEqual(ending.error?.code, .disconnected, "end of the acquisition")
        await usb.stop(card.tagger)
        var iterator = events.makeAsyncIterator()
        guard case .left(_, let left)? = await iterator.next() else {
            throw CheckFailure("expected the card to leave")
        }
        try bench.plugIn(USBBench.card)
        guard case .arrived(let summary, _)? = await iterator.next() else {
            throw CheckFailure("expected the card to come back")
        }
        try requireEqual(summary.vendorID, 0x04B4, "who came back")
        let again = try await startCard()
        let report = try await usb.follow(again.source, count: 5000, period: USBBench.cardPeriod)
        try await again.tagger.stop()
        await usb.stop(again.tagger)
        try requireEqual(report.firstFault, nil, "order of the tags after the return")
        return "\(ending.error?.code.rawValue ?? "") after \(Self.micros(noticed - pulled)), "
            + "left after \(Self.micros(left - pulled)), back and counting"
    }

    private func unpluggedPort() async throws -> String {
        let opened = try await usb.open("thorlabs-mpc320")
        guard let controller = opened.polarizationController else {
            throw CheckFailure("not a polarization controller")
        }
        let target = ActuatorSetting.angle(Radians(degrees: 10))
        bench.unplug(USBBench.controller, at: reactor.now + .milliseconds(100))
        let error = await failure(of: DriverError.self) {
            _ = try await controller.move(0, to: target)
        }
        try requireEqual(error?.code, .disconnected, "a move while the cable is pulled")
        await controller.close()
        try bench.plugIn(USBBench.controller)
        try await usb.wait("the paddle controller comes back") {
            try await usb.present().contains {
                $0.profile == "thorlabs-mpc320" && $0.availability == .ready
            }
        }
        return "\(error?.code.rawValue ?? ""), then "
            + (try await usb.paddles(on: usb.ports))
    }

    /// A fault that ends the acquisition with a named error or marks the loss; then it works again.
    private func endOfAcquisition(after fault: EmulatedFault) async throws -> String {
        let card = try await startCard()
        _ = try await usb.follow(card.source, count: 2000, period: USBBench.cardPeriod)
        bench.inject(fault, into: USBBench.card)
        var losses = 0
        var error: DriverError?
        do {
            let report = try await usb.follow(
                card.source, count: 20_000, period: USBBench.cardPeriod)
            losses = report.losses
            try require(
                report.firstFault == nil || losses > 0,
                "unmarked loss: \(report.firstFault ?? "")")
        } catch let found as DriverError { error = found }
        try require(error != nil || losses > 0, "the fault left no trace")
        await usb.stop(card.tagger)
        let again = try await startCard()
        let report = try await usb.follow(again.source, count: 2000, period: USBBench.cardPeriod)
        await usb.stop(again.tagger)
        try requireEqual(report.firstFault, nil, "order of the tags after opening again")
        return error.map { "\($0.code.rawValue): \($0.found)" } ?? "\(losses) losses marked"
    }

    private func silence() async throws -> String {
        let card = try await startCard()
        try await card.tagger.stop()
        await usb.stop(card.tagger)
        bench.inject(
            EmulatedFault(.nakTimeout, endpoint: 0x01, duration: .seconds(5)),
            into: USBBench.card)
        let started = reactor.now
        let error = await failure(of: DriverError.self) { _ = try await startCard() }
        let elapsed = reactor.now - started
        try requireEqual(error?.code, .timedOut, "opening a card that takes no command")
        try await reactor.sleep(for: .seconds(6))
        let again = try await startCard()
        await usb.stop(again.tagger)
        return "\(error?.code.rawValue ?? "") after \(Self.micros(elapsed))"
    }

    private func churn() async throws -> String {
        guard let host = usb.ports.usb else { throw CheckFailure("no USB") }
        // The list of devices is read once a cycle: so many of them keep the guest busy.
        let events = host.events()
        var iterator = events.makeAsyncIterator()
        try await reactor.sleep(for: .milliseconds(1))
        var longest = Duration.zero
        for cycle in 0..<Self.cycles {
            let started = reactor.now
            bench.unplug(USBBench.card)
            guard case .left? = await iterator.next() else {
                throw CheckFailure("cycle \(cycle): expected the card to leave")
            }
            try bench.plugIn(USBBench.card)
            guard case .arrived? = await iterator.next() else {
                throw CheckFailure("cycle \(cycle): expected the card to come back")
            }
            try await usb.wait("cycle \(cycle): the card comes") {
                try await cards().first?.availability == .ready
            }
            longest = max(longest, reactor.now - started)
        }
        let card = try await startCard()
        let report = try await usb.follow(card.source, count: 2000, period: USBBench.cardPeriod)
        await usb.stop(card.tagger)
        try requireEqual(report.firstFault, nil, "order of the tags")
        let used = try VHCI().attached().count
        try requireEqual(used, USBBench.units.count, "ports in use")
        return "\(Self.cycles) times, at most \(Self.micros(longest)) each"
    }

    /// Warnings and worse that tell of a defect of a driver or of our server.
    private func kernelLog() throws -> String {
        guard let pipe = popen("dmesg", "r") else { throw CheckFailure("no dmesg") }
        defer { pclose(pipe) }
        var bad: [String] = []
        var count = 0
        var buffer = [CChar](repeating: 0, count: 4096)
        while fgets(&buffer, Int32(buffer.count), pipe) != nil {
            let line = String(
                decoding: buffer.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)),
                as: UTF8.self)
            count += 1
            let words = ["WARNING:", "BUG:", "Oops", "recv xbuf", "Call Trace"]
            if words.contains(where: line.contains) { bad.append(line) }
        }
        try require(bad.isEmpty, bad.joined(separator: "; "))
        return "\(count) lines, no complaint"
    }

    private static func micros(_ duration: Duration) -> String {
        "\(duration.wholeNanoseconds / 1000) µs"
    }
}
