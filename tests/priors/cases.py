"""What the tests of priors share: noisings, small mixtures, linear operators as matrices, tiny networks."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

import torch
from torch import Tensor, nn

from priors import (
    SDE,
    VESDE,
    VPSDE,
    DataRange,
    Empirical,
    GaussianMixture,
    NoisyClassifier,
    RectifiedFlowSDE,
    ScorePrior,
    SubVPSDE,
)
from priors.data import ImageSet
from priors.nets import Encoder, EncoderConfig, NCSNpp, UNetConfig

SDES: dict[str, SDE] = {
    "ve": VESDE(),
    "vp": VPSDE(),
    "subvp": SubVPSDE(),
    "vp-half": VPSDE(scale=0.5),
    "flow": RectifiedFlowSDE(),
    "flow-half": RectifiedFlowSDE(scale=0.5),
}
KINDS = ("dense", "diagonal", "tied", "tied-diagonal")
F64 = torch.float64
M = TypeVar("M", bound=nn.Module)


def draws(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def covariances(kind: str, k: int, d: int) -> Tensor:
    """Well-conditioned covariances (k, d, d): each its own or one for all ("tied"), dense or diagonal."""
    root = draws(1 if "tied" in kind else k, d, d, seed=1)
    dense = root @ root.mT / d + 0.1 * torch.eye(d, dtype=F64)
    return (torch.diag_embed(dense.diagonal(dim1=1, dim2=2)) if "diagonal" in kind else dense).expand(k, d, d)


def mixture(sde: SDE, kind: str = "dense", k: int = 3, d: int = 3, **kwargs) -> GaussianMixture:
    weights = torch.arange(1, k + 1, dtype=F64)
    return GaussianMixture(1.5 * draws(k, d, seed=2), covariances(kind, k, d), weights, sde=sde, **kwargs)


def data_set(sde: SDE, bandwidth: float = 0.0, n: int = 9, shape: tuple[int, ...] = (3,)) -> Empirical:
    """A few pictures as a prior."""
    return Empirical(1.5 * draws(n, *shape, seed=2), sde, bandwidth)


class Matrix(nn.Module):
    """y = matrix x + sigma z over flattened events, with the few attributes that priors may ask an operator for."""

    capabilities = frozenset({"linear", "gaussian", "differentiable"})

    matrix: Tensor

    def __init__(self, matrix: Tensor, sigma: float | Tensor, support: Tensor | None = None):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.noise, self.support = SimpleNamespace(sigma=sigma), support

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.mT


def network(**fields) -> NCSNpp:
    """A U-net of some thousand parameters for 1 x 8 x 8 images, with weights that are nowhere zero."""
    small = {"image_channels": 1, "image_size": 8, "channels": 8, "multipliers": (1,), "res_blocks": 1, "attention": ()}
    return made(NCSNpp, UNetConfig(**(small | {"embedding": "fourier", "fourier_scale": 2.0, "dropout": 0.0} | fields)))


def made(cls: Callable[..., M], *args) -> M:
    """A module of always the same weights, with noise on every parameter for layers that start as the zero map."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = cls(*args)
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module


def score_prior(sde: SDE | None = None, prediction: str = "preconditioned", **fields) -> ScorePrior:
    sde = sde or VESDE(sigma_max=10.0)
    return ScorePrior(network(**fields), sde, (1, 8, 8), prediction, DataRange(0.3, 0.4)).eval()


def classifier(dropout: float = 0.0) -> NoisyClassifier:
    config = EncoderConfig(1, 8, channels=8, multipliers=(1, 2), classes=3, dropout=dropout)
    return NoisyClassifier(made(Encoder, config), VESDE(sigma_max=10.0), (1, 8, 8), DataRange(0.3, 0.4)).eval()


def stripes(n: int = 64) -> ImageSet:
    """Images 1 x 8 x 8 of three kinds, bright in one third of their rows, with the kind as label."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    bright = (torch.arange(8)[None] * 3 // 8 == labels[:, None])[:, None, :, None]
    noise = torch.randint(0, 30, (n, 1, 8, 8), generator=generator)
    return ImageSet((bright * 200 + noise).to(torch.uint8), labels, "made by tests")
