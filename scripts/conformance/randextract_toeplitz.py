"""Our Toeplitz hashes equal those of PyPI randextract.

Argument: a file with one hash per line, `family<TAB>n<TAB>m<TAB>seed<TAB>key<TAB>output`, the last
three as octets in hexadecimal, least significant bit first.

randextract takes element (i, j) of the matrix from seed[i - j], indices below 0 from the end, where
ours is seed[i + columns - 1 - j], so its seed is ours rotated. Its modified family has the identity
matrix on the right, where ours has it on the left.
"""

import importlib.metadata
import sys

import numpy as np
from check import Checks
from galois import GF2
from randextract import ModifiedToeplitzHashing, ToeplitzHashing


def bits(hexadecimal, count):
    """The first bits of octets, all others of which must be zero."""
    octets = np.frombuffer(bytes.fromhex(hexadecimal), dtype=np.uint8)
    values = np.unpackbits(octets, bitorder="little")
    if len(octets) != (count + 7) // 8 or values[count:].any():
        raise ValueError(f"not {count} bits")
    return values[:count]


checks = Checks(f"randextract {importlib.metadata.version('randextract')}")
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        family, n, m, seed, key, output = line.rstrip("\n").split("\t")
        n, m = int(n), int(m)
        modified = family == "modified"
        theirs = (ModifiedToeplitzHashing if modified else ToeplitzHashing)(n, m)
        seed, key, output = bits(seed, theirs.seed_length), bits(key, n), bits(output, m)
        name = f"{family} {n} to {m}"
        if modified:
            key = np.concatenate((key[m:], key[:m]))
        columns = n - m if modified else n
        if theirs.seed_length == 0:
            checks.expect(name, np.array_equal(key, output))
            continue
        seed = np.roll(seed, -(columns - 1))
        found = theirs.extract(GF2(key), GF2(seed))
        checks.expect(name, np.array_equal(np.asarray(found), output))
        if n <= 1000:
            product = theirs.to_matrix(GF2(seed)) @ GF2(key)
            checks.expect(f"{name} by its matrix", np.array_equal(np.asarray(product), output))
checks.finish()
