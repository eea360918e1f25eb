import HostIO
import Quantities
import Synchronization

/// An instrument of the USB test and measurement class that answers as a test says, in whole frames
/// written from USBTMC 1.0, tables 1 to 9.
package final class ScriptedUSBTMC: Sendable {
    /// The USB side, for its operations and failures.
    package let device: ScriptedUSBDevice
    private let memory: Memory

    /// Owned by the device's answers too, so that an instrument lives as long as its device.
    fileprivate final class Memory: Sendable {
        let state = Mutex(State())
    }

    fileprivate struct State {
        var commands: [String] = []
        var answer: String?
        var clearStatus: [[UInt8]] = []
    }

    /// - Parameters:
    ///   - answer: the answer to a message, without its end; nil for none.
    ///   - usb488: the third byte of capabilities: 2 takes remote requests, 4 is IEEE 488.2.
    package init(
        vendorID: UInt16 = 0x1313, productID: UInt16 = 0x8078, serial: String = "P0000007",
        usb488: UInt8 = 6, reactor: any Reactor,
        answer: @escaping @Sendable (String) -> String?
    ) {
        let interface = USBInterface(
            number: 0, alternate: 0, classTriple: [0xFE, 0x03, 0x01],
            endpoints: [
                USBEndpoint(address: 0x02, kind: .bulk, maxPacketSize: 64),
                USBEndpoint(address: 0x81, kind: .bulk, maxPacketSize: 64),
            ])
        device = ScriptedUSBDevice(
            USBDeviceSummary(
                id: USBDeviceID(path: "1-1", address: 1), vendorID: vendorID, productID: productID,
                bcdDevice: 0x0100, classTriple: [0, 0, 0], speed: .full, manufacturer: "Maker",
                product: "Thing", serial: serial, interfaces: [interface], access: .available,
                isEmulated: false), reactor: reactor)
        let memory = Memory()
        self.memory = memory
        device.answerControl { request in
            switch request.request {
            case 6: return .success(memory.nextClearStatus())
            case 7:
                var reply: [UInt8] = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, usb488, 0]
                reply += [UInt8](repeating: 0, count: 8)
                return .success(reply)
            case 1, 3: return .success([0x81, 0])
            case 5, 160, 161: return .success([1])
            default: return .failure(.stall)
            }
        }
        device.answer { _, frame in memory.take(frame, answer) }
    }

    /// The messages received, without line ends.
    package var commands: [String] { memory.state.withLock { $0.commands } }
    /// What CHECK_CLEAR_STATUS answers next, in turn; then success.
    package func clearAnswers(_ replies: [[UInt8]]) {
        memory.state.withLock { $0.clearStatus = replies }
    }

    /// A whole DEV_DEP_MSG_IN transfer.
    package static func frame(_ payload: [UInt8], tag: UInt8, isEnd: Bool = true) -> [UInt8] {
        let size = (0..<4).map { UInt8(truncatingIfNeeded: payload.count >> (8 * $0)) }
        let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
        return [2, tag, 255 - tag, 0] + size + [isEnd ? 1 : 0, 0, 0, 0] + payload + padding
    }
}

extension ScriptedUSBTMC.Memory {
    fileprivate func nextClearStatus() -> [UInt8] {
        state.withLock { $0.clearStatus.isEmpty ? [1, 0] : $0.clearStatus.removeFirst() }
    }

    fileprivate func take(
        _ frame: [UInt8], _ answer: @Sendable (String) -> String?
    ) -> [UInt8]? {
        let size = (0..<4).reduce(0) { $0 | Int(frame[4 + $1]) << (8 * $1) }
        if frame[0] == 1 {
            var text = String(decoding: frame[12..<12 + size], as: UTF8.self)
            while text.last == "\n" { text.removeLast() }
            let reply = answer(text)
            state.withLock {
                $0.commands.append(text)
                $0.answer = reply
            }
            return nil
        }
        let text = state.withLock { state in
            defer { state.answer = nil }
            return state.answer
        }
        return text.map { ScriptedUSBTMC.frame(Array($0.utf8) + [0x0A], tag: frame[1]) }
    }
}
