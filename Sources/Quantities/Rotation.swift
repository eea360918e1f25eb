/// A vector in the space of normalised Stokes parameters (s1, s2, s3).
///
/// s1 is H/V, s2 is D/A, s3 is R/L.
public struct StokesVector: Hashable, Sendable, Codable {
    /// The H/V, D/A and R/L components.
    public var s1, s2, s3: Double
    /// A vector from its three components.
    @inlinable public init(_ s1: Double, _ s2: Double, _ s3: Double) {
        self.s1 = s1
        self.s2 = s2
        self.s3 = s3
    }
    /// The zero vector.
    public static let zero = StokesVector(0, 0, 0)
    /// The scalar product.
    @inlinable public func dot(_ other: Self) -> Double {
        s1 * other.s1 + s2 * other.s2 + s3 * other.s3
    }
    /// The vector product.
    @inlinable public func cross(_ other: Self) -> Self {
        Self(
            s2 * other.s3 - s3 * other.s2, s3 * other.s1 - s1 * other.s3,
            s1 * other.s2 - s2 * other.s1)
    }
    /// The length.
    @inlinable public var norm: Double { dot(self).squareRoot() }
    /// The sum.
    @inlinable public static func + (a: Self, b: Self) -> Self {
        Self(a.s1 + b.s1, a.s2 + b.s2, a.s3 + b.s3)
    }
    /// The difference.
    @inlinable public static func - (a: Self, b: Self) -> Self {
        Self(a.s1 - b.s1, a.s2 - b.s2, a.s3 - b.s3)
    }
    /// The vector scaled by a number.
    @inlinable public static func * (a: Self, k: Double) -> Self {
        Self(a.s1 * k, a.s2 * k, a.s3 * k)
    }
    /// The component along axis 0 (s1), 1 (s2) or 2 (s3).
    @inlinable public subscript(axis: Int) -> Double {
        get { axis == 0 ? s1 : axis == 1 ? s2 : s3 }
        set {
            if axis == 0 {
                s1 = newValue
            } else if axis == 1 {
                s2 = newValue
            } else {
                s3 = newValue
            }
        }
    }
}

/// A rotation of the Poincaré sphere: what lossless polarization optics do to a Stokes vector.
///
/// Stored as a 3×3 matrix; element (r, c) is the component along axis r of the image of axis c.
public struct StokesRotation: Hashable, Sendable, Codable {
    /// The images of the three axes.
    public var column1, column2, column3: StokesVector

    /// The rotation whose columns are the images of the axes s1, s2, s3; they must be orthonormal.
    @inlinable public init(
        columns column1: StokesVector, _ column2: StokesVector, _ column3: StokesVector
    ) {
        self.column1 = column1
        self.column2 = column2
        self.column3 = column3
    }

    /// The rotation that changes nothing.
    public static let identity = StokesRotation(
        columns: StokesVector(1, 0, 0), StokesVector(0, 1, 0), StokesVector(0, 0, 1))

    /// The right-handed rotation about the direction of `vector` by its length in radians
    /// (Rodrigues' formula).
    public init(rotationVector vector: StokesVector) {
        let angle = vector.norm
        guard angle > 0 else {
            self = .identity
            return
        }
        let k = vector * (1 / angle)
        let c = cosine(angle)
        let s = sine(angle)
        func image(_ v: StokesVector) -> StokesVector {
            v * c + k.cross(v) * s + k * (k.dot(v) * (1 - c))
        }
        self.init(
            columns: image(StokesVector(1, 0, 0)), image(StokesVector(0, 1, 0)),
            image(StokesVector(0, 0, 1)))
    }

    /// A linear retarder with its fast axis at `fastAxis` from horizontal and the given
    /// retardance: a rotation about (cos 2θ, sin 2θ, 0).
    public init(retarderAt fastAxis: Radians, retardance: Radians) {
        let angle = 2 * fastAxis.rawValue
        self.init(
            rotationVector: StokesVector(cosine(angle), sine(angle), 0) * retardance.rawValue)
    }

    /// The rotation matrix element in row `row`, column `column`, each 0…2.
    @inlinable public subscript(row: Int, column: Int) -> Double {
        column == 0 ? column1[row] : column == 1 ? column2[row] : column3[row]
    }

    /// The image of a vector.
    @inlinable public static func * (r: Self, v: StokesVector) -> StokesVector {
        r.column1 * v.s1 + r.column2 * v.s2 + r.column3 * v.s3
    }

    /// The rotation `b` followed by `a`.
    @inlinable public static func * (a: Self, b: Self) -> Self {
        Self(columns: a * b.column1, a * b.column2, a * b.column3)
    }

    /// The inverse rotation.
    @inlinable public var inverse: Self {
        Self(
            columns: StokesVector(column1.s1, column2.s1, column3.s1),
            StokesVector(column1.s2, column2.s2, column3.s2),
            StokesVector(column1.s3, column2.s3, column3.s3))
    }

    /// The rotation vector of angle 0…π whose exponential is this rotation.
    public var rotationVector: StokesVector {
        let trace = column1.s1 + column2.s2 + column3.s3
        let w = StokesVector(
            column2.s3 - column3.s2, column3.s1 - column1.s3, column1.s2 - column2.s1)
        let angle = arcTangent(w.norm, trace - 1)
        if angle < 1e-12 { return w * 0.5 }
        if angle < .pi - 1e-6 { return w * (angle / w.norm) }
        // Near half a turn the antisymmetric part vanishes: read the axis off the symmetric part.
        let diagonal = [column1.s1, column2.s2, column3.s3]
        let main =
            diagonal[0] >= diagonal[1]
            ? (diagonal[0] >= diagonal[2] ? 0 : 2) : (diagonal[1] >= diagonal[2] ? 1 : 2)
        var axis = StokesVector(
            self[0, main] + self[main, 0], self[1, main] + self[main, 1],
            self[2, main] + self[main, 2])
        axis[main] = 2 * self[main, main] - trace + 1
        let unit = axis * (1 / axis.norm)
        return unit * (unit.dot(w) < 0 ? -angle : angle)
    }

    /// The nearest rotation to a drifted product, by Gram–Schmidt; keeps long products orthonormal.
    public var orthonormalized: Self {
        let a = column1 * (1 / column1.norm)
        let b0 = column2 - a * a.dot(column2)
        let b = b0 * (1 / b0.norm)
        return Self(columns: a, b, a.cross(b))
    }

    /// A rotation drawn uniformly from SO(3) (Shoemake's uniform quaternion).
    public static func random(using generator: inout some RandomNumberGenerator) -> Self {
        let u = generator.uniform()
        let a = 2 * Double.pi * generator.uniform()
        let b = 2 * Double.pi * generator.uniform()
        let (x, y) = ((1 - u).squareRoot() * sine(a), (1 - u).squareRoot() * cosine(a))
        let (z, w) = (u.squareRoot() * sine(b), u.squareRoot() * cosine(b))
        return Self(
            columns: StokesVector(
                1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)),
            StokesVector(2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)),
            StokesVector(2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)))
    }
}
