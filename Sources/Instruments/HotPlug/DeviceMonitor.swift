import DeviceProfiles
import HostIO
import Quantities

/// How a monitor looks for changes.
public struct DeviceMonitorSettings: Hashable, Sendable {
    /// Devices are listed again at least this often: serial ports and GPIO chips send no events, and
    /// an event may get lost.
    public var interval: Duration
    /// After an event of the host devices are listed at once, and again after each of these times:
    /// node permissions and kernel drivers come a little later than the device.
    public var settling: [Duration]
    /// Settings.
    public init(
        interval: Duration = .seconds(2),
        settling: [Duration] = [.milliseconds(250), .milliseconds(1000)]
    ) {
        precondition(interval > .zero, "a monitor that never rests does nothing else")
        self.interval = interval
        self.settling = settling
    }
}

/// Watches what is plugged in: arrivals, departures and returns, with the host's time.
///
/// Events of the USB host make it look at once; what happened is told by comparing lists, so that a
/// lost or doubled event changes nothing.
public actor DeviceMonitor: DeviceReturns {
    private let registry: DriverRegistry
    private let ports: HostPorts
    private let catalog: ProfileCatalog
    private let wiring: BenchWiring
    private let settings: DeviceMonitorSettings
    private let reactor: any Reactor
    private let due: WakeUp
    private var tracker: DeviceTracker
    private var tasks: [Task<Void, Never>] = []
    private var looks: [HostInstant] = []
    private var seen: [USBDeviceID: HostInstant] = [:]
    private var accepted: [AcceptedUnit] = []
    private var waiters: [Int: WakeUp] = [:]
    private var subscribers: [Int: AsyncStream<DeviceEvent>.Continuation] = [:]
    private var nextNumber = 0
    private var isListing = false
    /// Why the devices could not be listed the last time; nil when they could.
    public private(set) var failure: String?
    /// How often the events of the host overflowed.
    public private(set) var overflows = 0

    private struct AcceptedUnit {
        var expected: DeviceUnit
        var attachment: DiscoveredDevice.Attachment
    }

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// The most events kept for a slow reader; the oldest are dropped.
    public static let eventLimit = 256
    private static let seenLimit = 1024

    /// A monitor that has not started.
    public init(
        registry: DriverRegistry, ports: HostPorts, catalog: ProfileCatalog,
        wiring: BenchWiring = BenchWiring(),
        settings: DeviceMonitorSettings = DeviceMonitorSettings()
    ) {
        self.registry = registry
        self.ports = ports
        self.catalog = catalog
        self.wiring = wiring
        self.settings = settings
        reactor = ports.reactor
        due = WakeUp(on: ports.reactor)
        tracker = DeviceTracker(catalog: catalog)
    }

    // MARK: Watching

    /// Lists the devices and begins to watch; returns what is there.
    ///
    /// - Throws: what the USB host throws; the monitor is then not running.
    public func start() async throws(USBTransferError) -> [DiscoveredDevice] {
        guard tasks.isEmpty else { return tracker.devices }
        // Before the first list, so that nothing falls between the two.
        let events = ports.usb?.events()
        let list = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
        _ = tracker.update(list, at: reactor.now)
        if let events {
            tasks.append(
                reactor.start {
                    for await event in events { await self.note(event) }
                })
        }
        tasks.append(reactor.start { await self.watch() })
        return list
    }

    /// Ends watching and the streams of events.
    public func stop() {
        for task in tasks { task.cancel() }
        tasks = []
        for number in subscribers.keys.sorted() { subscribers[number]?.finish() }
        subscribers = [:]
        wakeWaiters()
    }

    /// In a fixed order, so that a run on virtual time is the same each time.
    private func wakeWaiters() {
        for number in waiters.keys.sorted() { waiters[number]?.wake() }
    }

    /// The devices attached at the last look.
    public var devices: [DiscoveredDevice] { tracker.devices }

    /// The unit a device is.
    public func unit(of device: DiscoveredDevice) -> DeviceUnit { tracker.unit(of: device) }

    /// What happens from now on. A reader that falls behind by more than `eventLimit` events loses the
    /// oldest; `devices` always tells the present state.
    public func events() -> AsyncStream<DeviceEvent> {
        let number = takeNumber()
        let (stream, continuation) = AsyncStream.makeStream(
            of: DeviceEvent.self, bufferingPolicy: .bufferingNewest(Self.eventLimit))
        subscribers[number] = continuation
        return stream
    }

    private func takeNumber() -> Int {
        nextNumber += 1
        return nextNumber
    }

    private func note(_ event: USBHostEvent) {
        switch event {
        case .arrived(let summary, let time): seen[summary.id] = time
        case .left(let id, let time): seen[id] = time
        case .overflowed: overflows += 1
        }
        if seen.count > Self.seenLimit { seen = [:] }
        let now = reactor.now
        // Times that many events ask for are asked for once.
        looks = (looks.filter { $0 <= now } + [now] + settings.settling.map { now + $0 }).sorted()
        due.wake()
    }

    private func watch() async {
        var regular = reactor.now + settings.interval
        while !Task.isCancelled {
            let next = min(regular, looks.first ?? regular)
            if next > reactor.now, await due.wait(until: next) == .cancelled { return }
            guard min(regular, looks.first ?? regular) <= reactor.now else { continue }
            looks.removeAll { $0 <= reactor.now }
            regular = reactor.now + settings.interval
            await look()
        }
    }

    /// Lists the devices now and tells what changed.
    public func look() async {
        guard !isListing else {
            // The running look may have begun too early; another follows it.
            looks.append(reactor.now)
            due.wake()
            return
        }
        isListing = true
        defer { isListing = false }
        let list: [DiscoveredDevice]
        do throws(USBTransferError) {
            list = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
            failure = nil
        } catch {
            // What is attached is not known; nothing is said to have left because of that.
            failure = "\(error.code): \(error)"
            return
        }
        let events = tracker.update(list, at: reactor.now, seen: seen)
        for event in events {
            if let id = event.device.usb?.id { seen[id] = nil }
            for number in subscribers.keys.sorted() {
                if case .terminated = subscribers[number]?.yield(event) {
                    subscribers[number] = nil
                }
            }
        }
        let attached = Set(list.map(\.attachment))
        accepted.removeAll { !attached.contains($0.attachment) }
        if !events.isEmpty { wakeWaiters() }
    }

    // MARK: Returns

    /// Accepts the device at `address`, which was reported as `replaced`, in the place of the unit
    /// that was expected. Returns false when it stands in no unit's place.
    public func accept(_ address: DeviceAddress) -> Bool {
        guard let device = tracker.devices.first(where: { $0.address == address }) else {
            return false
        }
        let unit = tracker.unit(of: device)
        guard let absence = tracker.absences.last(where: { $0.unit.isClaimed(by: unit) }),
            tracker.accept(address)
        else { return false }
        accepted.append(AcceptedUnit(expected: absence.unit, attachment: device.attachment))
        wakeWaiters()
        return true
    }

    /// Whether `unit` is attached, as far as the last look told.
    public func isAttached(_ unit: DeviceUnit) -> Bool {
        tracker.devices.contains { unit.differences(of: tracker.unit(of: $0)).isEmpty }
    }

    /// Waits until `unit` is attached and ready, or another was accepted in its place.
    public func waitForReturn(
        of unit: DeviceUnit, until deadline: HostInstant
    ) async -> DeviceReturnOutcome {
        let number = takeNumber()
        let waiter = WakeUp(on: reactor)
        waiters[number] = waiter
        defer { waiters[number] = nil }
        while true {
            if let device = candidate(for: unit) { return .returned(device) }
            guard reactor.now < deadline, !tasks.isEmpty else { return absence(of: unit) }
            if await waiter.wait(until: deadline) == .cancelled { return .cancelled }
        }
    }

    private func candidate(for unit: DeviceUnit) -> DiscoveredDevice? {
        tracker.devices.first { device in
            guard device.availability == .ready else { return false }
            return unit.differences(of: tracker.unit(of: device)).isEmpty
                || accepted.contains {
                    $0.expected == unit && $0.attachment == device.attachment
                }
        }
    }

    /// What stands in the way of a unit that did not return in time.
    private func absence(of unit: DeviceUnit) -> DeviceReturnOutcome {
        for device in tracker.devices {
            let found = tracker.unit(of: device)
            guard unit.isClaimed(by: found) else { continue }
            let differences = unit.differences(of: found)
            if !differences.isEmpty { return .replaced(device, differences) }
            return .unusable(device)
        }
        return .absent
    }
}
