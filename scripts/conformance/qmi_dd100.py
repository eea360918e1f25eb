"""The emulated DD-100-MC passes the driver of PyPI qmi, unmodified. Argument: a serial node."""

import importlib.metadata
import sys

from check import Checks
from qmi.core.context import QMI_Context
from qmi.instruments.ozoptics.dd100mc import OZOptics_DD100MC

checks = Checks(f"qmi {importlib.metadata.version('qmi')} DD-100-MC")
context = QMI_Context("conformance")
context.start()
attenuator = OZOptics_DD100MC(context, "voa", f"serial:{sys.argv[1]}:baudrate=9600")
attenuator.open()

configuration = attenuator.get_configuration_display()
checks.expect("configuration", any("ATTEN" in line for line in configuration), configuration)
attenuator.home()
position = attenuator.get_position()
checks.expect("home is step 0", position.steps == 0, position)
last = -1
for decibels in (2.0, 12.5, 33.33, 60.0):
    steps = attenuator.set_attenuation(decibels)
    position = attenuator.get_position()
    checks.expect(f"{decibels} dB", abs(position.attenuation - decibels) <= 0.01, position)
    checks.expect(f"position at {decibels} dB", position.steps == steps, (steps, position))
    checks.expect(f"more steps for {decibels} dB", steps > last, steps)
    last = steps

attenuator.close()
context.stop()
checks.finish()
