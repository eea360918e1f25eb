// Tests/Support/
