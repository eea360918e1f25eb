"""fxload and pyusb, unmodified: from a bare FX2 to the FPGA time tagger with its records.

Expects a bare chip (04b4:8613) on the bus that takes firmware of the tagger, and pulses every 250 µs at
its first input. The image is made here: a jump, and the tagger's device descriptor, by which the
emulated chip knows it. Registers and records as in github.com/bgamari/timetag-fpga, docs.
"""

import os
import subprocess
import sys
import tempfile
import time

import usb.core
from check import Checks

checks = Checks("fxload, pyusb " + usb.__version__)


def line(address, data):
    body = bytes([len(data), address >> 8, address & 255, 0]) + bytes(data)
    return ":" + (body + bytes([-sum(body) & 255])).hex().upper()


DESCRIPTOR = bytes.fromhex("12010002ffffff40b4040410010000000001")
IMAGE = "\n".join([line(0, b"\x02\x00\x00"), line(0x3E00, DESCRIPTOR), ":00000001FF", ""])

bare = usb.core.find(idVendor=0x04B4, idProduct=0x8613)
checks.expect("bare chip", bare is not None)
if bare is None:
    checks.finish()
    sys.exit(1)
node = f"/dev/bus/usb/{bare.bus:03d}/{bare.address:03d}"
with tempfile.NamedTemporaryFile("w", suffix=".ihx", delete=False) as file:
    file.write(IMAGE)
loaded = subprocess.run(
    ["fxload", "-t", "fx2lp", "-I", file.name, "-D", node], capture_output=True, text=True)
os.unlink(file.name)
# fxload looks at the end of its last request only on some versions; what counts is what returns.
print(loaded.stderr, end="")

tagger = None
limit = time.monotonic() + 20
while tagger is None and time.monotonic() < limit:
    time.sleep(0.2)
    tagger = usb.core.find(idVendor=0x04B4, idProduct=0x1004)
checks.expect("tagger after the load", tagger is not None)
if tagger is None:
    checks.finish()
    sys.exit(1)
interface = tagger.get_active_configuration()[(0, 0)]
checks.expect(
    "endpoints", [e.bEndpointAddress for e in interface] == [0x81, 0x02, 0x86, 0x88])


def register(address, value=None):
    packet = bytes([0xAA, value is not None]) + address.to_bytes(2, "little")
    tagger.write(0x02, packet + (value or 0).to_bytes(4, "little"))
    reply = tagger.read(0x88, 512, 1000).tobytes()
    assert len(reply) == 4, reply
    return int.from_bytes(reply, "little")


register(0, 0)
tagger.ctrl_transfer(0x40, 2, 0, 0)
values = [register(address) for address in range(1, 0x50)]
checks.expect("version and clock", values[0:2] == [6, 128_000_000], values[0:2])
register(3, 4)
register(3, 0)
register(4, 15)
register(3, 3)
time.sleep(0.5)
register(3, 2)
tagger.ctrl_transfer(0x40, 1, 6, 0)
events = b""
try:
    while True:
        events += tagger.read(0x86, 512, 200).tobytes()
except usb.core.USBTimeoutError:
    pass
records = [int.from_bytes(events[i:i + 6], "big") for i in range(0, len(events) - 5, 6)]
checks.expect("first record", records[0] == 1 << 46, hex(records[0]))
checks.expect("count", register(6) == len(records), len(records))
times = [record & (1 << 36) - 1 for record in records[1:]]
gaps = {b - a for a, b in zip(times, times[1:])}
checks.expect("250 µs between pulses", len(times) > 1000 and gaps <= {31999, 32000, 32001}, gaps)
try:
    tagger.ctrl_transfer(0x40, 3, 0, 0)
    checks.expect("unknown request refused", False)
except usb.core.USBError as error:
    checks.expect("unknown request refused", error.errno == 32, error)
checks.finish()
