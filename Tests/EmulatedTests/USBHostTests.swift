import DeviceProfiles
import Emulated
import HostIO
import Quantities
import Testing

/// The rules of the bus, from USB 2.0 chapters 5, 8 and 9.
struct USBHostTests {
    /// A host with the scripted device, opened and claimed.
    private static func open(
        _ reactor: VirtualReactor, _ function: ScriptedFunction
    ) async throws -> (EmulatedUSBHost, any USBDevice) {
        let host = EmulatedUSBHost(context: EmulationContext(reactor: reactor, seed: 1))
        let id = host.attach(function, path: "1-1", speed: .full)
        let device = try await host.open(id)
        try await device.claim(interface: 0, alternate: 0)
        return (host, device)
    }

    private static func packet(_ count: Int, at time: Int64 = 0) -> (HostInstant, [UInt8]) {
        (HostInstant(nanoseconds: time), (0..<count).map { UInt8(truncatingIfNeeded: $0) })
    }

    @Test("a short packet ends a transfer, an empty one ends it with what is there")
    func shortPackets() throws {
        let lengths = try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [64, 64, 10, 64, 0, 0].map { Self.packet($0) }
            let (_, device) = try await Self.open(reactor, function)
            var lengths: [Int] = []
            for _ in 0..<3 {
                lengths.append(
                    try await device.read(from: 0x81, upTo: 256, timeout: .seconds(1)).count)
            }
            return lengths
        }
        #expect(lengths == [138, 64, 0])
    }

    @Test("a full buffer ends a transfer without waiting for an empty packet")
    func exactMultiple() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(64), Self.packet(64)]
            let (_, device) = try await Self.open(reactor, function)
            let bytes = try await device.read(from: 0x81, upTo: 128, timeout: .seconds(1))
            #expect(bytes.count == 128)
            #expect(bytes[127] == 63)
        }
    }

    @Test("a packet larger than the rest of the buffer is an overflow")
    func overflow() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(64), Self.packet(64)]
            let (_, device) = try await Self.open(reactor, function)
            let error = await usbError {
                _ = try await device.read(from: 0x81, upTo: 100, timeout: .seconds(1))
            }
            #expect(error == .overflow)
        }
    }

    @Test("a device without data keeps the transfer pending until the timeout tells what came")
    func timeoutReportsPartialData() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(64)]
            let (_, device) = try await Self.open(reactor, function)
            let start = reactor.now
            let error = await usbError {
                _ = try await device.read(from: 0x81, upTo: 512, timeout: .milliseconds(50))
            }
            #expect(error == .timedOut(transferred: 64))
            #expect(reactor.now - start == .milliseconds(50))
        }
    }

    @Test("data that come later complete the transfer in the frame after they came")
    func lateData() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(3, at: 7_300_000)]
            let (_, device) = try await Self.open(reactor, function)
            let bytes = try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            #expect(bytes == [0, 1, 2])
            #expect(reactor.now == HostInstant(nanoseconds: 8_000_000))
        }
    }

    @Test("no more than 19 full-speed bulk packets move in a millisecond")
    func busCapacity() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = (0..<190).map { _ in Self.packet(64) }
            let (_, device) = try await Self.open(reactor, function)
            let start = reactor.now
            _ = try await device.read(from: 0x81, upTo: 190 * 64, timeout: .seconds(1))
            #expect(reactor.now - start == .milliseconds(10))
        }
    }

    @Test("an OUT transfer is cut into packets; an empty one sends an empty packet")
    func outPackets() throws {
        let function = ScriptedFunction()
        try onVirtualTime { reactor in
            let (_, device) = try await Self.open(reactor, function)
            try await device.write(
                [UInt8](repeating: 7, count: 130), to: 0x02, timeout: .seconds(1))
            try await device.write([], to: 0x02, timeout: .seconds(1))
        }
        #expect(function.received.map(\.count) == [64, 64, 2, 0])
    }

    @Test("a halted endpoint stalls until CLEAR_FEATURE, and GET_STATUS shows it")
    func halt() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(5)]
            let (host, device) = try await Self.open(reactor, function)
            #expect(host.inject(EmulatedFault(.stall, endpoint: 0x81), path: "1-1"))
            for _ in 0..<2 {
                let error = await usbError {
                    _ = try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
                }
                #expect(error == .stall)
            }
            let status = USBControlRequest(requestType: 0x82, request: 0, value: 0, index: 0x81)
            #expect(try await device.controlIn(status, length: 2, timeout: .seconds(1)) == [1, 0])
            let clear = USBControlRequest(requestType: 0x02, request: 1, value: 0, index: 0x81)
            try await device.controlOut(clear, data: [], timeout: .seconds(1))
            #expect(try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1)).count == 5)
        }
    }

    @Test("requests: known ones answer, unknown ones stall, wLength cuts the answer")
    func control() throws {
        try onVirtualTime { reactor in
            let (_, device) = try await Self.open(reactor, ScriptedFunction())
            let known = USBControlRequest(requestType: 0xC0, request: 1, value: 0, index: 0)
            #expect(
                try await device.controlIn(known, length: 3, timeout: .seconds(1)) == [1, 2, 3])
            let unknown = USBControlRequest(requestType: 0xC0, request: 9, value: 0, index: 0)
            let error = await usbError {
                _ = try await device.controlIn(unknown, length: 3, timeout: .seconds(1))
            }
            #expect(error == .stall)
            let string = USBControlRequest(requestType: 0x80, request: 6, value: 0x0302, index: 0)
            let bytes = try await device.controlIn(string, length: 255, timeout: .seconds(1))
            #expect(USBDescriptorSet.text(of: bytes) == "Thing")
        }
    }

    @Test("an interface belongs to one claimer; endpoints outside it are not found")
    func claims() throws {
        try onVirtualTime { reactor in
            let (host, first) = try await Self.open(reactor, ScriptedFunction())
            let second = try await host.open(first.summary.id)
            let taken = await usbError { try await second.claim(interface: 0, alternate: 0) }
            #expect(taken == .busy(holder: "another session"))
            let unclaimed = await usbError {
                _ = try await second.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            }
            #expect(unclaimed == .notFound("endpoint 129 in a claimed interface"))
            let missing = await usbError { try await first.claim(interface: 3, alternate: 0) }
            #expect(missing == .notFound("interface 3"))
            await first.close()
            try await second.claim(interface: 0, alternate: 0)
        }
    }

    @Test("permission and kernel drivers are reported as on a real host")
    func access() throws {
        try onVirtualTime { reactor in
            let host = EmulatedUSBHost(context: EmulationContext(reactor: reactor, seed: 1))
            let denied = host.attach(
                ScriptedFunction(), path: "1-1", speed: .full,
                access: .permissionDenied(node: "/dev/bus/usb/001/002"))
            #expect(
                await usbError { _ = try await host.open(denied) }
                    == .accessDenied(node: "/dev/bus/usb/001/002"))
            let bound = host.attach(
                ScriptedFunction(), path: "1-2", speed: .full,
                access: .claimedByKernelDriver(name: "ftdi_sio"))
            let device = try await host.open(bound)
            #expect(
                await usbError { try await device.claim(interface: 0, alternate: 0) }
                    == .busy(holder: "ftdi_sio"))
            let all = try await host.devices()
            #expect(all.map(\.id.path) == ["1-1", "1-2"])
            #expect(all.allSatisfy { $0.isEmulated })
            #expect(all[0].product == "Thing" && all[0].serial == nil)
        }
    }

    @Test("a queue completes in order, and every transfer completes when it is cancelled")
    func queue() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(1), Self.packet(2, at: 5_000_000)]
            let (_, device) = try await Self.open(reactor, function)
            let queue = try device.openQueue(endpoint: 0x81, transferCount: 4, transferSize: 128)
            let first = await queue.next()
            #expect(first.byteCount == 1 && first.error == nil)
            let second = await queue.next()
            #expect(second.byteCount == 2 && second.error == nil)
            await queue.cancelAll()
            for _ in 0..<2 {
                let rest = await queue.next()
                #expect(rest.error == .cancelled && rest.buffer.capacity == 128)
            }
            // As with libusb: a reader that took the last completion just before the cancellation must
            // not leave a transfer behind that nobody cancels.
            function.packets = [Self.packet(9)]
            queue.submit(first.takeBuffer())
            let late = await queue.next()
            #expect(late.byteCount == 0 && late.error == .cancelled)
            await queue.cancelAll()
        }
    }

    @Test("pulling the plug ends pending transfers with what had arrived, and tells listeners")
    func unplug() throws {
        try onVirtualTime { reactor in
            let function = ScriptedFunction()
            function.packets = [Self.packet(64)]
            let (host, device) = try await Self.open(reactor, function)
            var events = host.events().makeAsyncIterator()
            let queue = try device.openQueue(endpoint: 0x81, transferCount: 2, transferSize: 128)
            host.detach(path: "1-1", at: HostInstant(nanoseconds: 20_000_000))
            let partial = await queue.next()
            #expect(partial.error == .disconnected && partial.byteCount == 64)
            let idle = await queue.next()
            #expect(idle.error == .disconnected && idle.byteCount == 0)
            let nothing = await queue.next()
            #expect(nothing.error == .disconnected)
            #expect(
                await events.next()
                    == .left(device.summary.id, at: HostInstant(nanoseconds: 20_000_000)))
            let id = host.attach(function, path: "1-1", speed: .full)
            #expect(id.address != device.summary.id.address)
            let later = await usbError {
                _ = try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            }
            #expect(later == .disconnected)
        }
    }

    @Test("cancelling the task cancels the transfer")
    func cancellation() throws {
        try onVirtualTime { reactor in
            let (_, device) = try await Self.open(reactor, ScriptedFunction())
            let task = Task(executorPreference: reactor) {
                await usbError {
                    _ = try await device.read(from: 0x81, upTo: 64, timeout: .seconds(3600))
                }
            }
            try await reactor.sleep(for: .milliseconds(3))
            task.cancel()
            #expect(await task.value == .cancelled)
            #expect(reactor.now == HostInstant(nanoseconds: 3_000_000))
        }
    }
}
