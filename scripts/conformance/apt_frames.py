"""Our APT frames equal those of PyPI thorlabs-apt-protocol.

Argument: a file with one frame per line, `call<TAB>hexadecimal bytes`, where the call is the name
of the package's function with its arguments after destination and source, such as
`mot_move_absolute(4, 685)`.
"""

import importlib.metadata
import re
import sys

import thorlabs_apt_protocol as apt
from check import Checks

DEVICE, HOST = 0x50, 0x01
CALL = re.compile(r"(\w+)(?:\(([-\d, ]*)\))?")

checks = Checks(f"thorlabs-apt-protocol {importlib.metadata.version('thorlabs-apt-protocol')}")
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        call, _, ours = line.rstrip("\n").partition("\t")
        match = CALL.fullmatch(call)
        function = getattr(apt, match[1], None) if match else None
        if function is None:
            checks.expect(call, False, "the package has no such function")
            continue
        arguments = [int(number) for number in re.findall(r"-?\d+", match[2] or "")]
        theirs = function(DEVICE, HOST, *arguments)
        checks.expect(call, theirs.hex() == ours, f"ours {ours}, theirs {theirs.hex()}")
checks.finish()
