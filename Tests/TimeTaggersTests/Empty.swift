// Tests/TimeTaggersTests/
