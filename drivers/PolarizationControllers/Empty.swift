// PolarizationControllers
