// Tests/CommandLineTests/
