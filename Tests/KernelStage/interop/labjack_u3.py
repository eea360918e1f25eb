"""LabJackPython, unmodified, on the emulated U3: outputs looped to inputs, lines, memory, watchdog.

LabJackPython loads liblabjackusb.so. Where exodriver is not installed, `labjackusb.py` stands in for
it: the five functions LabJackPython calls, on libusb by way of pyusb. It carries packets and knows
nothing of them, so what is checked is LabJackPython's own encoding and decoding.
"""

import importlib.metadata

import labjackusb
from check import Checks

labjackusb.install()
import u3  # noqa: E402  (looks for the library as it is imported)

checks = Checks(f"LabJackPython {importlib.metadata.version('LabJackPython')}")
unit = u3.U3()
checks.expect("name", unit.deviceName == "U3-HV", unit.deviceName)
checks.expect("serial number", unit.serialNumber == 320012345, unit.serialNumber)
checks.expect("hardware", unit.hardwareVersion == "1.30", unit.hardwareVersion)
checks.expect("firmware", unit.firmwareVersion == "1.46", unit.firmwareVersion)
slope = unit.calData["dac0Slope"]
checks.expect("calibration", abs(slope - 51.717) < 0.5, slope)

lines = unit.configIO(FIOAnalog=0x0F, EIOAnalog=0)
checks.expect("lines", (lines["FIOAnalog"], lines["EIOAnalog"]) == (0x0F, 0), lines)
for output, volts in ((0, 1.0), (1, 2.5), (0, 4.0)):
    bits = unit.voltageToDACBits(volts, output, is16Bits=True)
    unit.getFeedback(u3.DAC16(output, bits))
    # The bench has a wire from each output to the input of the same number.
    reading = unit.getAIN(output)
    checks.expect(f"DAC{output} at {volts} V", abs(reading - volts) < 0.02, reading)

unit.setFIOState(4, 1)
checks.expect("FIO4 high", unit.getFIOState(4) == 1)
unit.setFIOState(4, 0)
checks.expect("FIO4 low", unit.getFIOState(4) == 0)
ports = unit.getFeedback(u3.PortStateRead())[0]
checks.expect("open lines are pulled up", ports["EIO"] == 0xFF, ports)
celsius = unit.getTemperature() - 273.15
checks.expect("temperature", 30 < celsius < 40, celsius)

block = list(range(32))
unit.eraseMem()
unit.writeMem(2, block)
checks.expect("user memory", unit.readMem(2) == block)
watchdog = unit.watchdog(ResetOnTimeout=True, TimeoutPeriod=30)
checks.expect(
    "watchdog", watchdog["ResetOnTimeout"] and watchdog["TimeoutPeriod"] == (30,), watchdog)
off = unit.watchdog()
checks.expect("watchdog off", not off["WatchDogEnabled"], off)
try:
    unit.getFeedback(u3.BitStateRead(0))
    checks.expect("an analog line is refused", False)
except u3.LowlevelErrorException as error:
    checks.expect("an analog line is refused", "PIN_CONFIGURED_FOR_ANALOG" in str(error), error)
unit.getFeedback(u3.DAC16(0, 0), u3.DAC16(1, 0))
unit.close()
checks.finish()
