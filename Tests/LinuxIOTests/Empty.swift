// Tests/LinuxIOTests/
