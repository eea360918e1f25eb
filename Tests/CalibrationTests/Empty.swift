// Tests/CalibrationTests/
