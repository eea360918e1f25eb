// Tests/QuantitiesTests/
