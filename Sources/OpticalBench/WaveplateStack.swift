import Quantities

/// A stack of rotatable wave plates: the paddles of a fibre polarization controller or bulk plates.
public struct WaveplateStackConfiguration: Hashable, Sendable {
    /// The nominal retardances in the order the light passes: quarter, half, quarter wave.
    public var retardances = [Radians(.pi / 2), Radians(.pi), Radians(.pi / 2)]
    /// The relative standard deviation of the retardances, drawn once.
    public var retardanceSpread = 0.03
    /// The nominal turn of the fast axis for one turn of the mount. A fibre loop twists, so its
    /// axis turns by less than its paddle (Lefèvre, Electron. Lett. 16, 778 (1980)).
    public var gain = 1.0
    /// The standard deviation of the actual gain, drawn once for each plate.
    public var gainSpread = 0.015
    /// The standard deviation of the fast axis at mount angle zero, drawn once for each plate.
    public var offsetSpread = Radians(degrees: 0.5)
    /// The play of the mount: the plate follows only when pushed from either side of this width.
    public var play = Radians(degrees: 0.05)
    /// The mount angles at bench time zero.
    public var startAngles = [Radians(0), Radians(0), Radians(0)]

    /// Quarter-, half- and quarter-wave plate.
    public init() {}

    /// The rotation of plates without imperfections at the given mount angles, one for each plate.
    public func nominalRotation(at angles: [Radians]) -> StokesRotation {
        precondition(angles.count == retardances.count, "one mount angle for each plate")
        return zip(angles, retardances).reduce(.identity) { rotation, plate in
            StokesRotation(retarderAt: plate.0 * gain, retardance: plate.1) * rotation
        }
    }

    func validate() throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        try E.require(
            startAngles.count == retardances.count && (1...16).contains(retardances.count),
            "controller.startAngles", "1 to 16 plates with one start angle each",
            found: "\(retardances.count) plates, \(startAngles.count) angles")
        try E.requireNonNegative(retardanceSpread, "controller.retardanceSpread")
        try E.require((0.1...10).contains(gain), "controller.gain", "0.1…10", found: gain)
        try E.requireNonNegative(gainSpread, "controller.gainSpread")
        try E.requireNonNegative(offsetSpread.rawValue, "controller.offsetSpread")
        try E.requireNonNegative(play.rawValue, "controller.play")
    }
}

/// One wave plate as built.
public struct WaveplateParameters: Hashable, Sendable {
    /// The retardance.
    public var retardance: Radians
    /// The turn of the fast axis for one turn of the plate.
    public var gain: Double
    /// The fast axis at plate angle zero.
    public var offset: Radians
    /// The full width of the play between mount and plate.
    public var play: Radians

    /// A plate with the given values.
    public init(
        retardance: Radians, gain: Double = 1, offset: Radians = Radians(0),
        play: Radians = Radians(0)
    ) {
        self.retardance = retardance
        self.gain = gain
        self.offset = offset
        self.play = play
    }
}

/// Wave plates as built, and how they stand.
public struct WaveplateModel: Hashable, Sendable {
    /// The plates in the order the light passes.
    public let plates: [WaveplateParameters]
    /// The angle of every plate in its mount's scale, behind the play.
    public private(set) var plateAngles: [Radians]
    /// The rotation by the whole stack.
    public private(set) var rotation = StokesRotation.identity

    /// Plates standing at `angles`, with the play centred.
    public init(plates: [WaveplateParameters], angles: [Radians]) {
        precondition(plates.count == angles.count, "one angle for each plate")
        self.plates = plates
        plateAngles = angles
        update()
    }

    /// Turns the mount of plate `plate` to `angle`; the plate follows once the play is used up.
    public mutating func setMountAngle(_ angle: Radians, plate: Int) {
        let half = plates[plate].play.rawValue / 2
        let position = plateAngles[plate].rawValue
        let followed = min(max(position, angle.rawValue - half), angle.rawValue + half)
        if followed != position {
            plateAngles[plate] = Radians(followed)
            update()
        }
    }

    private mutating func update() {
        rotation = .identity
        for (plate, angle) in zip(plates, plateAngles) {
            let axis = angle * plate.gain + plate.offset
            rotation = StokesRotation(retarderAt: axis, retardance: plate.retardance) * rotation
        }
    }
}
