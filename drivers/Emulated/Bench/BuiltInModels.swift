import DeviceProfiles
import Quantities

/// An emulated instrument, by how it is attached to its host.
public enum EmulatedModel {
    /// Behind the serial bridge its profile names.
    case serial(any EmulatedSerialDevice)
    /// A USB function of its own.
    case usb(any EmulatedUSBFunction)
    /// Wired to GPIO lines when it was made.
    case wired(any FaultTarget)
}

/// Makes the models of one family of instruments.
public protocol EmulatedModelFactory: Sendable {
    /// Whether it makes models of instruments described by such a profile.
    func models(_ profile: DeviceProfile) -> Bool

    /// Makes a model, connected to the optics as `entry` says.
    ///
    /// - Throws: `MissingProfileField` when the profile lacks a fact, or does not go together with
    ///   the connection.
    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel
}

extension BenchEntry {
    /// The error of a connection that does not fit the model.
    var misconnected: MissingProfileField {
        MissingProfileField(profile: profile.id, path: "a dialect for this connection")
    }
}

/// The models that are compiled in; one line for each family.
public enum BuiltInModels {
    /// The factories, in the order they are asked.
    public static let factories: [any EmulatedModelFactory] = [
        TimestampCardModels(),
        TimetagModels(),
        TDC1Models(),
        TICCModels(),
        MPC320Models(),
        ElliptecModels(),
        SPDModels(),
        GatedDetectorModels(),
        EPCModels(),
        LCDDriverModels(),
        PicosecondDelayerModels(),
        MTD415TModels(),
        DD100Models(),
        U3Models(),
        CP2112Models(),
        ID120Models(),
        PM100Models(),
    ]
}
