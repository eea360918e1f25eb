/// A USB function that leaves the bus by itself and comes back: after a reset of its processor, or
/// with other descriptors once it runs new firmware.
public protocol RenumeratingFunction: EmulatedUSBFunction {
    /// Whether it is about to leave the bus; asked after every step of its inner life, and false
    /// again when it has been asked.
    func takeRenumeration() -> Bool
}

extension EmulatedUSBFunction {
    /// Most devices leave the choice to the controller.
    public var dataEndpoint: UInt8? { nil }
}
