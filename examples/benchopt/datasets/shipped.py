"""Shipped pictures, half of whose pixels are measured."""

import deepinv
import torch
from benchopt import BaseDataset
from deepinv.datasets import TensorDataset

import priors


class Dataset(BaseDataset):
    """Pictures of the test split, which the prior has not seen."""

    name = "fashion-mnist"
    parameters = {"n_pictures": [4], "keep": [0.5], "sigma": [0.05], "seed": [0]}  # noqa: RUF012 (benchopt's way)
    test_parameters = {"n_pictures": [1]}  # noqa: RUF012 (as above)

    def get_data(self):
        pictures = priors.samples("fashion-mnist").floats(slice(0, self.n_pictures))
        physics = deepinv.physics.Inpainting(
            tuple(pictures.shape[1:]),
            mask=self.keep,
            noise_model=deepinv.physics.GaussianNoise(self.sigma, rng=torch.Generator().manual_seed(self.seed)),
            rng=torch.Generator().manual_seed(self.seed),
        )
        return {"dataset": TensorDataset(x=pictures), "physics": physics}
