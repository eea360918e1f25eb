// FirmwareProfiles
