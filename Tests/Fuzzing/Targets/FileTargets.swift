import DeviceProfiles
import EventPipeline
import LinkTypes

/// A profile: every text is read or refused with errors that have a place in it.
func fuzzProfile(_ bytes: [UInt8]) {
    do throws(ProfileErrors) {
        let profile = try DeviceProfile(bytes: bytes, file: "fuzz.yaml")
        _ = profile.assumedFields
        _ = try ProfileCatalog([profile])
    } catch {
        precondition(!error.errors.isEmpty, "refused without a reason")
        for mistake in error.errors {
            precondition(mistake.line >= 1 && mistake.column >= 1, "\(mistake)")
        }
    }
}

/// A recording, in pieces whose size the first byte decides: what is read must not depend on them.
func fuzzRecording(_ bytes: [UInt8]) {
    guard let first = bytes.first else { return }
    let content = Array(bytes.dropFirst())
    let whole = RecordingOutcome(MemoryByteSource(content))
    let pieces = RecordingOutcome(MemoryByteSource(content, pieceSize: 1 + Int(first)))
    precondition(whole == pieces, "the outcome depends on how the file was cut")
}

/// What reading a recording to its end gives.
private struct RecordingOutcome: Equatable {
    var events = 0
    var digest: UInt64 = 0xCBF2_9CE4_8422_2325
    var error: String?

    init(_ source: MemoryByteSource) {
        do throws(RecordingError) {
            var reader = try RecordingReader(source)
            while let batch = try reader.next() {
                events += batch.tags.count
                for tag in batch.tags {
                    digest = (digest ^ tag.rawValue) &* 0x0000_0100_0000_01B3
                }
            }
        } catch {
            self.error = "\(error)"
        }
    }
}
