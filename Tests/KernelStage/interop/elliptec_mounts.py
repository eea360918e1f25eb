"""thorlabs-elliptec, unmodified: three rotation mounts on one line, behind an FT230X and ftdi_sio."""

import importlib.metadata

import thorlabs_elliptec
from check import Checks
from serial.tools import list_ports

STEP = 360 / 143360  # degrees of a count

checks = Checks(f"thorlabs-elliptec {importlib.metadata.version('thorlabs-elliptec')}")
found = [port for port in list_ports.comports() if (port.vid, port.pid) == (0x0403, 0x6015)]
checks.expect("one adapter", len(found) == 1, found)
checks.expect("its product", found[0].product == "FT230X Basic UART", found[0].product)
first = thorlabs_elliptec.ELLx(found[0], x=14, device_id=2)
mounts = [first] + [thorlabs_elliptec.ELLx(first, x=14, device_id=number) for number in (3, 8)]
for number, mount in enumerate(mounts):
    checks.expect("serial number", mount.serial_number == f"1140050{number + 1}")
    mount.home(blocking=True)
    mount.move_absolute(30.0 * (number + 1), blocking=True)
    reached = mount.get_position()
    checks.expect(f"mount {number}", abs(reached - 30 * (number + 1)) < 4 * STEP, reached)
for mount in mounts:
    mount.close()
checks.finish()
