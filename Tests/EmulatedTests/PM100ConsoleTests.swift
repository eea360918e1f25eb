import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The language of the PM100 consoles: IEEE 488.2 and SCPI-99 by section, commands by the PM100D and
/// PM100USB manuals.
struct PM100ConsoleTests {
    private static let console = "thorlabs-pm100d"

    @Test("long and short forms, any case, nothing in between (SCPI-99 volume 1, 6.2.1)")
    func forms() throws {
        try withInstrument(Self.console) { client, _ in
            for header in [
                "SENS:CORR:WAV?", "SENSE:CORRECTION:WAVELENGTH?", "sense:corr:Wavelength?",
                "CORR:WAV?", ":SENS:CORR:WAV?", "Sense:Correction:WAVelength?",
            ] {
                #expect(try await client.ask(header) == "6.350000E+02", "\(header)")
            }
            // The PM100USB manual: CUR and CURREN are errors where CURR and CURRENT are not.
            for header in ["SENS:COR:WAV?", "SENS:CORRECT:WAV?", "SEN:CORR:WAV?"] {
                try await client.write(header)
                #expect(
                    try await client.errors() == ["-113,\"Undefined header\""], "\(header)")
            }
        }
    }

    @Test("commands of one message share the place in the tree (IEEE 488.2, A.1)")
    func chaining() throws {
        try withInstrument(Self.console) { client, _ in
            #expect(
                try await client.ask("SENS:CORR:WAV 700;WAV?;*OPC?;WAV? MIN;:SENS:AVER?")
                    == "7.000000E+02;1;4.000000E+02;1")
            // Relative to SENS:CORR there is no SENS.
            try await client.write("SENS:CORR:WAV 700;SENS:AVER 3")
            #expect(try await client.errors() == ["-113,\"Undefined header\""])
            #expect(try await client.ask("*RST; *CLS; *ESE 32; *OPC?") == "1")
        }
    }

    @Test(
        "errors by their numbers (SCPI-99 volume 2, 21.8)",
        arguments: [
            ("FOO", "-113,\"Undefined header\""), ("*FOO?", "-113,\"Undefined header\""),
            ("SENS:CORR:WAV", "-109,\"Missing parameter\""),
            ("SENS:CORR:WAV 1,2", "-108,\"Parameter not allowed\""),
            ("SENS:CORR:WAV 399", "-222,\"Data out of range\""),
            ("SENS:CORR:WAV ABC", "-104,\"Data type error\""),
            ("SENS:CORR:WAV 700 KG", "-131,\"Invalid suffix\""),
            ("SENS:POW:UNIT KG", "-224,\"Illegal parameter value\""),
            ("SENS::WAV 700", "-102,\"Syntax error\""),
            ("SENS:W$V 1", "-101,\"Invalid character\""),
            ("ABCDEFGHIJKLM", "-112,\"Program mnemonic too long\""), (";", "-102,\"Syntax error\""),
        ])
    func errors(message: String, entry: String) throws {
        try withInstrument(Self.console) { client, _ in
            try await client.write(message)
            #expect(try await client.errors().first == entry)
            #expect(try await client.ask("SENS:CORR:WAV?") == "6.350000E+02", "nothing was set")
        }
    }

    @Test("the queue is first in, first out, and says when it overflows")
    func queue() throws {
        try withInstrument(Self.console) { client, _ in
            try await client.write("SENS:CORR:WAV 1")
            for _ in 0..<20 { try await client.write("FOO") }
            let errors = try await client.errors()
            #expect(errors.count == 16)
            #expect(errors.first == "-222,\"Data out of range\"")
            #expect(errors.last == "-350,\"Queue overflow\"")
            try await client.write("FOO")
            try await client.write("*CLS")
            #expect(try await client.errors() == [])
        }
    }

    @Test("registers (IEEE 488.2, chapter 11)")
    func registers() throws {
        try withInstrument(Self.console) { client, _ in
            #expect(try await client.ask("*ESR?") == "128", "power on")
            try await client.write("FOO")
            try await client.write("SENS:CORR:WAV 1")
            #expect(try await client.ask("*STB?") == "4")
            #expect(try await client.ask("*ESE 32;*STB?") == "36")
            #expect(try await client.ask("*SRE 255;*SRE?") == "191", "bit 6 is not settable")
            #expect(try await client.ask("*ESR?") == "48", "command and execution error")
            #expect(try await client.ask("*ESR?") == "0")
            #expect(try await client.ask("*OPC;*ESR?") == "1")
        }
    }

    @Test("an answer that nobody reads is dropped (IEEE 488.2, 6.3.2.3)")
    func interrupted() throws {
        try withInstrument(Self.console) { client, _ in
            try await client.write("*IDN?")
            #expect(try await client.ask("*OPC?") == "1")
            #expect(try await client.errors() == ["-410,\"Query INTERRUPTED\""])
        }
    }

    @Test("numbers with units and names (PM100USB manual, SCPI parameter types)")
    func parameters() throws {
        try withInstrument(Self.console) { client, _ in
            try await client.write("*RST")
            #expect(try await client.ask("CORR:WAV 1.0UM;WAV?") == "1.000000E+03")
            #expect(try await client.ask("CORR:WAV 850 nm;WAV?") == "8.500000E+02")
            #expect(try await client.ask("CORR:WAV MAX;WAV?") == "1.100000E+03")
            #expect(try await client.ask("CORR:WAV DEF;WAV?") == "6.350000E+02")
            #expect(try await client.ask("POW:RANG 5 mW;RANG?") == "5.000000E-03")
            #expect(try await client.ask("POW:RANG:AUTO?") == "0", "a range ends the automatic")
            #expect(try await client.ask("POW:RANG:AUTO ON;AUTO?") == "1")
        }
    }

    @Test("light is measured, scaled by the wavelength, and over-range says so")
    func measuring() throws {
        let light = Shared(ConstantLight(power: Watts(2e-6), wavelength: Nanometres(800)))
        try withInstrument(Self.console, connection: { .powerMeter(light.value) }) {
            client, reactor in
            try await client.write("SENS:CORR:WAV 800")
            let start = reactor.now
            let power = try #require(Double(try await client.ask("MEAS:POW?")))
            #expect(abs(power / 2e-6 - 1) < 1e-3)
            #expect(reactor.now - start > .milliseconds(3), "a sample takes its time")
            #expect(Double(try await client.ask("FETC?")) == power)
            try await client.write("SENS:CORR:WAV 400")
            let wrong = try #require(Double(try await client.ask("READ?")))
            #expect(abs(wrong / 4e-6 - 1) < 1e-3)
            try await client.write("SENS:CORR:WAV 800;:SENS:POW:RANG 1E-6")
            #expect(try await client.ask("MEAS:POW?") == "9.90000000E+37")
            try await client.write("SENS:POW:RANG:AUTO 1;:SENS:POW:UNIT DBM")
            let level = try #require(Double(try await client.ask("MEAS:POW?")))
            #expect(abs(level + 26.99) < 0.01)
            #expect(try await client.errors() == [])
        }
    }

    /// What ThorlabsPM100 1.2.2 (PyPI) sends for its properties and methods, recorded from it.
    @Test("every command that ThorlabsPM100 sends for power is known")
    func commandsOfThorlabsPM100() throws {
        try withInstrument(Self.console) { client, _ in
            for query in [
                "READ?", "FETCh?", "CONFigure?", "Sense:Correction:WAVelength?",
                "Sense:Correction:WAVelength? MINimum", "Sense:Correction:WAVelength? MAXimum",
                "Sense:Average:COUNt?", "Sense:Power:Dc:Range:AUTO?",
                "Sense:Power:Dc:Range:UPPer?", "Sense:Power:Dc:Range:UPPer? MAXimum",
                "Sense:Power:Dc:UNIT?", "Sense:Correction:BEAMdiameter?", "System:Sensor:IDN?",
                "System:Error:NEXT?", "System:VERSion?", "System:LFRequency?",
                "Input:Pdiode:Filter:Lpass:STATe?", "Sense:Power:Dc:Reference:STATe?",
                "Sense:Power:Dc:Reference:value?", "Sense:Correction:Loss:Input:MAGNitude?",
                "Calibration:STRing?",
            ] {
                #expect(try await client.ask(query) != "", "\(query)")
            }
            for command in [
                "Sense:Correction:WAVelength 850", "Sense:Average:COUNt 10",
                "Sense:Power:Dc:Range:AUTO ON", "Sense:Power:Dc:UNIT DBM",
                "Configure:Scalar:POWer", "Initiate:IMMediate", "ABORt", "Measure:Scalar:POWer",
            ] {
                try await client.write(command)
                #expect(try await client.errors() == [], "\(command)")
            }
        }
    }

    @Test("the sensor's flags are those of the manual")
    func sensor() throws {
        try withInstrument(Self.console) { client, _ in
            let fields = try await client.ask("SYST:SENS:IDN?").split(separator: ",")
            #expect(fields.count == 6)
            let flags = try #require(Int(fields[5]))
            #expect(flags & 1 == 1 && flags & 32 == 32 && flags & 2 == 0)
        }
    }
}
