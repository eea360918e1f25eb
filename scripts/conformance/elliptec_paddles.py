"""The emulated ELL3 passes PyPI pylablib, unmodified. Argument: a serial node, paddles at address A."""

import importlib.metadata
import sys

from check import Checks
from pylablib.devices import Thorlabs

checks = Checks(f"pylablib {importlib.metadata.version('pylablib')}")
stage = Thorlabs.ElliptecMotor(sys.argv[1], scale="step")
checks.expect("addresses", stage.get_connected_addrs() == [10], stage.get_connected_addrs())
info = stage.get_device_info(addr=10)
checks.expect("type", info.model_no == 3 and info.pulse == 1024, info)
checks.expect("third motor", stage.get_motor_info(motor=3, addr=10).fw_freq > 70e3)


def paddles():
    """The three positions of ten bits in what pylablib takes for one number."""
    packed = int(stage.get_position(addr=10))
    return [(packed >> shift) & 0x3FF for shift in (0, 10, 20)]


stage.move_to(100 | 500 << 10 | 900 << 20, addr=10)
checks.expect("all three", paddles() == [100, 500, 900], paddles())
checks.expect("homed two", stage.home(paddles=[1, 3], addr=10))
checks.expect("the mask of homing", paddles() == [512, 500, 512], paddles())
checks.expect("homed all", stage.home(addr=10))
checks.expect("the whole mask", paddles() == [512, 512, 512], paddles())
reply = stage.query("a2", data="0064", addr=10, reply_comm="P2", reply_datalen=4)
checks.expect("one paddle", reply.data == b"0064" and paddles() == [512, 100, 512], reply)
stage.close()
checks.finish()
