#!/usr/bin/env python3
"""Takes the uncompressed kernel out of a bzImage, so that the guest need not unpack it itself.

    extract_vmlinux.py VMLINUZ OUT

Layout: Documentation/x86/boot.rst of Linux, "The Real-Mode Kernel Header": setup_sects at 0x1f1,
payload_offset at 0x248, payload_length at 0x24c, the latter including the four bytes of unpacked
size that the build appends to an XZ stream.
"""
import lzma
import struct
import sys


def main():
    source, target = sys.argv[1:3]
    with open(source, "rb") as file:
        image = file.read()
    if image[0x202:0x206] != b"HdrS":
        sys.exit(f"extract_vmlinux: {source}: not a bzImage")
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start:start + length]
    if payload[:6] != b"\xfd7zXZ\0":
        sys.exit(
            f"extract_vmlinux: {source}: expected an XZ payload as in Debian 12, found one that "
            f"starts with {payload[:6].hex()}")
    kernel = lzma.LZMADecompressor().decompress(payload[:-4])
    (size,) = struct.unpack("<I", payload[-4:])
    if len(kernel) != size or kernel[:4] != b"\x7fELF":
        sys.exit(f"extract_vmlinux: {source}: expected an ELF file of {size} bytes, found other data")
    with open(target, "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    main()
