#!/usr/bin/env python3
"""Copies the Python of this machine and the packages of an environment for the guest.

    python_tree.py OUT SITE-PACKAGES

Makes OUT/lib/pythonX.Y with the standard library and site-packages, compiled, without sources and
without what no client of the stage imports. With PYTHONHOME=OUT the interpreter needs nothing else
but its own shared libraries.
"""
import compileall
import os
import shutil
import sys
import sysconfig

UNUSED = {
    "__pycache__", "test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo",
    "pip", "setuptools", "_distutils_hack", "pydoc_data", "site-packages", "dist-packages",
    "include", "f2py", "_pyinstaller",
}


def unused(folder, names):
    return [
        name for name in names
        if name in UNUSED or name.startswith("config-") or name.endswith((".a", ".h", ".pyi"))
    ]


def main():
    out, packages = sys.argv[1:3]
    standard = sysconfig.get_paths()["stdlib"]
    target = os.path.join(out, "lib", os.path.basename(standard))
    shutil.copytree(standard, target, ignore=unused)
    shutil.copytree(packages, os.path.join(target, "site-packages"), ignore=unused)
    # The guest knows no times of files: a compiled file must be good whatever its source's time.
    compiled = compileall.compile_dir(
        target, quiet=2, legacy=True, workers=0,
        invalidation_mode=compileall.py_compile.PycInvalidationMode.UNCHECKED_HASH)
    if not compiled:
        print("python_tree: some files do not compile; they stay as they are", file=sys.stderr)
    for folder, _, names in os.walk(target):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and os.path.exists(path + "c"):
                os.remove(path)


if __name__ == "__main__":
    main()
