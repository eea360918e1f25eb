"""/dev/usbtmc0 of the kernel's driver, raw and through ThorlabsPM100, unmodified.

Arguments: the node of the power meter. The light on its sensor is one microwatt at 850 nm.
"""

import errno
import fcntl
import os
import sys

from check import Checks
from ThorlabsPM100 import USBTMC, ThorlabsPM100

CLEAR = 0x5B02  # USBTMC_IOCTL_CLEAR, _IO(91, 2) of <linux/usb/tmc.h>

checks = Checks("the kernel's usbtmc")
path = sys.argv[1]
node = os.open(path, os.O_RDWR)


def ask(text):
    os.write(node, text.encode())
    return os.read(node, 4096)


identity = ask("*IDN?\n")
checks.expect("identity", identity.startswith(b"Thorlabs,PM100D,P0000001,"), identity)
checks.expect("end of the message", identity.endswith(b"\n"), identity)
# An answer longer than a packet, read in pieces: the kernel asks for each of them.
os.write(node, b"*IDN?;*IDN?;*IDN?\n")
text = b""
while not text.endswith(b"\n"):
    text += os.read(node, 20)
checks.expect("long answer", text == b";".join([identity.strip()] * 3) + b"\n", text)
checks.expect("chained", ask("SENS:CORR:WAV 850;WAV?\n") == b"8.500000E+02\n")
# Nothing to read: the driver gives up after its five seconds, and aborts by itself.
try:
    os.read(node, 100)
    checks.expect("silence ends in time", False)
except OSError as error:
    checks.expect("silence ends in time", error.errno == errno.ETIMEDOUT, error)
fcntl.ioctl(node, CLEAR)
checks.expect("works after the clear", ask("*OPC?\n") == b"1\n")
errors = ask("SYST:ERR?\n")
checks.expect("the silence is in the queue", errors.startswith(b"-420"), errors)
os.close(node)

capabilities = f"/sys/class/usbmisc/{os.path.basename(path)}/device/"
for name, value in [("interface_capabilities", "4"), ("usb488_interface_capabilities", "6")]:
    with open(capabilities + name) as file:
        found = file.read().strip()
    checks.expect(name, found == value, found)

meter = ThorlabsPM100(inst=USBTMC(device=path))
meter.sense.correction.wavelength = 850
checks.expect("wavelength", meter.sense.correction.wavelength == 850)
checks.expect("range", meter.sense.correction.maximum_wavelength == 1100)
power = meter.read
checks.expect("power", abs(power / 1e-6 - 1) < 0.01, power)
checks.finish()
