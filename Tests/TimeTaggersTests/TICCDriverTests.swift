import DeviceProfiles
import FirmwareProfiles
import Foundation
import HostIO
import Instruments
import LinkTypes
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// The driver against a scripted port: identification, refusals, damage, restarts.
struct TICCDriverTests {
    private static let banner2025 = [
        "# TAPR TICC Timestamping Counter", "# Software Version: 20250916.1 (BETA)",
        "# Board Serial Number: 0001BEEF", "# Measurement Mode: Timestamp", "# Timestamp Wrap: 0",
        "# Output Decimal Places: 6", "# Trigger Edge: R (ch0), F (ch1)", "# Channel Names: P/Q",
        "# Poll Character: none", "# Type any character for config menu",
        "# timestamp (seconds with 6 decimal places)", "",
    ].joined(separator: "\r\n")

    /// The start of 20200412.1 without its data.
    private static let banner2020: String =
        (TICCCapture.of20200412.components(separatedBy: "places)").first ?? "") + "places)\r\n"

    private static func driver(
        _ reactor: VirtualReactor, _ stream: ScriptedStream, printing banner: String,
        declared: String = "tapr-ticc-2020"
    ) throws -> TICCDriver {
        let catalog = try FirmwareProfiles.catalog()
        let profile = try #require(catalog[declared])
        return try TICCDriver(
            profile: profile, siblings: catalog.siblings(of: profile),
            source: StreamSource(name: "test") {
                stream.send(banner, after: .milliseconds(200))
                return InstrumentStream(stream)
            }, isEmulated: false, reactor: reactor)
    }

    private static func openError(_ banner: String) throws -> DriverError? {
        let reactor = VirtualReactor()
        return try reactor.run {
            let driver = try Self.driver(
                reactor, ScriptedStream(reactor: reactor), printing: banner)
            do throws(DriverError) { try await driver.open() } catch { return error }
            return nil
        }
    }

    /// What an acquisition gathers when `lines` arrive at their times, counted from the header.
    private static func acquire(
        _ lines: [(at: Double, text: String)], banner: String = banner2020
    ) throws -> (tags: [TimeTag], losses: [LossMark<DeviceTicks>], failure: DriverError?) {
        let reactor = VirtualReactor()
        return try reactor.run {
            let stream = ScriptedStream(reactor: reactor)
            let driver = try Self.driver(reactor, stream, printing: banner)
            try await driver.open()
            for (at, text) in lines {
                stream.send(text + "\r\n", after: .milliseconds(Int64(at * 1000)))
            }
            let source = try await driver.start(AcquisitionPlan())
            reactor.schedule(
                at: reactor.now + .milliseconds(Int64((lines.last?.at ?? 0) * 1000) + 500)
            ) { reactor.start { try? await driver.stop() } }
            var tags: [TimeTag] = []
            var losses: [LossMark<DeviceTicks>] = []
            var promised: UInt64 = 0
            do throws(DriverError) {
                while let block = try await source.next() {
                    #expect(block.tags.allSatisfy { $0.ticks >= promised })
                    promised = block.completeThrough.rawValue
                    tags += block.tags
                    losses += block.losses
                }
            } catch { return (tags, losses, error) }
            #expect(tags == tags.sorted())
            return (tags, losses, nil)
        }
    }

    /// The acquisition starts in the first second, and its ticks count from the one before.
    private static func tick(_ seconds: Double) -> UInt64 {
        UInt64(((seconds + 1) * 1e11).rounded())
    }

    @Test func theBoardDecidesWhichProfileIsInForce() throws {
        let reactor = VirtualReactor()
        try reactor.run {
            for (banner, id, tick) in [
                (Self.banner2025, "tapr-ticc-2025", Int64(1)),
                (TICCCapture.of20191202, "tapr-ticc-2017", 1),
                (TICCCapture.of20200412, "tapr-ticc-2020", 10),
            ] {
                let stream = ScriptedStream(reactor: reactor)
                let driver = try Self.driver(reactor, stream, printing: banner)
                try await driver.open()
                #expect(await driver.identity.profile == id)
                #expect(await driver.tickPeriod == TickPeriod(picoseconds: tick))
                #expect(stream.modemLines.map(\.dtr) == [false, true])
                #expect(try await driver.selfTest().passed)
                #expect(stream.written.isEmpty)
                await driver.close()
                #expect(!stream.isOpen)
            }
        }
    }

    @Test func firmwareThatNoProfileCoversIsRefusedByName() throws {
        for version in ["20200305.1", "20200412.2", "20250912.1", "20170308.1", "1.10", "x"] {
            let banner = Self.banner2020.replacing("20200412.1", with: version)
            let error = try Self.openError(banner)
            #expect(error?.code == .wrongDevice && error?.found == version, "\(version)")
        }
        let untagged = Self.banner2025.replacing(" (BETA)", with: "")
        #expect(try Self.openError(untagged)?.code == .wrongDevice)
    }

    @Test func settingsThatCanNotBeUsedAreRefused() throws {
        func code(_ old: String, _ new: String, of banner: String = Self.banner2020) throws
            -> DriverErrorCode?
        {
            #expect(banner.contains(old))
            return try Self.openError(banner.replacing(old, with: new))?.code
        }
        #expect(try code("Mode: Timestamp", "Mode: Period") == .wrongState)
        // The null mode prints no end of line.
        #expect(try code("Mode: Timestamp\r\n", "Mode: ") == .wrongState)
        #expect(try code("Character: none", "Character: Q") == .wrongState)
        #expect(try code("Names: A/B", "Names: A/A") == .wrongState)
        #expect(try code("Wrap: 0", "Wrap: 3", of: Self.banner2025) == .wrongState)
        #expect(try code("Places: 6", "Places: 7", of: Self.banner2025) == .malformedReply)
        #expect(try code("Wrap:  0", "Wrap: 0") == .malformedReply)
    }

    @Test func aBoardThatDoesNotStartIsNamed() throws {
        #expect(try Self.openError("")?.code == .wrongDevice)
        let other = try Self.openError("Grbl 1.1h ['$' for help]\r\n")
        #expect(other?.code == .wrongDevice && other?.found.contains("Grbl") == true)
        let dots = try #require(Self.banner2020.components(separatedBy: "# timestamp").first)
        let lost = try Self.openError(dots + "# No COARSE_CLOCK... is 10 MHz connected?\r\n")
        #expect(lost?.code == .deviceFault)
        let client = try Self.openError(dots + "# In client mode and waiting for sync...\r\n")
        #expect(client?.code == .timedOut && client?.expected.contains("master") == true)
        #expect(try Self.openError(dots)?.code == .malformedReply)
    }

    @Test func tagsAreExactAndInOrder() throws {
        let found = try Self.acquire([
            (0.50, "0.50000000001 chB"), (0.503, "0.49900000000 chA"), (0.7, "0.70000000000 chA"),
        ])
        #expect(found.failure == nil && found.losses.isEmpty)
        #expect(
            found.tags == [
                TimeTag(ticks: Self.tick(0.499), channel: 0),
                TimeTag(ticks: Self.tick(0.5) + 1, channel: 1),
                TimeTag(ticks: Self.tick(0.7), channel: 0),
            ])
    }

    /// The first of a pair may be hours old, and follow the second.
    @Test func pairsThatWereHeldBackAreInOrder() throws {
        let found = try Self.acquire(
            [
                (8, "8.000000 chP"), (8.002, "1.000000 chQ"), (9, "8.500000 chQ"),
                (9.002, "9.000000 chQ"),
            ],
            banner: Self.banner2025)
        #expect(found.failure == nil && found.losses.isEmpty)
        #expect(found.tags.map(\.channel) == [1, 0, 1, 1])
        #expect(found.tags.first?.ticks == 2_000_000_000_000)
    }

    @Test func aDamagedLineIsAMarkedLoss() throws {
        let found = try Self.acquire([
            (0.5, "0.50000000000 chA"), (0.6, "0.6000000000 chA"), (0.7, "0.70000000000 chA"),
        ])
        #expect(found.failure == nil && found.tags.count == 2)
        let loss = try #require(found.losses.first)
        #expect(found.losses.count == 1 && loss.reason == .corruptRecords && loss.count == nil)
        #expect(loss.start.rawValue < Self.tick(0.6) && loss.end.rawValue > Self.tick(0.6))
    }

    @Test func closeTagsAreAPossibleLoss() throws {
        let found = try Self.acquire([
            (0.5, "0.50000000000 chA"), (0.504, "0.50400000000 chA"), (0.6, "0.60000000000 chA"),
            (0.601, "0.60100000000 chB"),
        ])
        #expect(found.losses.map(\.reason) == [.deviceOverflow])
        #expect(found.losses.first?.end == DeviceTicks(Self.tick(0.504)))
        #expect(found.tags.count == 4)
    }

    /// Without its reference the older firmware is silent, and goes on as if nothing had been.
    @Test func aCounterThatStoodStillIsAMarkedLoss() throws {
        let found = try Self.acquire([
            (0.5, "0.50000000000 chA"), (3.6, "0.60000000000 chA"), (3.7, "0.70000000000 chA"),
        ])
        #expect(found.failure == nil && found.tags.count == 3)
        #expect(found.losses.map(\.reason) == [.transferFailure])
    }

    @Test func whatEndsAnAcquisitionIsNamedAndMarked() throws {
        func end(_ lines: [String], _ banner: String, tag: String) throws -> DriverError? {
            let timed = [(0.5, tag)] + lines.enumerated().map { (0.6 + 0.1 * Double($0), $1) }
            let found = try Self.acquire(timed, banner: banner)
            #expect(found.tags.count == 1 && !found.losses.isEmpty)
            return found.failure
        }
        let lost = try end(
            ["# 10 MHZ Reference lost!"], Self.banner2025, tag: "0.500000 chP")
        #expect(lost?.code == .deviceFault && lost?.expected.contains("10 MHz") == true)
        let restarted = try end(
            ["", "# TAPR TICC Timestamping Counter"], Self.banner2020, tag: "0.50000000000 chA")
        #expect(restarted?.code == .deviceFault && restarted?.found.contains("TAPR") == true)
        let back = try end(
            ["0.30000000000 chA", "0.40000000000 chA", "0.41000000000 chA"], Self.banner2020,
            tag: "0.50000000000 chA")
        #expect(back?.code == .deviceFault && back?.expected == "times that continue")
        let noise = try end(
            Array(repeating: "?", count: 16), Self.banner2020, tag: "0.50000000000 chA")
        #expect(noise?.code == .malformedReply)
    }

    @Test func refusesWhatTheBoardDoesNotHave() throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let stream = ScriptedStream(reactor: reactor)
            let driver = try Self.driver(reactor, stream, printing: Self.banner2020)
            try await driver.open()
            for plan in [
                AcquisitionPlan(thresholds: [0: Volts(1)]),
                AcquisitionPlan(usesExternalReference: false),
            ] {
                let error = await #expect(throws: DriverError.self) {
                    _ = try await driver.start(plan)
                }
                #expect(error?.code == .notSupported)
            }
            stream.fail(.closed)
            try await reactor.sleep(for: .milliseconds(10))
            let error = await #expect(throws: DriverError.self) {
                _ = try await driver.start(AcquisitionPlan())
            }
            #expect(error?.code == .disconnected)
        }
    }
}
