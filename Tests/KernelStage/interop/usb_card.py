"""pyusb, unmodified: drives the time stamp card by the rules of its published firmware.

The pulses come every 20 µs, one input after the other (github.com/kurtsiefer/qcrypto, tp8.c and
usbtimetagio.h: a command is its length, an opcode, arguments and a sum; events have 8 bytes).
"""

import time

import usb.core
import usb.util
from check import Checks

checks = Checks(f"pyusb {usb.__version__}")
card = usb.core.find(idVendor=0x04B4, idProduct=0x1234)
checks.expect("found", card is not None)
checks.expect("release", card.bcdDevice == 0x0201, hex(card.bcdDevice))
configuration = card.get_active_configuration()
checks.expect(
    "alternate settings", [i.bAlternateSetting for i in configuration] == [0, 1], configuration)
checks.expect(
    "endpoints", [e.bEndpointAddress for e in configuration[(0, 1)]] == [0x01, 0x81, 0x82])
checks.expect("product", "Timestamp Card" in usb.util.get_string(card, card.iProduct, 0x6C))

card.set_interface_altsetting(0, 1)


def command(opcode, *arguments):
    body = bytes([len(arguments) + 3, opcode, *arguments])
    card.write(0x01, body + bytes([sum(body) & 0xFF]))


def status(index):
    command(16, index)
    return card.read(0x81, 64, 1000)[0]


checks.expect("chip revision", status(2) == 1)
command(15)  # fresh restart
command(2, 0x02, 0x1E)  # threshold, as in the published driver: 05 02 02 1e 27
command(13, 1)  # flush every 10 ms
command(14)  # start of the transfer
command(8)  # inputs on
end = time.monotonic() + 0.5
events = b""
while time.monotonic() < end:
    events += card.read(0x82, 16384, 1000).tobytes()
command(7)
command(12)
events += card.read(0x82, 65536, 1000).tobytes()
records = [int.from_bytes(events[i:i + 8], "little") for i in range(0, len(events) - 7, 8)]
records = [record for record in records if record]
# Bit masks of the detectors: bits 14 and 15 are the high ones, 16 and 17 the low ones.
inputs = [(r >> 14 & 3) << 2 | r >> 16 & 3 for r in records]
checks.expect("events in half a second", 24_000 < len(records) < 30_000, len(records))
ORDER = {8: 4, 4: 2, 2: 1, 1: 8}
faults = sum(1 for a, b in zip(inputs, inputs[1:]) if ORDER.get(a) != b)
checks.expect("no event missing", faults == 0, faults)
checks.expect("no overflow", status(8) == 0)
try:
    card.ctrl_transfer(0xC0, 0x42, 0, 0, 8)
    checks.expect("unknown request refused", False)
except usb.core.USBError as error:
    checks.expect("unknown request refused", error.errno == 32, error)
try:
    card.read(0x81, 64, 50)
    checks.expect("silence ends in time", False)
except usb.core.USBTimeoutError:
    checks.expect("silence ends in time", True)
checks.finish()
