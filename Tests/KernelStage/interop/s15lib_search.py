"""S15lib, unmodified, finds its instruments by itself among the serial ports of the kernel.

It asks every tty for its name, those of other makers and the console included.
"""

import importlib.metadata

from check import Checks
from S15lib.instruments import serial_connection
from S15lib.instruments.single_photon_detector import SinglePhotonDetector
from S15lib.instruments.usb_counter_fpga import TimestampTDC1

checks = Checks(f"S15lib {importlib.metadata.version('S15lib')}")
taggers = serial_connection.search_for_serial_devices("TDC1")
checks.expect("one tagger", len(taggers) == 1 and taggers[0].startswith("/dev/ttyACM"), taggers)
detectors = serial_connection.search_for_serial_devices("SPD")
checks.expect(
    "two detectors",
    len(detectors) == 2 and all(node.startswith("/dev/ttyACM") for node in detectors), detectors)

tagger = TimestampTDC1(taggers[0])
checks.expect("mode", tagger.mode == "singles", tagger.mode)
counts = tagger.get_counts(0.2)
checks.expect("counts", len(counts) == 4 and all(99 <= c <= 101 for c in counts), counts)
times, channels = tagger.get_timestamps(1)
# The client keeps the words that only show the time, as events without a channel.
times = [time for time, channel in zip(times, channels) if channel != "0000"]
checks.expect("timestamps", abs(len(times) - 2000) < 60, len(times))
steps = {round(float(b) - float(a)) for a, b in zip(times, times[1:])}
checks.expect("every pulse 500 µs after the last", steps <= {499998, 500000, 500002}, steps)

detector = SinglePhotonDetector(detectors[0])
checks.expect("identity", "SPD" in detector.identity(), detector.identity())
detector.hvolt = 160
checks.expect("bias", detector.hvolt == 160, detector.hvolt)
detector.hvolt = 0
checks.finish()
