import HostIO
import Quantities

/// A device on the emulated bus: its controller, its pipes, and who has claimed it.
final class USBSlot: @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    let context: EmulationContext
    let controller: USBDeviceController
    let summary: USBDeviceSummary
    private(set) var isGone = false
    private var claims: [UInt8: ObjectIdentifier] = [:]
    private var pipes: [USBPipe] = []
    private let timing: USBBusTiming
    private var timer: WakeTimer?
    private var controlPipe = USBControlPipe()
    private weak var export: EmulatedUSBExport?
    /// Takes the device off the bus and brings it back, when it asks for that.
    var onRenumeration: (() -> Void)?

    /// Who holds a device that is exported, as an error names it.
    static let importer = "a USB/IP client"

    init(context: EmulationContext, controller: USBDeviceController, summary: USBDeviceSummary) {
        self.context = context
        self.controller = controller
        self.summary = summary
        timing = USBBusTiming(speed: controller.speed)
        timer = WakeTimer(context: context) { [weak self] in self?.service() }
    }

    // MARK: - Claims

    func claim(_ interface: UInt8, by owner: ObjectIdentifier) throws(USBTransferError) {
        if isGone { throw .disconnected }
        if isExported { throw .busy(holder: Self.importer) }
        guard controller.interfaces.contains(where: { $0.number == interface }) else {
            throw .notFound("interface \(interface)")
        }
        switch summary.access {
        case .claimedByKernelDriver(let name): throw .busy(holder: name)
        case .busy: throw .busy(holder: "another program")
        case .available, .permissionDenied: break
        }
        if let holder = claims[interface], holder != owner {
            throw .busy(holder: "another session")
        }
        claims[interface] = owner
    }

    func release(_ interface: UInt8, by owner: ObjectIdentifier) {
        guard claims[interface] == owner else { return }
        claims[interface] = nil
        let addresses = controller.interfaces.filter { $0.number == interface }
            .flatMap(\.endpoints).map(\.address)
        for pipe in pipes where addresses.contains(pipe.endpoint.address) {
            abort(pipe, .cancelled)
        }
    }

    func releaseAll(of owner: ObjectIdentifier) {
        for interface in claims.filter({ $0.value == owner }).keys.sorted() {
            release(interface, by: owner)
        }
    }

    /// The pipe of an endpoint that belongs to an interface `owner` has claimed.
    func pipe(_ address: UInt8, for owner: ObjectIdentifier) throws(USBTransferError) -> USBPipe {
        if isGone { throw .disconnected }
        let isClaimed = controller.interfaces.contains { setting in
            claims[setting.number] == owner
                && setting.endpoints.contains { $0.address == address }
        }
        guard isClaimed, let endpoint = controller.endpoint(address) else {
            throw .notFound("endpoint \(address) in a claimed interface")
        }
        return pipe(of: endpoint)
    }

    private func pipe(of endpoint: USBEndpoint) -> USBPipe {
        if let pipe = pipes.first(where: { $0.endpoint == endpoint }) { return pipe }
        let pipe = USBPipe(endpoint: endpoint)
        pipes.append(pipe)
        pipes.sort { $0.endpoint.address < $1.endpoint.address }
        return pipe
    }

    // MARK: - Transfers

    func submit(_ transfer: USBTransfer, to pipe: USBPipe, timeout: Duration? = nil) {
        if isGone {
            transfer.error = .disconnected
            transfer.complete()
            return
        }
        if let timeout, let deadline = context.deadline(after: timeout) {
            let ended = TransferReference(transfer: transfer, pipe: pipe)
            transfer.setTimeout(
                context.schedule(at: deadline) { [weak self] in
                    self?.withdraw(
                        ended, error: .timedOut(transferred: ended.transfer.moved))
                })
        }
        pipe.submit(transfer, at: context.now)
        service()
    }

    func withdraw(_ reference: TransferReference, error: USBTransferError) {
        guard reference.pipe.withdraw(reference.transfer) else { return }
        reference.transfer.error = error
        reference.transfer.cancelTimeout(on: context.reactor)
        reference.transfer.complete()
        service()
    }

    /// Ends every pending transfer of a pipe with `error`, behind those about to complete.
    func abort(_ pipe: USBPipe, _ error: USBTransferError) {
        let transfers = pipe.withdrawAll()
        guard !transfers.isEmpty else { return }
        for transfer in transfers {
            transfer.error = error
            transfer.cancelTimeout(on: context.reactor)
        }
        let box = TransferList(transfers: transfers)
        context.schedule(at: max(context.now, pipe.busyUntil)) {
            for transfer in box.transfers { transfer.complete() }
        }
    }

    /// A control transfer; `completion` runs under the lock when it has ended.
    func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, timeout: Duration,
        completion: @escaping @Sendable (Result<[UInt8], USBTransferError>) -> Void
    ) {
        let now = context.now
        controller.function.advance(to: now)
        let outcome = controller.control(request, data: data, length: length, at: now)
        let end = timing.controlCompletion(from: now)
        switch outcome {
        case .data(let bytes):
            context.schedule(at: end) { [weak self] in
                completion(self?.isGone == false ? .success(bytes) : .failure(.disconnected))
            }
        case .stall:
            context.schedule(at: end) { completion(.failure(.stall)) }
        case .nak:
            let deadline = context.deadline(after: timeout) ?? end
            context.schedule(at: deadline) { completion(.failure(.timedOut(transferred: 0))) }
        }
        service()
    }

    /// Lets the device and every pipe do what they can do now, and sets the next appointment.
    func service() {
        guard !isGone else { return }
        let now = context.now
        controller.function.advance(to: now)
        if let function = controller.function as? any RenumeratingFunction,
            function.takeRenumeration()
        {
            onRenumeration?()
            return
        }
        serviceControlPipe(at: now)
        for pipe in pipes {
            guard let (transfer, end) = pipe.run(controller, timing: timing, at: now) else {
                continue
            }
            transfer.cancelTimeout(on: context.reactor)
            let ended = TransferReference(transfer: transfer, pipe: pipe)
            context.schedule(at: end) { [weak self] in
                ended.transfer.complete()
                self?.service()
            }
        }
        let waiting = pipes.filter { !$0.pending.isEmpty }
        let polled = waiting.filter(\.isIn).map(\.endpoint.address)
        let wake = controller.nextWake(after: now, polled: polled)
        // While the bus is occupied, nothing the device could say would be heard.
        let free = waiting.map(\.busyUntil).min() ?? now
        timer?.set(wake.map { max($0, free) })
    }

    /// Takes the device off the bus.
    func disconnect() {
        guard !isGone else { return }
        isGone = true
        timer?.set(nil)
        export?.unplugged()
        for pipe in pipes { abort(pipe, .disconnected) }
    }
}

// MARK: - Export

extension USBSlot {
    /// Whether a host elsewhere has the device.
    var isExported: Bool { export != nil }

    /// Whether somebody in this process uses it.
    var isClaimed: Bool { !claims.isEmpty }

    /// What a host elsewhere is told of it.
    var identity: USBExportIdentity? {
        USBExportIdentity(summary, configuration: controller.defaultConfiguration)
    }

    /// Hands the device over, reset and configured, as the Linux host that exports one does.
    func begin(_ export: EmulatedUSBExport) {
        self.export = export
        reset()
    }

    /// Takes the device back.
    func endExport() {
        export = nil
        for transfer in controlPipe.withdrawAll() { transfer.complete(.failure(.cancelled)) }
        for pipe in pipes { abort(pipe, .cancelled) }
        controller.busReset(at: context.now)
        service()
    }

    private func reset() {
        for pipe in pipes { abort(pipe, .disconnected) }
        controller.busReset(at: context.now)
        controller.configure(at: context.now)
    }

    /// The pipe of an endpoint of the present configuration.
    func exportedPipe(_ address: UInt8) -> USBPipe? {
        guard controller.isConfigured else { return nil }
        return controller.endpoint(address).map(pipe(of:))
    }

    func submit(_ transfer: USBControlTransfer) {
        controlPipe.submit(transfer)
        service()
    }

    func withdraw(_ transfer: USBControlTransfer) {
        guard controlPipe.withdraw(transfer) else { return }
        transfer.complete(.failure(.cancelled))
        service()
    }

    private func serviceControlPipe(at now: HostInstant) {
        if let next = controlPipe.pending.first, Self.isPortReset(next.request) {
            _ = controlPipe.withdraw(next)
            reset()
            next.complete(.success([]))
        }
        guard let (transfer, result, end) = controlPipe.run(controller, timing: timing, at: now)
        else { return }
        if case .success = result { closePipes(after: transfer.request) }
        let ended = ControlReference(transfer: transfer, result: result)
        context.schedule(at: end) { [weak self] in
            ended.transfer.complete(ended.result)
            self?.service()
        }
    }

    /// SET_FEATURE(PORT_RESET): addressed to a hub, but some hosts send it to the device instead.
    private static func isPortReset(_ request: USBControlRequest) -> Bool {
        request.requestType == 0x23 && request.request == 3 && request.value == 4
    }

    /// What is pending at an endpoint ends when its interface or the configuration is set anew.
    private func closePipes(after request: USBControlRequest) {
        switch (request.requestType, request.request) {
        case (0x00, 9):
            for pipe in pipes { abort(pipe, .disconnected) }
        case (0x01, 11):
            let number = UInt8(truncatingIfNeeded: request.index)
            let addresses = controller.interfaces.filter { $0.number == number }
                .flatMap(\.endpoints).map(\.address)
            for pipe in pipes where addresses.contains(pipe.endpoint.address) {
                abort(pipe, .disconnected)
            }
        default: break
        }
    }
}

private struct ControlReference: @unchecked Sendable {
    // @unchecked: used only under the lock of the context.
    let transfer: USBControlTransfer
    let result: Result<[UInt8], USBTransferError>
}

/// A transfer and the pipe it waits at, to be carried into a timer.
struct TransferReference: @unchecked Sendable {
    // @unchecked: used only under the lock of the context.
    let transfer: USBTransfer
    let pipe: USBPipe
}

private struct TransferList: @unchecked Sendable {
    // @unchecked: used only under the lock of the context.
    let transfers: [USBTransfer]
}
