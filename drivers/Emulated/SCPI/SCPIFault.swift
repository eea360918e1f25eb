/// An entry of the error queue (SCPI-99 volume 2, section 21.8).
struct SCPIFault: Error, Hashable {
    let code: Int
    let text: String

    private init(_ code: Int, _ text: String) {
        self.code = code
        self.text = text
    }

    static let none = SCPIFault(0, "No error")
    static let invalidCharacter = SCPIFault(-101, "Invalid character")
    static let syntax = SCPIFault(-102, "Syntax error")
    static let dataType = SCPIFault(-104, "Data type error")
    static let parameterNotAllowed = SCPIFault(-108, "Parameter not allowed")
    static let missingParameter = SCPIFault(-109, "Missing parameter")
    static let mnemonicTooLong = SCPIFault(-112, "Program mnemonic too long")
    static let undefinedHeader = SCPIFault(-113, "Undefined header")
    static let suffixOutOfRange = SCPIFault(-114, "Header suffix out of range")
    static let invalidSuffix = SCPIFault(-131, "Invalid suffix")
    static let dataOutOfRange = SCPIFault(-222, "Data out of range")
    static let illegalValue = SCPIFault(-224, "Illegal parameter value")
    static let queueOverflow = SCPIFault(-350, "Queue overflow")
    static let inputOverrun = SCPIFault(-363, "Input buffer overrun")
    static let interrupted = SCPIFault(-410, "Query INTERRUPTED")
    static let unterminated = SCPIFault(-420, "Query UNTERMINATED")

    /// The bit of the standard event register (IEEE 488.2-1992, section 11.5.1.1).
    var eventBit: UInt8 {
        switch -code / 100 {
        case 1: 0x20
        case 2: 0x10
        case 3: 0x08
        case 4: 0x04
        default: 0
        }
    }

    /// Whether the parser gives up the rest of the message.
    var endsMessage: Bool { -code / 100 == 1 }
}
