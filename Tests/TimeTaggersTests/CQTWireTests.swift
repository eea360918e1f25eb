import DeviceProfiles
import FirmwareProfiles
import LinkTypes
import Quantities
import Testing
import TestSupport

