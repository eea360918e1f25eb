// Tests/PolarizationControllersTests/
