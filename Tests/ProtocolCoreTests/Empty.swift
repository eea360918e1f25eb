// Tests/ProtocolCoreTests/
