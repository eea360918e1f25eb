"""The emulated TDC1 answers PyPI S15lib, unmodified. Argument: a serial node.

The emulated unit sees Poisson pulses of 1000, 2000, 3000 and 4000 per second on inputs 1 to 4.
"""

import importlib.metadata
import math
import sys

import numpy
from check import Checks
from S15lib.instruments.usb_counter_fpga import TimestampTDC1

RATES = (1000, 2000, 3000, 4000)


def near(count, mean):
    """Whether a Poisson count fits its mean, at six standard deviations."""
    return abs(count - mean) < 6 * math.sqrt(mean)


checks = Checks(f"S15lib {importlib.metadata.version('S15lib')}")
unit = TimestampTDC1(sys.argv[1])
unit._com.write(b"*idn?\r\n")
identity = unit._com.readline().decode()
checks.expect("identity", "TDC1" in identity, identity)
checks.expect("mode after opening", unit.mode == "singles", unit.mode)

for mode in ("pairs", "timestamp", "singles"):
    unit.mode = mode
    checks.expect(f"mode {mode}", unit.mode == mode, unit.mode)

unit.int_time = 0.7
checks.expect("integration time", unit.int_time == 700, unit.int_time)
unit.int_time = 40
checks.expect("integration time beyond 15 bits", unit.int_time == 40000, unit.int_time)

unit.level = "TTL"
checks.expect("TTL level", float(unit.level.split()[0]) > 0, unit.level)
unit.level = "NIM"
checks.expect("NIM level", float(unit.level.split()[0]) < 0, unit.level)
unit.threshold = -0.4
checks.expect("threshold", float(unit.threshold.split()[0]) == -0.4, unit.threshold)
unit.clock = "2"
checks.expect("clock", unit.clock.strip() == b"2", unit.clock)
checks.expect("external clock", unit.eclock.strip() == b"0", unit.eclock)

counts = unit.get_counts(1)
checks.expect("four counts", len(counts) == 4, counts)
checks.expect("counts", all(near(c, r) for c, r in zip(counts, RATES)), counts)

pairs = unit.get_counts_and_coincidences(1)
checks.expect("counts and pairs", len(pairs) == 8, pairs)
checks.expect("counts with pairs", all(near(c, r) for c, r in zip(pairs, RATES)), pairs)

times, channels = unit.get_timestamps(2)
times = numpy.asarray(times, dtype=float)
checks.expect("timestamps", near(len(times), 2 * sum(RATES)), len(times))
checks.expect("timestamps in order", bool((numpy.diff(times) >= 0).all()))
span = (times[-1] - times[0]) * 1e-9
checks.expect("span across rollovers", abs(span - 2) < 0.05, span)
for index, rate in enumerate(RATES):
    pattern = format(1 << index, "04b")
    seen = sum(1 for channel in channels if channel == pattern)
    checks.expect(f"events on input {index + 1}", near(seen, 2 * rate), seen)

checks.expect("counts after a stream", len(unit.get_counts(1)) == 4)
checks.finish()
