// SinglePhotonDetectors
