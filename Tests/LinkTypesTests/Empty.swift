// Tests/LinkTypesTests/
