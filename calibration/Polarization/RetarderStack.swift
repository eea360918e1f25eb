import Quantities

/// A polarization controller as a product of linear retarders, with what is uncertain about it.
///
/// Two kinds of element cover the devices in use: a plate of fixed retardance turned by its mount
/// (Thorlabs MPC220/MPC320 and fibre paddles), and a retarder of fixed axis whose retardance
/// follows a voltage (squeezers, liquid crystals). Each has three numbers that differ between the
/// data sheet and the bench: its fixed property, and gain and offset of the driven one.
public struct RetarderStack: Hashable, Sendable, Codable {
    /// What a setting drives.
    public enum ElementKind: String, Hashable, Sendable, Codable {
        /// The setting turns the fast axis; the retardance is fixed.
        case rotatingPlate
        /// The setting changes the retardance; the fast axis is fixed.
        case variableRetarder
    }

    /// One retarder.
    public struct Element: Hashable, Sendable, Codable {
        /// What the setting drives.
        public var kind: ElementKind
        /// Retardance of a rotating plate, or fast-axis angle of a variable retarder, in radians.
        public var fixedAngle: Double
        /// Radians of the driven angle for one unit of setting.
        public var gain: Double
        /// The driven angle at setting zero, in radians.
        public var offset: Double
        /// The smallest setting of the device.
        public var lowerLimit: Double
        /// The largest setting of the device.
        public var upperLimit: Double
        /// The standard deviation of `fixedAngle` before any measurement, in radians.
        public var fixedAngleDeviation: Double
        /// The standard deviation of `gain` before any measurement.
        public var gainDeviation: Double
        /// The standard deviation of `offset` before any measurement, in radians.
        public var offsetDeviation: Double

        /// An element with its nominal values, its range and how far it may be from nominal.
        public init(
            kind: ElementKind, fixedAngle: Double, gain: Double = 1, offset: Double = 0,
            range: ClosedRange<Double>, fixedAngleDeviation: Double, gainDeviation: Double,
            offsetDeviation: Double
        ) {
            self.kind = kind
            self.fixedAngle = fixedAngle
            self.gain = gain
            self.offset = offset
            lowerLimit = range.lowerBound
            upperLimit = range.upperBound
            self.fixedAngleDeviation = fixedAngleDeviation
            self.gainDeviation = gainDeviation
            self.offsetDeviation = offsetDeviation
        }

        /// The length of the range of settings.
        public var span: Double { upperLimit - lowerLimit }

        /// The rotation at a setting.
        package func rotation(at setting: Double) -> StokesRotation {
            let driven = gain * setting + offset
            switch kind {
            case .rotatingPlate:
                return StokesRotation(retarderAt: Radians(driven), retardance: Radians(fixedAngle))
            case .variableRetarder:
                return StokesRotation(retarderAt: Radians(fixedAngle), retardance: Radians(driven))
            }
        }
    }

    /// The elements in the order the light passes them.
    public var elements: [Element]

    /// A stack of the given elements, at least one.
    public init(elements: [Element]) {
        precondition(!elements.isEmpty, "a controller has at least one element")
        self.elements = elements
    }

    /// Quarter-, half- and quarter-wave plate in rotating mounts, settings in radians of the mount.
    ///
    /// `range` defaults to the 0…170° of the Thorlabs MPC320. Deviations default to 3 % of
    /// retardance, 2 % of gain and 1° of offset.
    public static func quarterHalfQuarter(
        range: ClosedRange<Double> = 0...(170 * Double.pi / 180),
        relativeRetardanceDeviation: Double = 0.03, gainDeviation: Double = 0.02,
        offsetDeviation: Double = .pi / 180
    ) -> Self {
        Self(
            elements: [0.5, 1, 0.5].map { halfTurns in
                let retardance = halfTurns * Double.pi
                return Element(
                    kind: .rotatingPlate, fixedAngle: retardance, range: range,
                    fixedAngleDeviation: retardance * relativeRetardanceDeviation,
                    gainDeviation: gainDeviation, offsetDeviation: offsetDeviation)
            })
    }

    /// Variable retarders with fast axes alternating between 0° and 45°, settings in radians of
    /// nominal retardance: fibre squeezers or liquid crystals.
    public static func alternatingRetarders(
        count: Int, range: ClosedRange<Double>, gainDeviation: Double = 0.05,
        offsetDeviation: Double = 0.1
    ) -> Self {
        Self(
            elements: (0..<count).map { index in
                Element(
                    kind: .variableRetarder, fixedAngle: index.isMultiple(of: 2) ? 0 : .pi / 4,
                    range: range, fixedAngleDeviation: 0.01, gainDeviation: gainDeviation,
                    offsetDeviation: offsetDeviation)
            })
    }

    /// The number of model parameters: fixed angle, gain and offset of every element.
    package var parameterCount: Int { 3 * elements.count }

    /// The standard deviations of the parameters before any measurement.
    package var parameterDeviations: [Double] {
        elements.flatMap { [$0.fixedAngleDeviation, $0.gainDeviation, $0.offsetDeviation] }
    }

    /// The stack with its parameters moved by `change`.
    package func adding(_ change: ArraySlice<Double>) -> Self {
        precondition(change.count == parameterCount)
        var result = self
        for index in elements.indices {
            let base = change.startIndex + 3 * index
            result.elements[index].fixedAngle += change[base]
            result.elements[index].gain += change[base + 1]
            result.elements[index].offset += change[base + 2]
        }
        return result
    }

    /// The rotation of the whole stack at `settings`, one number for each element.
    public func rotation(at settings: [Double]) -> StokesRotation {
        precondition(settings.count == elements.count, "one setting for each element")
        var product = StokesRotation.identity
        for (element, setting) in zip(elements, settings) {
            product = element.rotation(at: setting) * product
        }
        return product
    }

    /// The rotation and how it turns when settings and parameters change.
    ///
    /// A rate `a` means that a small change ε turns the stack from C to exp(ε·a)·C. For a retarder
    /// P about axis n, a change of retardance turns about n, and a turn of the axis by dθ is
    /// Rz(2dθ)·P·Rz(−2dθ), which turns about 2(ẑ − P·ẑ).
    package func linearized(
        at settings: [Double]
    ) -> (rotation: StokesRotation, settingRates: [StokesVector], parameterRates: [StokesVector]) {
        let pole = StokesVector(0, 0, 1)
        var settingRates = [StokesVector](repeating: .zero, count: elements.count)
        var parameterRates = [StokesVector](repeating: .zero, count: parameterCount)
        var after = StokesRotation.identity
        for index in elements.indices.reversed() {
            let element = elements[index]
            let setting = settings[index]
            let plate = element.rotation(at: setting)
            let driven = element.gain * setting + element.offset
            let axisAngle = 2 * (element.kind == .rotatingPlate ? driven : element.fixedAngle)
            let axis = after * StokesVector(cosine(axisAngle), sine(axisAngle), 0)
            let turn = after * ((pole - plate * pole) * 2)
            let (drivenRate, fixedRate) =
                element.kind == .rotatingPlate ? (turn, axis) : (axis, turn)
            settingRates[index] = drivenRate * element.gain
            parameterRates[3 * index] = fixedRate
            parameterRates[3 * index + 1] = drivenRate * setting
            parameterRates[3 * index + 2] = drivenRate
            after = after * plate
        }
        return (after, settingRates, parameterRates)
    }
}
