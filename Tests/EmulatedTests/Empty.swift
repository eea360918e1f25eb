// Tests/EmulatedTests/
