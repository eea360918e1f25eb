"""The emulated detector module answers PyPI S15lib, unmodified. Argument: a serial node."""

import importlib.metadata
import sys
import time

from check import Checks
from S15lib.instruments.single_photon_detector import SinglePhotonDetector

checks = Checks(f"S15lib {importlib.metadata.version('S15lib')} detector")
detector = SinglePhotonDetector(sys.argv[1])
identity = detector.identity()
checks.expect("identity", "SPD" in identity, identity)
checks.expect("bias after power-up", detector.hvolt == 0, detector.hvolt)
detector.hvolt = 160
time.sleep(0.2)
checks.expect("bias", detector.hvolt == 160, detector.hvolt)
detector.hvolt = 1000
checks.expect("bias beyond the limit is ignored", detector.hvolt == 160, detector.hvolt)
for name, value in (("threshvolt", 0.25), ("constp", 2), ("consti", 0.5), ("pvolt", 1), ("delay", 7)):
    setattr(detector, name, value)
    checks.expect(name, getattr(detector, name) == value, getattr(detector, name))
detector.settemperature = -5
checks.expect("temperature setting", detector.settemperature == -5, detector.settemperature)
detector.temp_stabilization_on()
checks.expect("loop on", detector.loop == 1, detector.loop)
checks.expect("temperature", -60 < detector.temperature < 60, detector.temperature)
counts = detector.counts(0.5)
checks.expect("counts at 10 V above breakdown", abs(counts - 5000) < 500, counts)
checks.expect("counting time", detector.time == 500, detector.time)
checks.expect("help", "hvolt" in detector.help())
detector.hvolt = 0
checks.finish()
