// Tests/ArchitectureTests/
