// ProtocolCore
