"""The emulated EPC-400 passes the EPC04 of PyPI pylablib, unmodified. Argument: a serial node."""

import importlib.metadata
import sys

from check import Checks
from pylablib.devices import OZOptics

checks = Checks(f"pylablib {importlib.metadata.version('pylablib')} EPC04")
controller = OZOptics.EPC04((sys.argv[1], 9600), timeout=2.0)


def refused(command):
    """Whether the controller answers with its error line."""
    try:
        controller.query(command)
    except OZOptics.OZOpticsError:
        return True
    return False


voltages = controller.get_voltages()
checks.expect("voltages after power-up", voltages == [0, 0, 0, 0], voltages)
for channel, voltage in enumerate((2.2, 5.0, -1.0, -0.004)):
    reached = controller.set_voltage(channel, voltage)
    checks.expect(f"channel {channel} at {voltage} V", reached == voltage, reached)
reached = controller.set_voltage(0, 0.5)  # sent with leading zeros
checks.expect("a padded number", reached == 0.5, reached)
reached = controller.step_voltage(0, -0.25)
checks.expect("a step", reached == 0.25, reached)
reached = controller.set_all_voltages([1, -2, 3, -4])
checks.expect("all voltages", reached == [1, -2, 3, -4], reached)
checks.expect("a voltage beyond the range is refused", refused("V1,5001"))
checks.expect("a channel beyond the last is refused", refused("V5,0100"))
checks.expect("a word it does not know is refused", refused("HELLO"))
checks.expect("refusals change nothing", controller.get_voltages() == [1, -2, 3, -4])

checks.expect("constant at first", controller.get_mode() == "dc", controller.get_mode())
checks.expect("scrambling", controller.set_mode("ac") == "ac")
for waveform in ("tri", "sin"):
    found = controller.set_waveform(waveform)
    checks.expect(f"waveform {waveform}", found.startswith(waveform), found)
frequencies = controller.set_all_frequencies([0, 7, 50, 100])
checks.expect("frequencies", frequencies == [0, 7, 50, 100], frequencies)
checks.expect("constant again", controller.set_mode("dc") == "dc")
controller.save_preset()
checks.expect("voltages after all that", controller.get_voltages() == [1, -2, 3, -4])
controller.close()
checks.finish()
