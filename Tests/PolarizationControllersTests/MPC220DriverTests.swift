import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import PolarizationControllers
import Quantities
import TestSupport
import Testing

/// The driver of the MPC320 with the profile of the MPC220: what a profile alone changes.
struct MPC220DriverTests {
    let reactor = VirtualReactor()
    private let device: FakeMPC320

    init() { device = FakeMPC320(reactor: reactor) }

    private func driver(_ profile: String = "thorlabs-mpc220") throws -> ThorlabsMPC320Driver {
        let device = device
        return try ThorlabsMPC320Driver(
            profile: try #require(try FirmwareProfiles.catalog()[profile]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "38200001", isEmulated: false, reactor: reactor)
    }

    /// The frames as bytes of the APT document: enable mask 3, status of paddles 1 and 2 only.
    @Test func opensTwoPaddles() throws {
        device.set { $0.model = "MPC220" }
        let driver = try driver()
        try reactor.run { [device] in
            try await driver.open()
            #expect(await driver.axes.count == 2)
            #expect(await driver.identity.model == "MPC220")
            #expect(try await driver.settings().count == 2)
            #expect(try await driver.selfTest().checks.map(\.name).last == "paddle 2")
            device.set { $0.frames = [] }
            try await driver.halt()
            let stops = device.frames.filter { $0.hasPrefix("6504") }
            #expect(stops == ["650401015001", "650402015001"])
            await driver.close()
        }
        #expect(!device.frames.contains { $0.hasPrefix("900404") || $0.hasPrefix("430404") })
    }

    @Test func enablesTwoPaddlesAndMovesTheSecond() throws {
        device.set { $0.model = "MPC220" }
        let driver = try driver()
        try reactor.run { [device] in
            try await driver.open()
            #expect(device.frames.contains("100203015001"))
            _ = try await driver.move(1, to: .angle(Radians(degrees: 85)))
            #expect(device.frames.contains("53040600d0010200ad020000"))
            device.set { $0.frames = [] }
            let third = await #expect(throws: DriverError.self) {
                try await driver.move(2, to: .angle(Radians(degrees: 85)))
            }
            #expect(third?.code == .outOfRange)
            #expect(!device.frames.contains { $0.hasPrefix("5304") })
            await driver.close()
        }
    }

    /// On USB the two models are the same; the identification tells them apart, both ways.
    @Test(arguments: [("thorlabs-mpc220", "MPC320"), ("thorlabs-mpc320", "MPC220")])
    func refusesTheOtherModel(profile: String, model: String) throws {
        device.set { $0.model = model }
        let driver = try driver(profile)
        try reactor.run { [device] () -> Void in
            let error = await #expect(throws: DriverError.self) { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(error?.found == "\"\(model)\"")
            #expect(!device.stream.isOpen)
        }
    }
}
