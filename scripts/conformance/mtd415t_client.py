"""The emulated MTD415T passes the client of github.com/nelsond/thorlabs-mtd415t, unmodified.

Arguments: a serial node, and the folder with a checkout of that repository (c53ec5c was used),
because it is in no package registry.
"""

import sys
import time

sys.path.insert(0, sys.argv[2])
from check import Checks
from thorlabs_mtd415t import MTD415TDevice
from thorlabs_mtd415t.version import __version__

checks = Checks(f"thorlabs-mtd415t {__version__}")
controller = MTD415TDevice(sys.argv[1], timeout=2)
checks.expect("identity", controller.idn.startswith("MTD415T FW"), controller.idn)
checks.expect("unique identifier", len(controller.uid) == 32, controller.uid)
controller.clear_errors()
checks.expect("no errors", controller.errors == (), controller.errors)
SETTINGS = (
    ("tec_current_limit", 0.75),
    ("status_temp_window", 0.25),
    ("status_delay", 12),
    ("critical_gain", 2.25),
    ("critical_period", 5.58),
    ("cycling_time", 0.05),
    ("p_gain", 1.2),
    ("i_gain", 0.25),
    ("d_gain", 0),
    ("temp_setpoint", 15.025),
)
for name, value in SETTINGS:
    setattr(controller, name, value)
    found = getattr(controller, name)
    checks.expect(name, abs(found - value) < 1e-9, found)
time.sleep(1)
checks.expect("cools", controller.tec_current > 0, controller.tec_current)
checks.expect("voltage", controller.tec_voltage > 0, controller.tec_voltage)
time.sleep(14)
checks.expect("regulates", abs(controller.temp - 15.025) < 0.2, controller.temp)
# The client asks a second time when a query is misunderstood, as this unit does now and then.
for _ in range(250):
    checks.expect("setpoint", controller.temp_setpoint == 15.025)
controller.save()
controller.write("L100")
answer = controller.read()
checks.expect("out of range", answer.startswith(b"value out of range (200...2000"), answer)
checks.expect("error bit", "value out of range" in controller.errors, controller.errors)
controller.clear_errors()
checks.expect("errors cleared", controller.errors == (), controller.errors)
controller.close()
checks.finish()
