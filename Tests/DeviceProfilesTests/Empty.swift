// Tests/DeviceProfilesTests/
