import LinkTypes
import ProtocolCore

/// All that a node must remember about keys from one session to the next, and its form in a file.
struct NodeKeyState: ~Copyable {
    /// The unspent octets of one pool.
    struct Pool: ~Copyable {
        var consumedThrough: UInt64
        var octets: SecretBytes
        var end: UInt64 { consumedThrough + UInt64(octets.count) }

        /// Destroys the octets below `offset`.
        mutating func spend(through offset: UInt64) {
            let count = min(Int(offset - consumedThrough), octets.count)
            octets = octets.withBytes { SecretBytes(copying: $0[count...]) }
            consumedThrough = offset
        }

        mutating func append(_ more: borrowing SecretBytes) {
            let (kept, added) = (octets.count, more.count)
            octets = SecretBytes(count: kept + added) { target in
                octets.withBytes { for index in 0..<kept { target[index] = $0[index] } }
                more.withBytes { for index in 0..<added { target[kept + index] = $0[index] } }
            }
        }
    }

    let role: Role
    let hashKey: SecretBytes
    /// The pool that pads Alice's tags, and the one that pads Bob's.
    var alice: Pool
    var bob: Pool
    var lastReleased: KeyIdentifier?
    var held: AgreedKey?

    init(role: Role, preShared: consuming PreSharedKeys) {
        self.role = role
        hashKey = preShared.hashKey.duplicate()
        alice = Pool(consumedThrough: 0, octets: preShared.aliceToBob.duplicate())
        bob = Pool(consumedThrough: 0, octets: preShared.bobToAlice.duplicate())
    }

    /// A second owner, to be changed and made durable before it replaces this one.
    borrowing func duplicate() -> NodeKeyState { NodeKeyState(copying: self) }

    private init(copying other: borrowing NodeKeyState) {
        role = other.role
        hashKey = other.hashKey.duplicate()
        alice = Pool(
            consumedThrough: other.alice.consumedThrough, octets: other.alice.octets.duplicate())
        bob = Pool(
            consumedThrough: other.bob.consumedThrough, octets: other.bob.octets.duplicate())
        lastReleased = other.lastReleased
        switch other.held {
        case .some(let key): held = key.duplicate()
        case .none: held = nil
        }
    }

    mutating func release(_ key: borrowing AgreedKey) {
        alice.append(key.aliceRefill)
        bob.append(key.bobRefill)
        lastReleased = key.identifier
        held = nil
    }

    // MARK: The file

    /// "BRKN", version, role.
    private static let magic: [UInt8] = Array("BRKN".utf8)
    private static let version: UInt8 = 1

    /// The octets of the file; as secret as what they hold.
    borrowing func encoded() -> SecretBytes {
        var bytes = Self.magic + [Self.version, role.rawValue]
        func put(_ value: UInt64) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
        func put(_ secret: borrowing SecretBytes) {
            put(UInt64(secret.count))
            secret.withBytes { bytes.append(contentsOf: $0) }
        }
        bytes.reserveCapacity(
            1024 + alice.octets.count + bob.octets.count + Self.octets(of: held))
        put(hashKey)
        put(alice.consumedThrough)
        put(alice.octets)
        put(bob.consumedThrough)
        put(bob.octets)
        bytes += lastReleased?.octets ?? [UInt8](repeating: 0, count: 16)
        switch held {
        case .none: bytes.append(0)
        case .some(let key):
            bytes.append(1)
            bytes += key.identifier.octets
            bytes.append(key.provenance.number)
            put(key.key)
            put(key.aliceOffset)
            put(key.aliceRefill)
            put(key.bobOffset)
            put(key.bobRefill)
        }
        bytes += SHA256.digest(of: bytes)
        defer { bytes.erase() }
        return SecretBytes(copying: bytes)
    }

    private static func octets(of key: borrowing AgreedKey?) -> Int {
        switch key {
        case .some(let key): key.key.count + 256
        case .none: 0
        }
    }

    /// Reads a file; the reason when it is none.
    static func decode(
        _ file: borrowing SecretBytes
    ) throws(NodeKeyStateError) -> NodeKeyState {
        let result = file.withBytes { bytes -> Result<NodeKeyParcel, NodeKeyStateError> in
            var reader = Reader(bytes: bytes)
            do throws(NodeKeyStateError) {
                return .success(NodeKeyParcel(try NodeKeyState(from: &reader)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get().open()
    }

    private init(from reader: inout Reader) throws(NodeKeyStateError) {
        let role = try Self.header(&reader)
        let hashKey = try reader.secret()
        let alice = Pool(consumedThrough: try reader.integer(), octets: try reader.secret())
        let bob = Pool(consumedThrough: try reader.integer(), octets: try reader.secret())
        let last = try reader.name()
        let held = try reader.octet() == 1 ? try AgreedKey(from: &reader) : nil
        self.role = role
        self.hashKey = hashKey
        self.alice = alice
        self.bob = bob
        self.held = held
        lastReleased = last.octets.allSatisfy { $0 == 0 } ? nil : last
    }

    /// Checks checksum, magic and version, leaves the reader at the fields, and returns the role.
    private static func header(_ reader: inout Reader) throws(NodeKeyStateError) -> Role {
        guard reader.bytes.count > 38 + 16 else {
            throw .malformed("a file of \(reader.bytes.count) octets is too short")
        }
        let body = UnsafeBufferPointer(rebasing: reader.bytes.dropLast(32))
        guard SHA256.digest(of: body) == Array(reader.bytes.suffix(32)) else {
            throw .malformed("the checksum at its end does not fit")
        }
        reader = Reader(bytes: body)
        guard try reader.take(4).withBytes({ Array($0) }) == magic else {
            throw .malformed("it does not begin with BRKN")
        }
        let found = try reader.octet()
        guard found == version else {
            throw .malformed("it is of version \(found), expected \(version)")
        }
        guard let role = Role(rawValue: try reader.octet()) else {
            throw .malformed("it names no end of a link")
        }
        return role
    }

    /// Takes little-endian fields off the file.
    fileprivate struct Reader {
        let bytes: UnsafeBufferPointer<UInt8>
        var position = 0

        mutating func take(_ count: Int) throws(NodeKeyStateError) -> SecretBytes {
            guard count >= 0, count <= bytes.count - position else {
                throw .malformed("it ends in the middle of a field at octet \(position)")
            }
            defer { position += count }
            return SecretBytes(copying: bytes[position..<position + count])
        }

        mutating func octet() throws(NodeKeyStateError) -> UInt8 {
            try take(1).withBytes { $0[0] }
        }

        mutating func integer() throws(NodeKeyStateError) -> UInt64 {
            try take(8).withBytes { octets in
                octets.reversed().reduce(0) { $0 << 8 | UInt64($1) }
            }
        }

        mutating func secret() throws(NodeKeyStateError) -> SecretBytes {
            try take(Int(clamping: try integer()))
        }

        mutating func name() throws(NodeKeyStateError) -> KeyIdentifier {
            let octets = try take(16).withBytes { Array($0) }
            guard let name = KeyIdentifier(octets: octets) else { throw .malformed("no name") }
            return name
        }
    }
}

extension AgreedKey {
    fileprivate init(from reader: inout NodeKeyState.Reader) throws(NodeKeyStateError) {
        let identifier = try reader.name()
        guard let provenance = Provenance(number: try reader.octet()) else {
            throw .malformed("the key it holds has no provenance")
        }
        let key = try reader.secret()
        let aliceOffset = try reader.integer()
        let aliceRefill = try reader.secret()
        let bobOffset = try reader.integer()
        let bobRefill = try reader.secret()
        self.init(
            identifier: identifier, provenance: provenance, key: key, aliceRefill: aliceRefill,
            aliceOffset: aliceOffset, bobRefill: bobRefill, bobOffset: bobOffset)
    }
}

/// Why a file does not hold the state of a node.
enum NodeKeyStateError: Error, Hashable {
    case malformed(String)
}

/// Carries a state through a place that needs a copyable value.
private final class NodeKeyParcel {
    private var content: NodeKeyState?
    init(_ content: consuming NodeKeyState) { self.content = consume content }
    func open() -> NodeKeyState {
        guard let content = content.take() else { preconditionFailure("opened twice") }
        return content
    }
}

extension Provenance {
    fileprivate var number: UInt8 {
        switch self {
        case .device: 0
        case .emulated: 1
        case .recording: 2
        }
    }

    fileprivate init?(number: UInt8) {
        switch number {
        case 0: self = .device
        case 1: self = .emulated
        case 2: self = .recording
        default: return nil
        }
    }
}

extension [UInt8] {
    /// Overwrites the octets with zeros where they lie.
    @inline(never)
    fileprivate mutating func erase() {
        for index in indices { self[index] = 0 }
    }
}
