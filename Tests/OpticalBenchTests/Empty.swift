// Tests/OpticalBenchTests/
