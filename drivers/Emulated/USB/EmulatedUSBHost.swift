import DeviceProfiles
import HostIO
import Quantities

/// A USB host with emulated devices on its bus, in process.
///
/// Transfers obey the rules of the bus packet by packet: a short packet ends a transfer, an empty
/// packet is one, a device that has nothing to say keeps the transfer pending, a packet larger than
/// the rest of the buffer is an overflow. Every transfer takes at least a microframe of the
/// reactor's time, and no more bytes move in one than the bus can carry.
public final class EmulatedUSBHost: USBHost, @unchecked Sendable {
    // @unchecked: all state is touched only under the lock of the context.
    private let context: EmulationContext
    private var slots: [USBSlot] = []
    private var nextAddress: UInt32 = 1
    private var listeners: [EventChannel] = []
    /// Devices that left by themselves and will be back, by path.
    private var returning: [String: (function: any EmulatedUSBFunction, token: TimerToken)] = [:]

    /// A bus without devices.
    public init(context: EmulationContext) { self.context = context }

    // MARK: - The bench side

    /// Plugs a device into the port `path`, such as `1-1`.
    @discardableResult
    public func attach(
        _ function: any EmulatedUSBFunction, path: String, speed: USBSpeed = .high,
        access: USBAccess = .available
    ) -> USBDeviceID {
        context.exclusively {
            forgetReturn(to: path)
            return connect(function, path: path, speed: speed, access: access)
        }
    }

    private func connect(
        _ function: any EmulatedUSBFunction, path: String, speed: USBSpeed,
        access: USBAccess = .available
    ) -> USBDeviceID {
        let id = USBDeviceID(path: path, address: nextAddress)
        nextAddress += 1
        slots.filter { $0.summary.id.path == path }.forEach(remove)
        let controller = USBDeviceController(function: function, speed: speed, at: context.now)
        let summary = Self.summary(id: id, controller: controller, access: access)
        let slot = USBSlot(context: context, controller: controller, summary: summary)
        slot.onRenumeration = { [weak self, weak slot] renumeration in
            if let self, let slot { renumerate(slot, renumeration) }
        }
        slots.append(slot)
        slots.sort { $0.summary.id.path < $1.summary.id.path }
        announce(.arrived(summary, at: context.now))
        slot.service()
        return id
    }

    /// Plugs a device in at `instant`.
    public func attach(
        _ function: any EmulatedUSBFunction, path: String, speed: USBSpeed = .high,
        at instant: HostInstant
    ) {
        context.reactor.schedule(at: instant) { [self] in
            attach(function, path: path, speed: speed)
        }
    }

    /// Pulls the device out of the port `path`; pending transfers end with `disconnected`.
    public func detach(path: String) {
        context.exclusively {
            forgetReturn(to: path)
            for slot in slots where slot.summary.id.path == path { pull(slot) }
        }
    }

    /// The device at the other end of the cable is without power.
    private func pull(_ slot: USBSlot) {
        remove(slot)
        slot.controller.function.powerLost(at: context.now)
    }

    private func forgetReturn(to path: String) {
        guard let (function, token) = returning.removeValue(forKey: path) else { return }
        context.reactor.cancel(token)
        function.powerLost(at: context.now)
    }

    /// Pulls the device out of the port `path` at `instant`.
    public func detach(path: String, at instant: HostInstant) {
        context.reactor.schedule(at: instant) { [self] in detach(path: path) }
    }

    /// Makes a fault happen in the device at `path`. Returns false when it does not have that kind.
    @discardableResult
    public func inject(_ fault: EmulatedFault, path: String) -> Bool {
        context.exclusively {
            guard let slot = slots.first(where: { $0.summary.id.path == path }) else {
                return false
            }
            if fault.kind == .disconnect {
                pull(slot)
                return true
            }
            let isKnown = slot.controller.inject(fault, at: context.now)
            if isKnown, fault.kind == .reboot {
                restart(slot)
            } else {
                slot.service()
            }
            return isKnown
        }
    }

    /// Lets every device catch up with the present.
    public func keepPace() {
        context.exclusively {
            for slot in slots { slot.service() }
        }
    }

    /// A device that restarts leaves the bus and comes back.
    private func restart(_ slot: USBSlot) { leave(slot, for: Self.restartTime) }

    private func renumerate(_ slot: USBSlot, _ renumeration: USBRenumeration) {
        guard renumeration.leavesAfter > .zero else {
            return leave(slot, for: renumeration.absence)
        }
        context.schedule(at: context.now + renumeration.leavesAfter) { [weak self, weak slot] in
            guard let self, let slot, !slot.isGone else { return }
            leave(slot, for: renumeration.absence)
        }
    }

    private func leave(_ slot: USBSlot, for absence: Duration?) {
        let function = slot.controller.function
        let (path, speed) = (slot.summary.id.path, slot.controller.speed)
        remove(slot)
        guard let absence else { return }
        let token = context.schedule(at: context.now + absence) { [weak self] in
            guard let self, returning.removeValue(forKey: path) != nil else { return }
            _ = connect(function, path: path, speed: speed)
        }
        returning[path] = (function, token)
    }

    /// From losing a device to finding it again, as long as a renumeration takes.
    private static let restartTime = Duration.seconds(1)

    private func remove(_ slot: USBSlot) {
        slot.disconnect()
        slots.removeAll { $0 === slot }
        announce(.left(slot.summary.id, at: context.now))
    }

    private func announce(_ event: USBHostEvent) {
        for index in listeners.indices { listeners[index].send(event) }
        listeners.removeAll(where: \.isFinished)
    }

    private static func summary(
        id: USBDeviceID, controller: USBDeviceController, access: USBAccess
    ) -> USBDeviceSummary {
        let shown = controller.function.descriptors.variant(at: controller.speed)
        let device = shown.device
        func word(_ offset: Int) -> UInt16 {
            device.count > offset + 1 ? UInt16(device[offset]) | UInt16(device[offset + 1]) << 8 : 0
        }
        func string(_ offset: Int) -> String? {
            guard device.count > offset, device[offset] != 0 else { return nil }
            let index = Int(device[offset])
            return index < shown.strings.count
                ? USBDescriptorSet.text(of: shown.strings[index]) : nil
        }
        return USBDeviceSummary(
            id: id, vendorID: word(8), productID: word(10), bcdDevice: word(12),
            classTriple: device.count > 6 ? Array(device[4...6]) : [0, 0, 0],
            speed: controller.speed, manufacturer: string(14), product: string(15),
            serial: string(16), interfaces: controller.interfaces, access: access,
            isEmulated: true)
    }

    // MARK: - USBHost

    /// The devices attached now, ordered by path.
    public func devices() async throws(USBTransferError) -> [USBDeviceSummary] {
        context.exclusively {
            slots.map { slot in
                var summary = slot.summary
                if slot.isExported { summary.access = .busy }
                return summary
            }
        }
    }

    /// Arrivals and removals from now on.
    public func events() -> AsyncStream<USBHostEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: USBHostEvent.self, bufferingPolicy: .bufferingOldest(64))
        context.exclusively { listeners.append(EventChannel(continuation)) }
        return stream
    }

    /// Opens a device.
    public func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        let (slot, isExported) = context.exclusively {
            let slot = slots.first { $0.summary.id == id }
            return (slot, slot?.isExported == true)
        }
        guard let slot else { throw .notFound("device \(id)") }
        if isExported { throw .busy(holder: USBSlot.importer) }
        if case .permissionDenied(let node) = slot.summary.access {
            throw .accessDenied(node: node)
        }
        return EmulatedUSBDevice(context: context, slot: slot)
    }
}

// MARK: - Export

extension EmulatedUSBHost {
    /// The devices that a host elsewhere could be given now, ordered by path.
    public func exportable() -> [USBExportIdentity] {
        context.exclusively {
            slots.filter { !$0.isClaimed && !$0.isExported }.compactMap(\.identity)
        }
    }

    /// Hands the device at `path` to a host elsewhere, after a reset.
    ///
    /// - Parameter onUnplug: called once if the device leaves the bus meanwhile, under the lock of
    ///   the emulated bench: it must return soon and not call back into the bench.
    /// - Throws: `notFound` without such a device, `busy` while it is used in this process or has
    ///   been exported already.
    public func export(
        path: String, onUnplug: @escaping @Sendable () -> Void
    ) throws(USBTransferError) -> EmulatedUSBExport {
        try context.exclusively { () throws(USBTransferError) in
            guard let slot = slots.first(where: { $0.summary.id.path == path }),
                let identity = slot.identity
            else { throw .notFound("device \(path)") }
            if slot.isExported { throw .busy(holder: USBSlot.importer) }
            if slot.isClaimed { throw .busy(holder: "a session in this process") }
            let export = EmulatedUSBExport(
                context: context, slot: slot, identity: identity, onUnplug: onUnplug)
            slot.begin(export)
            return export
        }
    }
}

/// A reader of host events that may be slow.
private struct EventChannel {
    private let continuation: AsyncStream<USBHostEvent>.Continuation
    private var hasDropped = false
    private(set) var isFinished = false

    init(_ continuation: AsyncStream<USBHostEvent>.Continuation) {
        self.continuation = continuation
    }

    mutating func send(_ event: USBHostEvent) {
        if hasDropped {
            guard case .enqueued = continuation.yield(.overflowed) else { return }
            hasDropped = false
        }
        switch continuation.yield(event) {
        case .dropped: hasDropped = true
        case .terminated: isFinished = true
        default: break
        }
    }
}
