// OpticalBench
