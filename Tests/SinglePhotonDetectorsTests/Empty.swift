// Tests/SinglePhotonDetectorsTests/
