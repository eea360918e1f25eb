"""The emulated EPC-400 passes the driver of PyPI qmi, unmodified. Argument: a serial node."""

import importlib.metadata
import sys

from check import Checks
from qmi.core.context import QMI_Context
from qmi.core.exceptions import QMI_Exception
from qmi.instruments.ozoptics.epc_driver import OzOptics_EpcDriver

checks = Checks(f"qmi {importlib.metadata.version('qmi')} EPC")
context = QMI_Context("conformance")
context.start()
controller = OzOptics_EpcDriver(context, "epc", f"serial:{sys.argv[1]}:baudrate=9600")
controller.open()

controller.set_operating_mode_dc()
checks.expect("constant", controller.get_operating_mode() == "DC", controller.get_operating_mode())
for channel, millivolts in ((1, 2200), (2, 5000), (3, -1000), (4, -4)):
    controller.set_voltage(channel, millivolts)
voltages = controller.get_voltages()
checks.expect("voltages", voltages == (2200, 5000, -1000, -4), voltages)
controller.set_high(1)
controller.set_low(2)
controller.set_zero(3)
voltages = controller.get_voltages()
checks.expect("highest, lowest, zero", voltages == (5000, -5000, 0, -4), voltages)

for channel, frequency in ((1, 0), (2, 7), (3, 50), (4, 100)):
    controller.set_frequency(channel, frequency)
frequencies = controller.get_frequencies()
checks.expect("frequencies", frequencies == (0, 7, 50, 100), frequencies)
controller.set_operating_mode_ac()
checks.expect("scrambling", controller.get_operating_mode() == "AC", controller.get_operating_mode())
controller.set_waveform_type_triangle()
checks.expect("triangle", controller.get_waveform_type() == "Triangle")
controller.set_waveform_type_sine()
checks.expect("sine", controller.get_waveform_type() == "Sine")

checks.expect("holding is off at first", not controller.is_in_dc_in_ac_mode())
controller.enable_dc_in_ac_mode()
checks.expect("holding allowed", controller.is_in_dc_in_ac_mode())
before = controller.get_ac_dc_channel_status()
controller.toggle_channel_ac_dc(3)
after = controller.get_ac_dc_channel_status()
checks.expect("one channel changed", [a != b for a, b in zip(before, after)] == [False, False, True, False], after)
controller.disable_dc_in_ac_mode()
checks.expect("holding off again", not controller.is_in_dc_in_ac_mode())
controller.set_operating_mode_dc()
controller.save_to_flash()
voltages = controller.get_voltages()
checks.expect("voltages after all that", voltages == (5000, -5000, 0, -4), voltages)

# The driver checks the range itself; the controller's own refusal is seen past it.
try:
    controller._ask("V1,5001")
    checks.expect("a voltage beyond the range is refused", False)
except QMI_Exception:
    checks.expect("a voltage beyond the range is refused", True)
controller.close()
context.stop()
checks.finish()
