import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import OpticalBench
import Quantities
import TestSupport

/// The profiles with an emulated model on USB, in order.
private let profiles: [DeviceProfile] = {
    guard let catalog = try? FirmwareProfiles.catalog() else {
        preconditionFailure("the shipped profiles can not be read")
    }
    return catalog.profiles.filter { $0.identity.transport != .gpio }
}()

/// A bench with one instrument of `profile` at port 1-1, without optics.
private func bench(_ profile: DeviceProfile, _ reactor: VirtualReactor) throws -> EmulatedBench {
    let bench = EmulatedBench(reactor: reactor, seed: 1)
    let serial = profile.emulation?.serial ?? "unit-1"
    let connection = try BenchConnection.standIn(
        for: profile, name: serial, context: bench.context, gpio: bench.gpio)
    try bench.add(
        BenchEntry(profile: profile, serial: serial, connection: connection, path: "1-1"))
    return bench
}

/// A USB/IP client that sends the bytes as they are, to a server with a time tagger.
func fuzzUSBIP(_ bytes: [UInt8]) {
    let reactor = VirtualReactor()
    try? reactor.run {
        guard let profile = profiles.first(where: { $0.id == "cqt-timestamp-usb" }) else { return }
        let bench = try bench(profile, reactor)
        let server = USBIPServer(host: bench.usb, reactor: reactor)
        let (near, far) = MemoryStream.pair(reactor: reactor)
        let serving = reactor.start { await server.serve(far) }
        try? await near.write(bytes, timeout: .seconds(60))
        try? await reactor.sleep(for: .milliseconds(20))
        await near.close()
        await serving.value
        precondition(server.clients == 0 && server.devices.count == 1, "a device is lost")
    }
}

/// A host that does to a model what the bytes say: the first chooses the model; then one byte for
/// each operation, with a length and data.
func fuzzModel(_ bytes: [UInt8]) {
    guard let first = bytes.first else { return }
    let profile = profiles[Int(first) % profiles.count]
    let reactor = VirtualReactor()
    try? reactor.run {
        let bench = try bench(profile, reactor)
        guard let summary = try await bench.usb.devices().first else { return }
        let device = try await bench.usb.open(summary.id)
        for interface in summary.interfaces where interface.alternate == 0 {
            try? await device.claim(interface: interface.number, alternate: 0)
        }
        if let usb = profile.usb {
            try? await device.claim(
                interface: UInt8(usb.interface), alternate: UInt8(usb.alternateSetting))
        }
        var rest = bytes.dropFirst()
        while let operation = rest.popFirst() {
            let length = Int(rest.popFirst() ?? 0)
            let data = Array(rest.prefix(length))
            switch operation >> 5 {
            case 0, 1:
                rest = rest.dropFirst(length)
                try? await device.write(
                    data, to: operation & 0x0F, timeout: .milliseconds(2))
            case 2:
                _ = try? await device.read(
                    from: 0x80 | operation & 0x0F, upTo: 1 + length * 64,
                    timeout: .milliseconds(2))
            case 3:
                try? await reactor.sleep(for: .milliseconds(Int64(length)))
            default:
                let setup = Array(rest.prefix(4))
                guard setup.count == 4 else { return }
                rest = rest.dropFirst(4)
                let request = USBControlRequest(
                    requestType: operation << 1, request: setup[0],
                    value: UInt16(setup[1]) | UInt16(setup[2]) << 8, index: UInt16(setup[3]))
                if operation & 0x40 != 0 {
                    _ = try? await device.controlIn(
                        request, length: length, timeout: .milliseconds(2))
                } else {
                    let data = Array(rest.prefix(length))
                    rest = rest.dropFirst(length)
                    try? await device.controlOut(
                        request, data: data, timeout: .milliseconds(2))
                }
            }
        }
        await device.close()
    }
}
