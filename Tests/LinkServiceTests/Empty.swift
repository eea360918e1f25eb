// Tests/LinkServiceTests/
