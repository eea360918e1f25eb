// Emulated
