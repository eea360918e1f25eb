import LinkTypes
import Testing

struct SecretBytesTests {
    private struct Refusal: Error {}

    @Test func duplicatesAreIndependentOwners() {
        let secret = SecretBytes(copying: [1, 2, 3])
        let second = secret.duplicate()
        #expect(second.count == 3)
        let equal = secret.withBytes { first in second.withBytes { Array(first) == Array($0) } }
        #expect(equal)
    }

    @Test func failedInitializationThrowsOn() {
        #expect(throws: Refusal.self) {
            _ = try SecretBytes(count: 4) { (_) throws(Refusal) in throw Refusal() }
        }
    }

    @Test func provenanceNeverBecomesPhysical() {
        #expect(Provenance.device.combined(with: .emulated) == .emulated)
        #expect(Provenance.recording.combined(with: .device) == .recording)
        #expect(Provenance.device.combined(with: .device) == .device)
        #expect(Provenance.emulated.combined(with: .recording) == .emulated)
    }
}
