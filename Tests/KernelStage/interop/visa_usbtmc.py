"""PyVISA with PyVISA-py, unmodified: power meter and detector as USB VISA resources.

The ID120 is opened as its public driver (Instrumental, spad/id120.py) opens it: line feed, 20 s.
"""

import importlib.metadata

import pyvisa
from check import Checks

checks = Checks(f"PyVISA-py {importlib.metadata.version('PyVISA-py')}, USB")
manager = pyvisa.ResourceManager("@py")
resources = manager.list_resources("USB?*::INSTR")


def resource(vendor, product):
    found = [name for name in resources if f"::{vendor}::{product}::" in name]
    checks.expect(f"{vendor}:{product} listed", len(found) == 1, resources)
    return manager.open_resource(found[0], read_termination="\n", timeout=2000)


meter = resource(0x1313, 0x8078)
identity = meter.query("*IDN?")
checks.expect("identity", identity.startswith("Thorlabs,PM100D,P0000001,"), identity)
meter.write("SENS:CORR:WAV 850")
checks.expect("wavelength", float(meter.query("SENS:CORR:WAV?")) == 850)
power = float(meter.query("MEAS:POW?"))
checks.expect("power", abs(power / 1e-6 - 1) < 0.01, power)
long_answer = meter.query(";".join(["*IDN?"] * 5))
checks.expect("long answer", long_answer == ";".join([identity] * 5), long_answer)
meter.timeout = 300
try:
    meter.read()
    checks.expect("silence ends in time", False)
except pyvisa.errors.VisaIOError as error:
    checks.expect(
        "silence ends in time", error.error_code == pyvisa.constants.StatusCode.error_timeout,
        error)
checks.expect("works after the abort", meter.query("*OPC?") == "1")
meter.close()

detector = resource(0x1DDC, 0x0330)
detector.timeout = 20000
name = detector.query("INFO:PRODUCT_NAME?")
checks.expect("product name", name == "ID120", name)
for command, value in [
    ("THRESHOLD:VOLTAGE", 250000), ("DEADTIME:TIME", 10040), ("BIAS:VOLTAGE", 160000000),
    ("COUNTERS:INTEGRATION_TIME", 1000), ("REG:TEMP_SET_POINT", -30000),
]:
    detector.write(f"{command} {value}")
    found = float(detector.query(f"{command}?"))
    checks.expect(command, found == value, found)
detector.write("BIAS:VOLTAGE 0")
checks.expect("bias error", detector.query("BIAS:ERROR_STATUS?") == "FALSE")
detector.close()
checks.finish()
