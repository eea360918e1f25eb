"""pyserial, unmodified: finds the serial instruments by their USB descriptors and talks to two."""

import serial
from check import Checks
from serial.tools import list_ports

checks = Checks(f"pyserial {serial.__version__}")
ports = {port.serial_number: port for port in list_ports.comports() if port.vid is not None}
expected = [
    "38000001", "75330303035351F0A020", "DD100-0001", "DK0ELL14", "MTD-0001", "PSD-0001",
    "SPD-0001", "SPD-0002", "TDC1-0019"]
checks.expect("serial numbers", sorted(ports) == expected, ports)

tagger = ports["TDC1-0019"]
checks.expect("maker", tagger.manufacturer == "S-Fifteen Instruments", tagger.manufacturer)
checks.expect("product", tagger.product == "USB Counter", tagger.product)
with serial.Serial(tagger.device, timeout=1) as port:
    port.write(b"*idn?\r\n")
    identity = port.readline()
    checks.expect("identity", b"TDC1" in identity, identity)
    # 2000 pulses a second, one input after the other.
    port.write(b"singles;time 200;counts?\r\n")
    counts = [int(count) for count in port.readline().split()]
    checks.expect("counts", len(counts) == 4 and all(99 <= c <= 101 for c in counts), counts)

paddles = ports["38000001"]
checks.expect("numbers", (paddles.vid, paddles.pid) == (0x0403, 0xFAF0), paddles.hwid)
checks.expect("kernel driver", paddles.device.startswith("/dev/ttyUSB"), paddles.device)
with serial.Serial(paddles.device, 115200, rtscts=True, timeout=2) as port:
    port.rts = True  # a pseudo-terminal refuses this; the kernel's driver passes it on
    # Thorlabs APT, MGMSG_HW_REQ_INFO to the generic USB unit; the answer has 6 + 84 bytes.
    port.write(bytes([0x05, 0x00, 0x00, 0x00, 0x50, 0x01]))
    answer = port.read(90)
    checks.expect("length of the answer", len(answer) == 90, len(answer))
    checks.expect("message", answer[:2] == b"\x06\x00", answer[:6].hex())
    number = int.from_bytes(answer[6:10], "little")
    checks.expect("serial number in the answer", number == 38000001, number)
checks.finish()
