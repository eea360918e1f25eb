"""The emulated DD-100-MC passes the driver of PyPI pylablib, unmodified. Argument: a serial node."""

import importlib.metadata
import sys

from check import Checks
from pylablib.devices import OZOptics

checks = Checks(f"pylablib {importlib.metadata.version('pylablib')} DD100")
attenuator = OZOptics.DD100((sys.argv[1], 9600))
low = attenuator.get_min_attenuation()
high = attenuator.get_max_attenuation()
checks.expect("range", 0 < low < high, (low, high))
attenuator.home()
found = attenuator.get_attenuation()
checks.expect("home is the insertion loss", abs(found - low) < 0.01, found)
for decibels in (high, 12.5, 33.33):
    found = attenuator.set_attenuation(decibels)
    checks.expect(f"{decibels} dB", abs(found - decibels) <= 0.01, found)
config = attenuator.get_config()
checks.expect("configuration", any(line.startswith("IL:") for line in config), config)
attenuator.close()
checks.finish()
