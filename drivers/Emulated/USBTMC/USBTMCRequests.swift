import DeviceProfiles
import HostIO
import Quantities

// The requests of the class and of its USB488 subclass (USBTMC 1.0, section 4.2.1; USB488 1.0,
// section 4.3). All of them are control transfers towards the host; what is not a capability stalls.

extension USBTMCFunction {
    /// A class request.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        let value = UInt8(truncatingIfNeeded: request.value)
        let index = UInt8(truncatingIfNeeded: request.index)
        device.advance(to: now)
        switch (request.requestType, request.request) {
        case (0xA2, 1) where index == output.address: return abortOut(tag: value)
        case (0xA2, 2) where index == output.address:
            return .data(
                [USBTMCFrames.Status.success, 0, 0, 0] + USBTMCFrames.littleEndian(bytesTaken))
        case (0xA2, 3) where index == input.address: return abortIn(tag: value)
        case (0xA2, 4) where index == input.address: return checkAbortIn()
        case (0xA1, 5): return initiateClear()
        case (0xA1, 6):
            return .data(
                mustBeDrained
                    ? [USBTMCFrames.Status.pending, 1] : [USBTMCFrames.Status.success, 0])
        case (0xA1, 7): return .data(capabilityBytes)
        case (0xA1, 64) where capabilities.hasIndicator: return success
        default: return subclassRequest(request, value: value)
        }
    }

    private var success: USBControlOutcome { .data([USBTMCFrames.Status.success]) }

    private func subclassRequest(
        _ request: USBControlRequest, value: UInt8
    ) -> USBControlOutcome {
        guard capabilities.isUSB488, request.requestType == 0xA1 else { return .stall }
        switch request.request {
        case 128: return readStatusByte(tag: value)
        case 160 where capabilities.takesRemoteRequests:
            isRemote = value & 1 == 1
            return success
        case 161 where capabilities.takesRemoteRequests:
            isRemote = false
            return success
        case 162 where capabilities.takesRemoteRequests: return success
        default: return .stall
        }
    }

    // MARK: - Abort and clear

    /// INITIATE_ABORT_BULK_OUT: the answer names the tag of the transfer under way.
    private func abortOut(tag: UInt8) -> USBControlOutcome {
        guard let transfer = arriving else { return .data([USBTMCFrames.Status.failed, 0]) }
        guard transfer.tag == tag else {
            return .data([USBTMCFrames.Status.notInProgress, transfer.tag])
        }
        bytesTaken = transfer.payload.count
        arriving = nil
        isOutHalted = true
        return .data([USBTMCFrames.Status.success, tag])
    }

    /// INITIATE_ABORT_BULK_IN: a request that waits for its answer counts as under way.
    private func abortIn(tag: UInt8) -> USBControlOutcome {
        guard let present = answeringTag else { return .data([USBTMCFrames.Status.failed, 0]) }
        guard present == tag else {
            return .data([USBTMCFrames.Status.notInProgress, present])
        }
        abortAnswer()
        return .data([USBTMCFrames.Status.success, tag])
    }

    private func checkAbortIn() -> USBControlOutcome {
        let head: [UInt8] =
            mustBeDrained ? [USBTMCFrames.Status.pending, 1] : [USBTMCFrames.Status.success, 0]
        return .data(head + [0, 0] + USBTMCFrames.littleEndian(bytesGiven))
    }

    /// INITIATE_CLEAR: everything under way is forgotten, and Bulk-OUT is halted.
    private func initiateClear() -> USBControlOutcome {
        if let leaving, leaving.position > 0 {
            abortAnswer()
        } else if !mustBeDrained {
            // Nothing of the answer has left, so no transfer has to be ended.
            endsWithEmptyPacket = false
        }
        forgetTransfers()
        device.interpreter.deviceClear()
        isOutHalted = true
        return success
    }

    // MARK: - What the device can do

    /// The answer to GET_CAPABILITIES, 24 bytes.
    private var capabilityBytes: [UInt8] {
        var bytes: [UInt8] = [USBTMCFrames.Status.success, 0, 0x00, 0x01]
        bytes += [capabilities.interface, capabilities.device, 0, 0, 0, 0, 0, 0]
        guard capabilities.isUSB488 else { return bytes + [UInt8](repeating: 0, count: 12) }
        bytes += [0x00, 0x01, capabilities.usb488Interface, capabilities.usb488Device]
        return bytes + [UInt8](repeating: 0, count: 8)
    }

    /// READ_STATUS_BYTE: with an interrupt endpoint the byte comes there (USB488, section 4.3.1).
    private func readStatusByte(tag: UInt8) -> USBControlOutcome {
        guard 2...127 ~= tag else { return .data([USBTMCFrames.Status.failed, tag, 0]) }
        let status = device.interpreter.statusByte
        guard notification != nil else {
            return .data([USBTMCFrames.Status.success, tag, status])
        }
        guard notifications.isEmpty else {
            return .data([USBTMCFrames.Status.interruptBusy, tag, 0])
        }
        notifications.append([0x80 | tag, status])
        return .data([USBTMCFrames.Status.success, tag, 0])
    }
}
