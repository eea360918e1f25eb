import Instruments
import Quantities
import TestSupport
import Testing

/// Replies as instruments and manuals write them.
struct SCPITests {
    @Test func numbersAreDecimalAndNothingElse() {
        #expect(SCPI.Number("1.23400000E-06") == .value(1.234e-6))
        #expect(SCPI.Number("+8.500000E+02") == .value(850))
        #expect(SCPI.Number("-12") == .value(-12))
        // SCPI-99 volume 1, section 7.2.1.4.
        #expect(SCPI.Number("9.9E37") == .outOfRange)
        #expect(SCPI.Number("-9.90000000E+37") == .outOfRange)
        #expect(SCPI.Number("9.91E+37") == .notANumber)
        for text in ["", "nan", "inf", "0x10", "1e999", "1 V", "1,2", "--1", "E5"] {
            #expect(SCPI.Number(text) == nil, "\(text)")
        }
    }

    @Test func countsAreWholeAndNotNegative() {
        #expect(SCPI.count("0") == 0)
        #expect(SCPI.count("1.5E3") == 1500)
        for text in ["-1", "1.5", "1e15", "", "x"] { #expect(SCPI.count(text) == nil, "\(text)") }
    }

    @Test func errorQueueEntriesAreRead() {
        // QMI 0.54.2 expects the first; the second is SCPI-99's.
        #expect(SCPI.QueuedError("+0,\"No error\"")?.code == 0)
        let entry = SCPI.QueuedError("-113,\"Undefined header; FOO,BAR?\"")
        #expect(entry?.code == -113)
        #expect(entry?.message == "Undefined header; FOO,BAR?")
        for text in ["", "0", "x,\"y\"", "1234567,\"y\""] {
            #expect(SCPI.QueuedError(text) == nil, "\(text)")
        }
    }

    @Test func fieldsInQuotesKeepTheirCommas() {
        #expect(
            SCPI.fields("S120C, 14091621 ,\"16-Sep-2014, lab\",1,18,33")
                == ["S120C", "14091621", "16-Sep-2014, lab", "1", "18", "33"])
    }

    @Test func damagedRepliesNeverTrap() {
        var generator = SeededGenerator(seed: 42, label: "scpi replies")
        for text in ["1.23400000E-06", "-113,\"Undefined header\"", "TRUE"] {
            for _ in 0..<5000 {
                let damaged = String(
                    decoding: mutated(Array(text.utf8), using: &generator), as: UTF8.self)
                if case .value(let value) = SCPI.Number(damaged) { #expect(value.isFinite) }
                _ = SCPI.QueuedError(damaged)
                _ = SCPI.flag(damaged)
                _ = SCPI.count(damaged)
            }
        }
    }
}
