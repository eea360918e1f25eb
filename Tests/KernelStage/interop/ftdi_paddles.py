"""pyftdi, unmodified: takes the paddle controller from ftdi_sio and talks to it over libusb."""

import importlib.metadata
import time

from check import Checks
from pyftdi.ftdi import Ftdi

checks = Checks(f"pyftdi {importlib.metadata.version('pyftdi')}")
bridge = Ftdi()
bridge.open(0x0403, 0xFAF0)
checks.expect("chip", bridge.ic_name.startswith("ft"), bridge.ic_name)
checks.expect("serial number", bridge.usb_dev.serial_number == "38000001")
bridge.set_baudrate(115200)
bridge.set_latency_timer(4)
checks.expect("latency timer", bridge.get_latency_timer() == 4, bridge.get_latency_timer())
bridge.set_flowctrl("hw")
bridge.set_rts(True)
bridge.purge_buffers()
bridge.write_data(bytes([0x05, 0x00, 0x00, 0x00, 0x50, 0x01]))
answer = b""
end = time.monotonic() + 2
while len(answer) < 90 and time.monotonic() < end:
    answer += bridge.read_data_bytes(90 - len(answer), 4)
checks.expect("answer", len(answer) == 90 and answer[:2] == b"\x06\x00", answer[:6].hex())
checks.expect("clear to send", bridge.get_cts())
bridge.close()
checks.finish()
