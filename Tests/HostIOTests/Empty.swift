// Tests/HostIOTests/
