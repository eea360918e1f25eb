"""The emulated quad LCD driver answers PyPI S15lib, unmodified. Argument: a serial node."""

import importlib.metadata
import sys
import time

from check import Checks
from S15lib.instruments.lcr_driver import LCRDriver

checks = Checks(f"S15lib {importlib.metadata.version('S15lib')} LCD driver")
driver = LCRDriver(sys.argv[1])
checks.expect("identity", LCRDriver.DEVICE_IDENTIFIER in driver.identity, driver.identity)
driver.all_channels_on()
for channel, voltage in ((1, 0.9), (2, 5.5), (3, 1.234), (4, 0)):
    driver.set_voltage(channel, voltage)
    found = driver.read_voltage(channel)
    checks.expect(f"channel {channel} at {voltage} V", found == voltage, found)
for channel in (1, 2, 3, 4):
    setattr(driver, f"V{channel}", 1 + channel / 2)
found = [driver.V1, driver.V2, driver.V3, driver.V4]
checks.expect("all four by name", found == [1.5, 2.0, 2.5, 3.0], found)
driver.V1 = 12  # the property, unlike set_voltage, sends what it is given
checks.expect("a voltage beyond the range is ignored", driver.V1 == 1.5, driver.V1)
checks.expect("help", "AMPLITUDE" in driver.help())
driver.reset()  # sent without an end; the next request ends it
time.sleep(0.05)
driver._com.write(b"\r\n")
found = [driver.V1, driver.V2, driver.V3, driver.V4]
checks.expect("zero after a reset", found == [0, 0, 0, 0], found)
checks.finish()
