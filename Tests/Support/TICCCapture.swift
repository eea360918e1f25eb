/// What the released programs of the TAPR TICC print, byte for byte.
///
/// The .hex files of github.com/TAPR/TICC (binaries/, multi-ticc/rpi_files/), run unmodified under
/// simavr 1.6 (atmega2560, 16 MHz) with 10 kHz at the coarse clock, pulses every 100 ms at both
/// inputs and a stand-in that answers for the TDC7200 with constant registers. The EEPROM was blank
/// but for the serial number.
package enum TICCCapture {
    /// Firmware 20170309.1. It expects the inputs at other pins, so the counter was never read and
    /// the times are before zero.
    package static let of20170309 = """
        No config found.  Writing default...

        # TAPR TICC Timestamping Counter
        # Copyright 2016-2017 N8UR, K9TRV, NH6Z, WA8YWQ

        #####################
        # TICC Configuration:\u{20}
        # Measurement Mode: Timestamp
        # Poll Character: none
        # EEPROM Version: 8, Board Version: C
        # Software Version: 20170309.1
        # Board Serial Number: 1234ABCD
        # Clock Speed: 10.000000 MHz
        # Coarse tick: 100.000000 usec
        # Cal Periods: 20
        # SyncMode: M
        # Timeout: 0x05
        # Trigger Edge: R (chA), R (chB)
        # Time Dilation: 2500 (chA), 2500 (chB)
        # FIXED_TIME2: 0 (chA), 0 (chB)
        # FUDGE0: 0 (chA), 0 (chB)
        #####################
        # Type any character for config menu
        # ............................

        # timestamp (seconds)
        -0.000121040100 chA
        -0.000121040100 chB
        -0.000121040100 chA
        -0.000121040100 chB
        """.replacingLineEnds + "\r\n"

    /// Firmware 20191202.1.
    package static let of20191202 = """
        No config found.  Writing default...

        # TAPR TICC Timestamping Counter
        # Copyright 2016-2019 N8UR, K9TRV, NH6Z, WA8YWQ

        #####################
        # TICC Configuration:\u{20}
        # Measurement Mode: Timestamp
        # Poll Character: none
        # EEPROM Version: 9, Board Version: D
        # Software Version: 20191202.1
        # Board Serial Number: 1234ABCD
        # Clock Speed: 10.000000 MHz
        # Coarse tick: 100.000000 usec
        # Cal Periods: 20
        # SyncMode: M
        # Ch Names: A/B
        # PropDelay: 0 (ch0), 0 (ch1)
        # Timeout: 0x05
        # Trigger Edge: R (ch0), R (ch1)
        # Time Dilation: 2500 (ch0), 2500 (ch1)
        # FIXED_TIME2: 0 (ch0), 0 (ch1)
        # FUDGE0: 0 (ch0), 0 (ch1)
        #####################
        # Type any character for config menu
        # ............................

        # timestamp (seconds)
        0.115778959900 chA
        0.165778959900 chB
        0.215778959900 chA
        0.265778959900 chB
        0.315778959900 chA
        0.365778959900 chB
        """.replacingLineEnds + "\r\n"

    /// Firmware 20200412.1.
    package static let of20200412 = """
        No config found.  Writing default...

        # TAPR TICC Timestamping Counter
        # Copyright 2016-2020 N8UR, K9TRV, NH6Z, WA8YWQ

        #####################
        # TICC Configuration:\u{20}
        # Measurement Mode: Timestamp
        # Poll Character: none
        # EEPROM Version: 10, Board Version: D
        # Software Version: 20200412.1
        # Board Serial Number: 1234ABCD
        # Clock Speed: 10.000000 MHz
        # Coarse tick: 100.000000 usec
        # Cal Periods: 20
        # Timestamp Wrap:  0
        # SyncMode: M
        # Ch Names: A/B
        # PropDelay: 0 (ch0), 0 (ch1)
        # Timeout: 0x05
        # Trigger Edge: R (ch0), R (ch1)
        # Time Dilation: 2500 (ch0), 2500 (ch1)
        # FIXED_TIME2: 0 (ch0), 0 (ch1)
        # FUDGE0: 0 (ch0), 0 (ch1)
        #####################

        # Type any character for config menu
        # ............................

        # timestamp (seconds with 11 decimal places)
        0.11327895990 chA
        0.16327895990 chB
        0.21327895990 chA
        0.26327895990 chB
        0.31327895990 chA
        0.36327895990 chB
        """.replacingLineEnds + "\r\n"

    /// Firmware 20200412.1 with inputs that never latch the counter: times before zero.
    package static let beforeZeroOf20200412 = """
        0.-00012104010 chA
        0.-00012104010 chB
        """.replacingLineEnds + "\r\n"
}

extension String {
    /// With CR LF in place of LF.
    fileprivate var replacingLineEnds: String {
        split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
    }
}
