import Calibration
import Foundation
import ProtocolCore

/// SHA-256 of a calibration record in a fixed encoding, as hexadecimal digits; the chain of
/// records is built on it.
public func recordDigest(_ record: CalibrationRecord) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // A record holds only numbers, strings and arrays of them; numbers that JSON has no words for
    // are spelled out.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let data = try? encoder.encode(record) else {
        preconditionFailure("a calibration record can always be encoded")
    }
    return hexadecimal(SHA256.digest(of: Array(data)))
}

/// Two lower-case hexadecimal digits for each octet.
public func hexadecimal(_ octets: [UInt8]) -> String {
    octets.map { octet in
        let text = String(octet, radix: 16)
        return text.count == 1 ? "0" + text : text
    }.joined()
}
