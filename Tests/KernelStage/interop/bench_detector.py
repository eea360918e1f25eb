"""pyserial, unmodified, finds a detector module of the bench by its serial number and asks for its voltage.

    bench_detector.py SERIAL

The answer of a module that nothing has set yet is 0.00 (docs/attach-the-bench.md, step 6).
"""
import sys

import serial
from serial.tools import list_ports

from check import Checks

checks = Checks(f"pyserial {serial.__version__}")
ports = {port.serial_number: port for port in list_ports.comports()}
detector = ports.get(sys.argv[1])
checks.expect("the module", detector is not None, sorted(key for key in ports if key))
if detector:
    with serial.Serial(detector.device, 115200, timeout=2) as port:
        port.write(b"hvolt?;")
        answer = port.readline()
    checks.expect("its voltage", answer.strip() == b"0.00", answer)
checks.finish()
