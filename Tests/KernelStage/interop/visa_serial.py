"""PyVISA with PyVISA-py, unmodified: the TDC1 as a serial VISA resource."""

import importlib.metadata
import sys

import pyvisa
from check import Checks

checks = Checks(f"PyVISA-py {importlib.metadata.version('PyVISA-py')}")
manager = pyvisa.ResourceManager("@py")
node = sys.argv[1]
resources = manager.list_resources()
checks.expect("listed", f"ASRL{node}::INSTR" in resources, resources)
tagger = manager.open_resource(
    f"ASRL{node}::INSTR", read_termination="\r\n", write_termination="\r\n", timeout=2000)
identity = tagger.query("*IDN?")
checks.expect("identity", "TDC1" in identity, identity)
checks.expect("mode", tagger.query("pairs;mode?") == "1")
counts = [int(count) for count in tagger.query("singles;time 100;counts?").split()]
checks.expect("counts", len(counts) == 4 and all(49 <= c <= 51 for c in counts), counts)
tagger.close()
checks.finish()
