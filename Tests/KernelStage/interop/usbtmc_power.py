"""python-usbtmc, unmodified: the power meter over libusb, without the kernel's driver.

It clears the device when it opens it, checks tags, and aborts what times out.
"""

import importlib.metadata

import usb.core
import usbtmc
from check import Checks

checks = Checks(f"python-usbtmc {importlib.metadata.version('python-usbtmc')}")
meter = usbtmc.Instrument(0x1313, 0x8078)
identity = meter.ask("*IDN?")
checks.expect("identity", identity.startswith("Thorlabs,PM100D,P0000001,"), identity)
checks.expect("interrupt endpoint", meter.interrupt_in_ep is not None)
checks.expect("indicator", meter.support_pulse)
meter.pulse()
meter.write("SENS:CORR:WAV 850")
wavelength = float(meter.ask("SENS:CORR:WAV?"))
checks.expect("wavelength", wavelength == 850, wavelength)
power = float(meter.ask("MEAS:POW?"))
checks.expect("power", abs(power / 1e-6 - 1) < 0.01, power)
checks.expect("error queue", meter.ask("SYST:ERR?").startswith("+0,"))
meter.write("*IDN?")
status = meter.read_stb()
checks.expect("message available", status & 0x10, status)
checks.expect("the answer is still there", meter.read() == identity)
# Answers in parts of twelve bytes.
meter.write("*IDN?")
parts = b""
while not parts.endswith(b"\n"):
    parts += meter.read_raw(12)
checks.expect("answer in parts", parts.decode().strip() == identity, parts)
meter.timeout = 0.3
try:
    meter.read()
    checks.expect("silence ends in time", False)
except usb.core.USBError as error:
    checks.expect("silence ends in time", error.errno == 110, error)
meter.clear()
checks.expect("works after the clear", meter.ask("*OPC?") == "1")
meter.close()

detector = usbtmc.Instrument(0x1DDC, 0x0330)
detector.open()
detector.write("BIAS:VOLTAGE 160000000\n")
bias = float(detector.ask("BIAS:VOLTAGE?\n"))
checks.expect("bias of the ID120", bias == 160000000, bias)
detector.write("BIAS:VOLTAGE 0\n")
detector.close()
checks.finish()
