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
        for pipe in pipes { abort(pipe, .disconnected) }
    }
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
