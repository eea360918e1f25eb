import CLibUSB
import HostIO
import LinuxIO
import Quantities
import Testing

/// The ways in which a USB transfer's memory can be lost or freed too early, each with libusb
/// replaced by a table that does exactly what the case needs.
struct TransferLifetimeTests {
    private let usb = FakeLibUSB()
    private let reactor = VirtualReactor()

    private func makeDevice() -> LibUSBDevice {
        LibUSBDevice(
            handle: FakeLibUSB.handle, summary: FakeLibUSB.summary, calls: usb.calls,
            reactor: reactor)
    }

    /// Lets everything that is ready run.
    private static func settle(_ reactor: VirtualReactor) async throws {
        try await reactor.sleep(for: .milliseconds(1))
    }

    @Test func aReadReturnsWhatArrived() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        let bytes = try reactor.run {
            async let result = device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            try await Self.settle(reactor)
            usb.complete(usb.submitted[0], bytes: [1, 2, 3])
            return try await result
        }
        #expect(bytes == [1, 2, 3])
        #expect(usb.log == ["alloc 0", "submit 0", "callback 0", "free 0"])
    }

    @Test func aHaltIsClearedByLibUSB() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            try await device.clearHalt(endpoint: 0x82)
            usb.clearHaltResult = Int32(LIBUSB_ERROR_NO_DEVICE.rawValue)
            await #expect(throws: USBTransferError.disconnected) {
                try await device.clearHalt(endpoint: 0x82)
            }
            await device.close()
            await #expect(throws: USBTransferError.disconnected) {
                try await device.clearHalt(endpoint: 0x82)
            }
        }
        #expect(usb.log == ["clear halt 130", "clear halt 130", "close"])
    }

    @Test func aCancelledTaskNeverAllocates() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let task = Task(executorPreference: reactor) {
                while !Task.isCancelled { try? await reactor.sleep(for: .milliseconds(1)) }
                return try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
            try await Self.settle(reactor)
            task.cancel()
            let result = await task.result
            #expect(throws: USBTransferError.cancelled) { try result.get() }
        }
        #expect(usb.log.isEmpty)
    }

    @Test func cancellationWaitsForTheTerminalCallback() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let task = Task(executorPreference: reactor) {
                try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
            try await Self.settle(reactor)
            task.cancel()
            try await Self.settle(reactor)
            #expect(usb.log == ["alloc 0", "submit 0", "cancel 0"], "nothing is freed yet")
            usb.complete(usb.submitted[0], status: LIBUSB_TRANSFER_CANCELLED)
            let result = await task.result
            #expect(throws: USBTransferError.cancelled) { try result.get() }
        }
        #expect(usb.log.last == "free 0")
    }

    @Test func aCompletionThatWinsTheRaceIsDeliveredOnce() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        // The completion arrives inside the call that cancels, as when both happen at once.
        usb.onCancel = { usb.complete($0, bytes: [7]) }
        let bytes = try reactor.run {
            let task = Task(executorPreference: reactor) {
                try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
            try await Self.settle(reactor)
            task.cancel()
            return try await task.value
        }
        #expect(bytes == [7])
        #expect(usb.log == ["alloc 0", "submit 0", "cancel 0", "callback 0", "free 0"])
    }

    @Test func aDuplicateCallbackIsIgnored() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            async let result = device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            try await Self.settle(reactor)
            usb.complete(usb.submitted[0], bytes: [1])
            #expect(try await result == [1])
            usb.complete(usb.submitted[0], bytes: [2])
        }
        #expect(usb.log.filter { $0 == "free 0" }.count == 1)
    }

    @Test func aRefusedSubmissionFreesAndReports() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        usb.submitResult = LIBUSB_ERROR_NO_DEVICE.rawValue
        try reactor.run {
            _ = await #expect(throws: USBTransferError.disconnected) {
                try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
        }
        #expect(usb.log == ["alloc 0", "submit 0", "free 0"])
    }

    @Test func closeCancelsWaitsReleasesThenCloses() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            try await device.claim(interface: 0, alternate: 1)
            let reading = Task(executorPreference: reactor) {
                try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
            try await Self.settle(reactor)
            async let closed: Void = device.close()
            try await Self.settle(reactor)
            #expect(usb.log.last == "cancel 0", "closing waits for the callback")
            usb.complete(usb.submitted[0], status: LIBUSB_TRANSFER_CANCELLED)
            await closed
            await #expect(throws: USBTransferError.cancelled) { _ = try await reading.value }
            await device.close()
        }
        let order = ["cancel 0", "callback 0", "release 0", "close"].compactMap {
            usb.log.firstIndex(of: $0)
        }
        #expect(order.count == 4)
        #expect(order == order.sorted())
        #expect(usb.log.filter { $0 == "close" }.count == 1)
    }

    @Test func submittingDuringShutdownIsRefused() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            async let first = device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            try await Self.settle(reactor)
            async let closed: Void = device.close()
            try await Self.settle(reactor)
            await #expect(throws: USBTransferError.disconnected) {
                try await device.write([1], to: 0x01, timeout: .seconds(1))
            }
            usb.complete(usb.submitted[0], status: LIBUSB_TRANSFER_CANCELLED)
            await closed
            _ = try? await first
        }
        #expect(!usb.log.contains("submit 1"))
    }

    @Test func unplugEndsEveryTransferOfAQueueWithItsError() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let queue = try device.openQueue(endpoint: 0x82, transferCount: 3, transferSize: 1000)
            try await Self.settle(reactor)
            #expect(usb.submitted.count == 3)
            #expect(usb.submitted[0].pointee.length == 1024, "rounded up to whole packets")
            usb.complete(usb.submitted[0], bytes: [9, 9])
            for transfer in usb.submitted[1...] {
                usb.complete(transfer, status: LIBUSB_TRANSFER_NO_DEVICE)
            }
            let good = await queue.next()
            #expect(good.error == nil)
            #expect(good.bytes() == [9, 9])
            for _ in 1..<3 {
                let gone = await queue.next()
                #expect(gone.error == .disconnected)
                #expect(gone.byteCount == 0)
            }
            await device.close()
        }
        #expect(usb.log.filter { $0.hasPrefix("free") }.count == 3)
        #expect(usb.log.last == "close")
    }

    /// The device goes while the queue has buffers to submit: each is refused at once, with a transfer
    /// that an earlier refusal gave back.
    @Test func aQueueOutlivesRefusedSubmissions() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let queue = try device.openQueue(endpoint: 0x82, transferCount: 2, transferSize: 512)
            try await Self.settle(reactor)
            usb.submitResult = LIBUSB_ERROR_NO_DEVICE.rawValue
            for transfer in usb.submitted { usb.complete(transfer, bytes: [1]) }
            for _ in 0..<2 {
                let completion = await queue.next()
                #expect(completion.error == nil)
                queue.submit(completion.takeBuffer())
            }
            for _ in 0..<3 {
                let completion = await queue.next()
                #expect(completion.error == .disconnected)
                queue.submit(completion.takeBuffer())
            }
            try await Self.settle(reactor)
            #expect(!usb.log.contains { $0.hasPrefix("free") }, "the queue keeps its transfers")
            await device.close()
        }
        #expect(usb.log.filter { $0.hasPrefix("alloc") }.count == 2)
        #expect(usb.log.filter { $0.hasPrefix("free") }.count == 2)
        #expect(usb.log.last == "close")
    }

    @Test func aLateCompletionAfterQueueShutdownStillFrees() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let queue = try device.openQueue(endpoint: 0x82, transferCount: 1, transferSize: 512)
            try await Self.settle(reactor)
            async let closed: Void = device.close()
            try await Self.settle(reactor)
            #expect(usb.log.last == "cancel 0")
            // Handing a buffer in while closing must not start anything.
            queue.submit(USBBuffer(capacity: 512))
            try await Self.settle(reactor)
            usb.complete(usb.submitted[0], status: LIBUSB_TRANSFER_CANCELLED)
            await closed
            #expect(usb.submitted.count == 1)
        }
        #expect(usb.log.last == "close")
        #expect(usb.log.contains("free 0"))
    }

    @Test(arguments: [
        (LIBUSB_TRANSFER_TIMED_OUT, USBTransferError.timedOut(transferred: 2)),
        (LIBUSB_TRANSFER_STALL, .stall), (LIBUSB_TRANSFER_NO_DEVICE, .disconnected),
        (LIBUSB_TRANSFER_OVERFLOW, .overflow), (LIBUSB_TRANSFER_ERROR, .io),
    ])
    func statusesAreNamed(status: libusb_transfer_status, error: USBTransferError) throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        try reactor.run {
            let reading = Task(executorPreference: reactor) {
                try await device.read(from: 0x82, upTo: 512, timeout: .seconds(1))
            }
            try await Self.settle(reactor)
            usb.complete(usb.submitted[0], status: status, bytes: [1, 2])
            await #expect(throws: error) { _ = try await reading.value }
        }
    }

    @Test func controlTransfersCarryTheSetupPacket() throws {
        let (usb, reactor, device) = (usb, reactor, makeDevice())
        let request = USBControlRequest(requestType: 0xC0, request: 5, value: 0x1234, index: 0x0102)
        let bytes = try reactor.run {
            async let result = device.controlIn(request, length: 2, timeout: .seconds(1))
            try await Self.settle(reactor)
            let setup = UnsafeBufferPointer(start: usb.submitted[0].pointee.buffer, count: 8)
            #expect(Array(setup) == [0xC0, 5, 0x34, 0x12, 0x02, 0x01, 2, 0])
            let transfer = usb.submitted[0]
            transfer.pointee.buffer[8] = 0x01
            transfer.pointee.buffer[9] = 0x60
            // libusb counts the data stage only.
            transfer.pointee.actual_length = 2
            transfer.pointee.status = LIBUSB_TRANSFER_COMPLETED
            transfer.pointee.callback(transfer)
            return try await result
        }
        #expect(bytes == [0x01, 0x60])
    }
}
