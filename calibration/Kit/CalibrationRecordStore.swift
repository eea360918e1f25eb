/// The end of the history.
public struct RecordHead: Hashable, Sendable {
    /// The sequence number of the last record; 0 when there is none.
    public var sequence: UInt64
    /// The digest of the last record; empty when there is none.
    public var hash: String
    /// A head.
    public init(sequence: UInt64, hash: String) {
        self.sequence = sequence
        self.hash = hash
    }
}

/// A store that could not do what was asked.
public enum CalibrationStoreFailure: Error, Hashable, Sendable {
    /// The record does not follow the head; nothing was written.
    case outOfOrder(expected: UInt64, found: UInt64)
    /// The record does not carry the digest of the record before; nothing was written.
    case brokenChain(expected: String, found: String)
    /// Another run is under way or waits for recovery.
    case intentPending(sequence: UInt64)
    /// Storage failed.
    case storage(String)
}

/// The append-only history of calibrations, and the one intent in force.
///
/// Both survive a crash of the process: a method returns only when its effect is durable.
public protocol CalibrationRecordStore: Sendable {
    /// The end of the history.
    func head() async throws(CalibrationStoreFailure) -> RecordHead
    /// Appends a record that must follow the head and carry its digest. There is no way to change
    /// or remove one.
    func append(_ record: CalibrationRecord) async throws(CalibrationStoreFailure)
    /// The record with a sequence number.
    func record(_ sequence: UInt64) async throws(CalibrationStoreFailure) -> CalibrationRecord?
    /// Writes the intent; fails while another is in force.
    func openIntent(_ intent: CalibrationIntent) async throws(CalibrationStoreFailure)
    /// The intent in force.
    func pendingIntent() async throws(CalibrationStoreFailure) -> CalibrationIntent?
    /// Clears the intent with that sequence number.
    func closeIntent(_ sequence: UInt64) async throws(CalibrationStoreFailure)
}

/// A history in memory, for tests and dry runs.
public actor InMemoryCalibrationRecordStore: CalibrationRecordStore {
    private let digest: @Sendable (CalibrationRecord) -> String
    private var records: [CalibrationRecord] = []
    private var intent: CalibrationIntent?

    /// An empty history that chains records by `digest`.
    public init(digest: @escaping @Sendable (CalibrationRecord) -> String) { self.digest = digest }

    /// The end of the history.
    public func head() -> RecordHead {
        RecordHead(sequence: UInt64(records.count), hash: records.last.map(digest) ?? "")
    }

    /// Appends a record that follows the head.
    public func append(_ record: CalibrationRecord) throws(CalibrationStoreFailure) {
        let head = head()
        guard record.sequence == head.sequence + 1 else {
            throw .outOfOrder(expected: head.sequence + 1, found: record.sequence)
        }
        guard record.previousHash == head.hash else {
            throw .brokenChain(expected: head.hash, found: record.previousHash)
        }
        records.append(record)
    }

    /// The record with a sequence number.
    public func record(_ sequence: UInt64) -> CalibrationRecord? {
        sequence >= 1 && sequence <= records.count ? records[Int(sequence) - 1] : nil
    }

    /// Writes the intent.
    public func openIntent(_ intent: CalibrationIntent) throws(CalibrationStoreFailure) {
        if let pending = self.intent { throw .intentPending(sequence: pending.sequence) }
        self.intent = intent
    }

    /// The intent in force.
    public func pendingIntent() -> CalibrationIntent? { intent }

    /// Clears the intent with that sequence number.
    public func closeIntent(_ sequence: UInt64) {
        if intent?.sequence == sequence { intent = nil }
    }
}
