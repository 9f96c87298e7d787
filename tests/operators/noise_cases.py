"""Noise laws, and values that each can measure."""

import torch

import operators
from operators import GaussianNoise, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise
from operators.noise import LinkedNoise

F64 = torch.float64
NOISES = {
    "gaussian": (GaussianNoise(0.2), [-0.3, 0.0, 0.4, 2.0]),
    "poisson": (PoissonNoise(4.0), [0.0, 0.25, 1.0, 5.0]),
    "many photons": (PoissonNoise(1e4), [0.0, 1e-4, 0.3, 1.7]),
    "camera": (PoissonGaussianNoise(4.0, 0.1), [-0.2, 0.0, 0.3, 1.6]),
    "rician": (RicianNoise(0.2), [0.01, 0.2, 0.5, 1.5]),
    "speckle": (SpeckleNoise(3.0), [0.1, 0.3, 1.0, 3.0]),
    "transmission": (LinkedNoise(operators.Transmission(PoissonNoise(50.0))), [0.0, 0.02, 0.4, 1.1]),
}
