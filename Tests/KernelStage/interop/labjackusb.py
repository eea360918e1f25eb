"""What LabJackPython needs of liblabjackusb.so, on pyusb: for machines without exodriver.

`install()` puts an object in the place of the library that `ctypes.CDLL("liblabjackusb.so")` would
load. The functions have the meaning that exodriver's labjackusb.h gives them.
"""

import ctypes

import usb.core
import usb.util

VENDOR = 0x0CD5
OUT, IN = 0x01, 0x82
TIMEOUT_MS = 1000


class _Function:
    """A function of the library: takes the attributes that ctypes' functions have."""

    restype = None
    argtypes = None
    errcheck = None

    def __init__(self, body):
        self._body = body

    def __call__(self, *arguments):
        return self._body(*arguments)


def _number(value):
    return value.value if hasattr(value, "value") else value


def _buffer(reference, count):
    # LabJackPython passes byref(array).
    return (ctypes.c_ubyte * count).from_address(ctypes.addressof(reference._obj))


class Library:
    """The functions of liblabjackusb that LabJackPython calls for a U3."""

    def __init__(self):
        self._open = {}
        for name in dir(self):
            if name.startswith("_LJUSB_"):
                setattr(self, name[1:], _Function(getattr(self, name)))

    @staticmethod
    def _devices(product):
        return list(usb.core.find(find_all=True, idVendor=VENDOR, idProduct=product))

    def _LJUSB_GetDevCount(self, product):
        return len(self._devices(_number(product)))

    def _LJUSB_OpenDevice(self, number, _reserved, product):
        devices = self._devices(_number(product))
        if not 1 <= number <= len(devices):
            return None
        device = devices[number - 1]
        usb.util.claim_interface(device, 0)
        handle = id(device)
        self._open[handle] = device
        return handle

    def _LJUSB_CloseDevice(self, handle):
        # LabJackPython closes once more at exit.
        device = self._open.pop(_number(handle), None)
        if device is None:
            return
        usb.util.release_interface(device, 0)
        usb.util.dispose_resources(device)

    def _LJUSB_IsHandleValid(self, handle):
        return _number(handle) in self._open

    def _LJUSB_Write(self, handle, reference, count):
        data = bytes(_buffer(reference, count))
        return self._open[_number(handle)].write(OUT, data, TIMEOUT_MS)

    def _LJUSB_Read(self, handle, reference, count):
        data = self._open[_number(handle)].read(IN, 64, TIMEOUT_MS)[:count]
        _buffer(reference, count)[: len(data)] = list(data)
        return len(data)

    def _LJUSB_StreamTO(self, *_arguments):
        raise NotImplementedError("the emulated U3 does not stream")


def install():
    """Lets ctypes find the library, unless the real one is there."""
    load = ctypes.CDLL
    try:
        load("liblabjackusb.so")
        return
    except OSError:
        pass
    ctypes.CDLL = lambda name, *a, **k: (
        Library() if name == "liblabjackusb.so" else load(name, *a, **k))
