#!/usr/bin/env python3
"""Writes an initramfs (cpio, format newc) from files of this machine, without root.

Kernel modules come with the modules they need (modprobe --show-depends), programs with the shared
libraries they need (ldd). Owners, times and inode numbers are constants, so the same files give the
same bytes.

    initramfs.py OUT --kernel-root DIR --release RELEASE --init FILE
        [--module NAME]... [--module-file FILE]... [--add SOURCE[:TARGET]]... [--link TARGET:NAME]...
        [--elf SOURCE[:TARGET]]...

--add copies a file, or a folder with everything below it; --elf does the same and strips debug
information from the copy. The order in which modules are to be loaded is written to
/lib/stage/modules.
"""
import argparse
import os
import stat
import subprocess
import sys
import tempfile

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--kernel-root", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--init", required=True)
    for name in ("--module", "--module-file", "--add", "--elf", "--link"):
        parser.add_argument(name, action="append", default=[])
    return parser.parse_args()


class Image:
    """The files by their path in the guest."""

    def __init__(self):
        self.files = {}  # path -> source on this machine
        self.texts = {}  # path -> bytes
        self.links = {}  # path -> target
        self.stripped = set()

    def add(self, source, target, strip=False):
        if os.path.isdir(source):
            for folder, _, names in sorted(os.walk(source)):
                if "__pycache__" in folder:
                    continue
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    inside = os.path.join(target, os.path.relpath(path, source))
                    self.add_file(path, inside, strip)
        else:
            self.add_file(source, target, strip)

    def add_file(self, source, target, strip):
        source = os.path.realpath(source)
        if not os.path.isfile(source):
            sys.exit(f"initramfs: {source}: no such file")
        if target in self.files:
            return
        self.files[target] = source
        with open(source, "rb") as file:
            is_elf = file.read(4) == b"\x7fELF"
        if is_elf:
            if strip:
                self.stripped.add(target)
            for library in libraries(source):
                self.add_file(library, library, strip)


def libraries(path):
    """What the dynamic linker would load, by the paths at which it looks."""
    found = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    for line in found.stdout.splitlines():
        words = line.split()
        if "not found" in line:
            sys.exit(f"initramfs: {path} needs {words[0]}, which is not on this machine")
        if "=>" in words and len(words) > 2 and words[2].startswith("/"):
            yield words[2]
        elif words and words[0].startswith("/"):
            yield words[0]


def module_closure(names, root, release):
    """Paths of the modules and of those they need, in the order of loading."""
    order = []
    environment = dict(os.environ, PATH=SEARCH)
    for name in names:
        shown = subprocess.run(
            ["modprobe", "-S", release, "-d", root, "--show-depends", name],
            capture_output=True, text=True, check=False, env=environment)
        if shown.returncode:
            sys.exit(f"initramfs: module {name}: {shown.stderr.strip()}")
        for line in shown.stdout.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in order:
                order.append(words[1])
    return order


class Archive:
    """The format newc: a header of 8-digit hexadecimal fields, the name, the data, padded to 4."""

    def __init__(self, file):
        self.file = file
        self.inode = 0
        self.size = 0

    def write(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        encoded = name.lstrip("/").encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + encoded, data):
            padded = part + bytes(-len(part) % 4)
            self.file.write(padded)
            self.size += len(padded)


def contents(image, path):
    if path in image.texts:
        return image.texts[path], 0o644
    source = image.files[path]
    mode = stat.S_IMODE(os.stat(source).st_mode) & 0o755
    if path not in image.stripped:
        with open(source, "rb") as file:
            return file.read(), mode
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, source], check=True)
        return copy.read(), mode


def main():
    options = arguments()
    image = Image()
    image.add("/bin/busybox", "/bin/busybox")
    image.files["/init"] = os.path.realpath(options.init)
    for names, strip in ((options.add, False), (options.elf, True)):
        for name in names:
            source, _, target = name.partition(":")
            image.add(source, target or source, strip)
    for link in options.link:
        target, _, name = link.partition(":")
        image.links[name] = target
    order = module_closure(options.module, options.kernel_root, options.release)
    order += options.module_file
    for path in order:
        image.files["/lib/stage/" + os.path.basename(path)] = path
    image.texts["/lib/stage/modules"] = "".join(
        os.path.basename(path) + "\n" for path in order).encode()

    folders = {"/dev", "/proc", "/sys", "/tmp", "/root", "/run", "/bin", "/sbin", "/etc", "/usr", "/usr/bin"}
    for path in (*image.files, *image.texts, *image.links):
        folder = os.path.dirname(path)
        while folder not in ("/", ""):
            folders.add(folder)
            folder = os.path.dirname(folder)
    with open(options.out + ".part", "wb") as file:
        archive = Archive(file)
        for folder in sorted(folders):
            archive.write(folder, stat.S_IFDIR | 0o755)
        archive.write("/dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        for path in sorted((*image.files, *image.texts)):
            data, mode = contents(image, path)
            archive.write(path, stat.S_IFREG | mode | (0o111 if path == "/init" else 0), data)
        for name, target in sorted(image.links.items()):
            archive.write(name, stat.S_IFLNK | 0o777, target.encode())
        archive.write("TRAILER!!!", 0)
    os.replace(options.out + ".part", options.out)
    count = len(image.files) + len(image.texts)
    print(f"{count} files, {len(order)} modules, {archive.size >> 20} MiB")


if __name__ == "__main__":
    main()
