import HostIO
import Quantities

/// One module on an Elliptec line.
struct ElliptecUnit {
    /// What `us` keeps over a loss of power.
    struct Settings: Hashable {
        var address: UInt8
        var velocity = 100
        var jogStep: Int32
        var homeOffset: Int32 = 0
        /// Forward and backward period of each motor.
        var periods: [[Int]]
    }

    /// What the module is busy with.
    struct Activity {
        /// The message that ends it; nil for moves by the handset, which end with one of their own.
        var reply: String?
        /// The axes still to be moved after the one that moves, and where to.
        var queue: [(axis: Int, target: Double)] = []
        var isHoming = false
        /// Runs until it is stopped.
        var isContinuous = false
        /// When something without motion ends, such as a search.
        var end: HostInstant?
        /// When a host that waits is told that the module is still busy.
        var tell: HostInstant?
    }

    /// Its place on the line, from 0.
    let index: Int
    /// The first of its axes.
    let firstAxis: Int
    var settings: Settings
    var saved: Settings
    /// Listens to this address as well until the next motion has ended.
    var group: UInt8?
    /// The error that the next status query reports and clears.
    var latched = 0
    var activity: Activity?
    var silentUntil: HostInstant?
    /// The counts of the drive at which the counter of a rotator shows zero.
    var zero = 0.0

    init(index: Int, firstAxis: Int, settings: Settings) {
        self.index = index
        self.firstAxis = firstAxis
        self.settings = settings
        saved = settings
    }

    func listens(to address: UInt8) -> Bool { address == group ?? settings.address }
}
