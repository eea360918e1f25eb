import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The ID120 as its public client speaks to it.
struct ID120ModuleTests {
    private static let module = "idq-id120"

    @Test("every command of the public client is known")
    func commands() throws {
        try withInstrument(Self.module) { client, _ in
            try await client.write("*CLS")
            for query in [
                "*IDN?", "THRESHOLD:CAPABILITY?", "DEADTIME:CAPABILITY?", "BIAS:CAPABILITY?",
                "COUNTERS:INTEGRATION_TIME_CAPABILITY?", "REG:TEMP_SET_POINT_CAPABILITY?",
                "INFO:PRODUCT_NAME?", "INFO:PRODUCT_DEVELOPMENT_NAME?", "INFO:PRODUCT_DESCRIPTION?",
                "INFO:PRODUCT_SERIAL_NUMBER?", "INFO:PRODUCT_TYPE?", "INFO:PRODUCT_REVISION?",
                "INFO:APD_TYPE?", "INFO:BOARD_REVISION?", "INFO:BOARD_SERIAL_NUMBER?",
                "INFO:VENDOR_NAME?", "INFO:MANUFACTURER_NAME?", "INFO:MANUFACTURING_DATE?",
                "INFO:OUTPUT1_STANDARD?", "INFO:OUTPUT2_STANDARD?", "INFO:FIRMWARE_VERSION?",
                "INFO:CONTENT_INTEGRITY?", "INFO:BIAS_BREAKDOWN_VOLTAGE?", "OUTPUT1:POLARITY?",
                "OUTPUT2:POLARITY?", "REG:STATE?",
            ] {
                #expect(try await client.ask(query) != "", "\(query)")
            }
            // What the client reads as numbers.
            for query in [
                "THRESHOLD:VOLTAGE?", "DEADTIME:TIME?", "BIAS:VOLTAGE?",
                "COUNTERS:INTEGRATION_TIME?", "REG:TEMP_SET_POINT?", "REG:MEASURED_TEMP?",
                "COUNTERS:DETECTION_FREQ?", "COUNTERS:DETECTION_COUNT?",
            ] {
                #expect(Double(try await client.ask(query)) != nil, "\(query)")
            }
            for query in ["BIAS:ERROR_STATUS?", "REG:RUN?"] {
                #expect(["TRUE", "FALSE"].contains(try await client.ask(query)), "\(query)")
            }
            #expect(try await client.errors() == [])
        }
    }

    @Test("limits and steps are those of the public client")
    func limits() throws {
        try withInstrument(Self.module) { client, _ in
            #expect(try await client.ask("BIAS:CAPABILITY?") == "0,250000000,80000")
            #expect(try await client.ask("THRESHOLD:CAPABILITY?") == "0,1047000,500")
            #expect(try await client.ask("DEADTIME:CAPABILITY?") == "40,1000000,40")
            #expect(
                try await client.ask("COUNTERS:INTEGRATION_TIME_CAPABILITY?") == "200,100000,200")
            #expect(
                try await client.ask("REG:TEMP_SET_POINT_CAPABILITY?") == "-50000,-10000,1000")
            #expect(
                try await client.ask("BIAS:VOLTAGE 160030000;VOLTAGE?") == "160000000",
                "rounded to the step")
            try await client.write("BIAS:VOLTAGE 250000001")
            #expect(try await client.errors() == ["-222,\"Data out of range\""])
            #expect(try await client.ask("OUTPUT2:POLARITY NEGATIVE;POLARITY?") == "NEGATIVE")
            try await client.write("OUTPUT3:POLARITY NEGATIVE")
            #expect(try await client.errors() == ["-114,\"Header suffix out of range\""])
        }
    }

    @Test("it cools while it runs, and counts by windows")
    func coolingAndCounting() throws {
        try withInstrument(Self.module) { client, reactor in
            #expect(try await client.ask("REG:MEASURED_TEMP?") == "22000")
            try await client.write("REG:TEMP_SET_POINT -30000")
            try await client.write("REG:RUN TRUE")
            try await reactor.sleep(for: .seconds(4))
            let underWay = try #require(Int(try await client.ask("REG:MEASURED_TEMP?")))
            // One time constant of a first-order lag: 1/e of 52 K is left.
            #expect(abs(underWay - (-30000 + 19130)) < 200)
            try await reactor.sleep(for: .seconds(40))
            #expect(abs(try #require(Int(try await client.ask("REG:MEASURED_TEMP?"))) + 30000) < 20)
            try await client.write("BIAS:VOLTAGE 160000000")
            try await client.write("COUNTERS:INTEGRATION_TIME 1000")
            try await reactor.sleep(for: .milliseconds(2100))
            // The stand-in counts 1000 per second and volt above 150 V.
            let counts = try #require(Int(try await client.ask("COUNTERS:DETECTION_COUNT?")))
            #expect(abs(counts - 10_000) < 500)
            #expect(Int(try await client.ask("COUNTERS:DETECTION_FREQ?")) == counts)
        }
    }

    @Test("too much light switches the bias off and is told")
    func overLight() throws {
        try withInstrument(Self.module) { client, _ in
            try await client.write("BIAS:VOLTAGE 160000000")
            #expect(client.bench.inject(EmulatedFault(.overLight), into: client.serial))
            #expect(try await client.ask("BIAS:ERROR_STATUS?") == "TRUE")
            #expect(try await client.ask("BIAS:VOLTAGE?") == "0")
            try await client.write("BIAS:VOLTAGE 160000000")
            #expect(try await client.ask("BIAS:ERROR_STATUS?") == "FALSE")
        }
    }
}
