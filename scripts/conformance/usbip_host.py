"""The host side of PyPI usbip, unmodified, on the USB devices of the emulated bench.

It speaks USB/IP by itself, without a kernel. Takes the TCP port of the server.
"""

import importlib.metadata
import struct
import sys
import time

import usbip
from usbip.core import Stall
from usbip.transport import USBIP

from check import Checks

checks = Checks(f"usbip {importlib.metadata.version('usbip')}")
server = USBIP("127.0.0.1", int(sys.argv[1]))
CARD = (0x04B4, 0x1234)


def string(device, index):
    """A string descriptor as text."""
    descriptor = device.control(0x80, 6, 0x0300 | index, 0x0409, 255)
    return descriptor[2 : descriptor[0]].decode("utf-16-le")


listed = usbip.host.list_devices(server)
checks.expect("five devices", len(listed) == 5, listed)
checks.expect("bus identifiers", [d["busid"] for d in listed] == [f"1-{n}" for n in range(1, 6)])

# The time stamp card, command by command as its published reader sends them.
with usbip.open(*CARD, transport=server) as card:
    checks.expect("maker", string(card, 1) == "Centre for Quantum Technologies", string(card, 1))
    configuration = card.control(0x80, 6, 0x0200, 0, 255)
    total = struct.unpack("<H", bytes(configuration[2:4]))[0]
    checks.expect("configuration", total == len(configuration) == 0x30, configuration)
    card.control(0x01, 11, 1, 0, b"")  # SET_INTERFACE, alternate setting 1
    for command in ("03 0f 12", "03 01 04", "03 03 06", "03 04 07", "05 02 02 1e 27", "04 05 01 0a",
                    "03 07 0a", "03 09 0c", "03 13 16", "03 0b 0e", "04 0d 05 16"):
        packet = bytes.fromhex(command)
        checks.expect(command, card.bulk_out(0x01, packet) == len(packet))
    card.bulk_out(0x01, bytes.fromhex("04 10 08 1c"))
    status = card.bulk_in(0x81, 64)
    checks.expect("no overflow", bytes(status) == b"\x00", status)
    card.bulk_out(0x01, bytes.fromhex("03 0e 11"))
    card.bulk_out(0x01, bytes.fromhex("03 08 0b"))
    records = b""
    deadline = time.monotonic() + 20
    while len(records) < 8 * 200 and time.monotonic() < deadline:
        records += bytes(card.bulk_in(0x82, 16384))
    words = [struct.unpack_from("<II", records, at) for at in range(0, len(records) - 7, 8)]
    coarse = [(cv << 8 | dv >> 24) for dv, cv in words if dv or cv]
    checks.expect("two hundred records", len(coarse) >= 200, len(coarse))
    # The slow count may lag by one; time never runs back by more.
    checks.expect("time goes on", all(b >= a - 1 for a, b in zip(coarse, coarse[1:])))
    card.bulk_out(0x01, bytes.fromhex("03 07 0a"))
    try:
        card.control(0xC0, 0x77, 0, 0, 4)
        checks.expect("an unknown request is refused", False)
    except Stall:
        checks.expect("an unknown request is refused", True)
    checks.expect("a device in use is not listed", len(usbip.host.list_devices(server)) == 4)
    try:
        usbip.open(busid="1-1", transport=server)
        checks.expect("a device in use is refused", False)
    except Exception as error:
        checks.expect("a device in use is refused", not isinstance(error, Stall), repr(error))

# A CDC-ACM port: line coding, then a question and its answer.
tagger = next(d for d in listed if d["busid"] == "1-2")
with usbip.open(busid=tagger["busid"], transport=server) as port:
    coding = struct.pack("<IBBB", 115200, 0, 0, 8)
    port.control(0x21, 0x20, 0, 0, coding)
    checks.expect("line coding", bytes(port.control(0xA1, 0x21, 0, 0, 7)) == coding)
    port.control(0x21, 0x22, 3, 0, b"")
    endpoints = port.control(0x80, 6, 0x0200, 0, 255)
    bulk = [endpoints[at + 2] for at in range(len(endpoints) - 6)
            if endpoints[at] == 7 and endpoints[at + 1] == 5 and endpoints[at + 3] == 2]
    out_endpoint = next(e for e in bulk if e < 0x80)
    in_endpoint = next(e for e in bulk if e >= 0x80)
    port.bulk_out(out_endpoint, b"*IDN?;")
    answer = b""
    while b"\n" not in answer:
        answer += bytes(port.bulk_in(in_endpoint, 512))
    checks.expect("identity", b"TDC1" in answer, answer)

# An FTDI bridge: two status bytes lead every packet; the paddle controller tells its name.
paddles = next(d for d in listed if d["idVendor"] == 0x0403)
with usbip.open(busid=paddles["busid"], transport=server) as bridge:
    bridge.control(0x40, 0, 0, 0, b"")
    bridge.control(0x40, 3, 0x001A, 0, b"")  # 115200 baud
    bridge.control(0x40, 9, 2, 0, b"")  # latency timer 2 ms
    checks.expect("latency timer", bytes(bridge.control(0xC0, 10, 0, 0, 1)) == b"\x02")
    bridge.control(0x40, 1, 0x0303, 0, b"")
    bridge.control(0x40, 2, 0, 0x0100, b"")
    bridge.bulk_out(0x02, bytes.fromhex("05 00 00 00 50 01"))
    frame, packets, deadline = b"", 0, time.monotonic() + 20
    while len(frame) < 90 and time.monotonic() < deadline:
        packet = bytes(bridge.bulk_in(0x81, 64))
        packets += 1
        checks.expect("status bytes", len(packet) >= 2 and packet[0] & 0x0F == 1, packet)
        frame += packet[2:]
    checks.expect("HW_GET_INFO", frame[:6] == bytes.fromhex("06 00 54 00 81 50"), frame[:6])
    checks.expect("more than one packet", packets >= 2, packets)

# Everything is to be had again.
for device in listed:
    with usbip.open(busid=device["busid"], transport=server) as again:
        checks.expect("opened again", again.device_descriptor is not None)
checks.finish()
