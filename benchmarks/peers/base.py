"""Adapters for other toolkits' samplers: our prior and operator in their units, with counted evaluations."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from operators import Operator
from priors import GaussianMixture, Prior
from priors.denoised import denoised

VERSIONS = {"deepinv": (0, 5), "azula": (0, 11)}  # the oldest supported versions
MODULES = {
    "deepinv": ("models", "optim", "physics", "sampling"),
    "azula": ("guidance", "linalg.covariance", "noise", "sample"),
}
LINEAR = frozenset({"linear", "gaussian", "isotropic"})  # what every peer needs of an operator
ROWS = 2**19  # numbers of one event x rows of one batch
SMALLEST_NOISE = 1e-3  # in a peer's units: they divide by sigma_y, and this is less than a grey level of 8 bits


@dataclass(frozen=True)
class Draws:
    """A peer's samples for one measurement.

    Attributes: samples (n, *E), data units; nfe, evaluations of the prior per sample; nvjp, backward passes through it
    per sample; seconds of sampling, without imports.
    """

    samples: Tensor
    nfe: int
    nvjp: int
    seconds: float


@dataclass(frozen=True)
class Units:
    """u = (x - shift) / scale: x in the units of a peer; shift and scale in data units."""

    shift: float
    scale: float


class Denoiser:
    """D(u, s) = E[u0 | u0 + s z = u] of a prior, with counted evaluations.

    Formula: `priors.denoised.denoised`, in the units of the peer.
    Source: Robbins 1956, Efron 2011 (Tweedie's formula).
    Arguments: prior; units.
    Attributes: nfe, nvjp (int): evaluations and backward passes, of a batch each.
    """

    def __init__(self, prior: Prior, units: Units):
        self.prior, self.units = prior, units
        self.nfe = self.nvjp = 0

    def __call__(self, u: Tensor, sigma: Tensor | float) -> Tensor:
        """D at u (N, *E) and one sigma >= 0 for all rows, both in the peer's units -> (N, *E)."""
        shift, scale = self.units.shift, self.units.scale
        self.nfe += 1
        level = scale * float(torch.as_tensor(sigma).flatten()[0])
        clean = denoised(self.prior, shift + scale * u, level)
        return _Counted.apply((clean - shift) / scale, self)


class _Counted(torch.autograd.Function):
    """The identity, whose backward pass is counted; torch.func differentiates it too."""

    @staticmethod
    def forward(x: Tensor, meter: Denoiser) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.meter = inputs[1]

    @staticmethod
    def backward(ctx, *gradients):
        ctx.meter.nvjp += 1
        return gradients[0], None


@dataclass(frozen=True)
class PeerProblem:
    """One posterior in a peer's units, for n rows at once.

    Attributes: denoise; operator (linear, of u, for n rows); y (n, *M), one measurement repeated; sigma_y; event_shape;
    n; device.
    """

    denoise: Denoiser
    operator: Any
    y: Tensor
    sigma_y: float
    event_shape: tuple[int, ...]
    n: int
    device: torch.device


@dataclass(frozen=True)
class Peer:
    """A posterior sampler of another toolkit.

    Attributes: name; package it is of; citation; needs (operator capabilities); defaults (settings as its
    documentation or signature says); grid (changes of the defaults, searched for the best); run: (prior, operator, y,
    n_samples, seed, **settings) -> Draws, see `adapted`.
    """

    name: str
    package: str
    citation: str
    needs: frozenset[str]
    defaults: dict[str, Any]
    grid: tuple[dict[str, Any], ...]
    run: Callable[..., Draws] = field(repr=False)


def adapted(
    name: str,
    package: str,
    citation: str,
    needs: frozenset[str],
    defaults: dict[str, Any],
    grid: tuple[dict[str, Any], ...],
    sampler: Callable[..., Tensor],
    units: Callable[[Prior], Units],
    joint: bool = False,
) -> Peer:
    """A `Peer` from a sampler, with checks, rescaling, seeding and counting.

    The global random state is seeded within a run and restored after it. One measurement y (1, *M) at a time; settings
    are changes of ``defaults``. A run raises ValueError for an operator without the capabilities ``needs``, a y that is
    not one measurement and unknown settings, and ImportError where the package is missing, all before the first
    evaluation of the prior.
    Arguments: name to grid as in `Peer`; sampler: (problem, **settings) -> u (n, *E) or of as many numbers; units: the
    units it expects; joint: whether its rows interact (particles) and must be drawn in one batch.
    """

    def run(prior: Prior, operator: Operator, y: Tensor, n_samples: int, seed: int = 0, **settings: Any) -> Draws:
        _check(name, needs, operator, y, prior.event_shape, n_samples)
        if unknown := set(settings) - set(defaults):
            raise ValueError(f"{name} has no settings {sorted(unknown)}: expected some of {sorted(defaults)}")
        for module in MODULES[package]:  # now: imports are not to be timed
            require(package, module)
        scaled = units(prior)
        size = n_samples if joint else max(1, ROWS // torch.Size(prior.event_shape).numel())
        parts, denoise = [], Denoiser(prior, scaled)
        start = time.perf_counter()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            for first in range(0, n_samples, size):
                problem = pose(denoise, operator, y, min(size, n_samples - first))
                u = sampler(problem, **{**defaults, **settings}).detach().float()
                parts.append(scaled.shift + scaled.scale * u.reshape(problem.n, *problem.event_shape))
        seconds = time.perf_counter() - start
        return Draws(torch.cat(parts), round(denoise.nfe / len(parts)), round(denoise.nvjp / len(parts)), seconds)

    return Peer(name, package, citation, needs, defaults, grid, run)


def pose(denoise: Denoiser, operator: Operator, y: Tensor, n: int) -> PeerProblem:
    """The problem of n samples given y (1, *M), in the units of the denoiser.

    Formula: y = A x + noise is (y - A shift) / scale = A u + noise / scale.
    Arguments: denoise; operator (linear, isotropic Gaussian noise); y; n.
    """
    prior, units = denoise.prior, denoise.units
    operator = operator.at(prior.event_shape)
    y = y.float() if operator.support is None else torch.where(operator.support, y.float(), 0)
    with torch.no_grad():
        y = (y - operator(torch.full((1, *prior.event_shape), units.shift, device=y.device))) / units.scale
    sigma_y = max(noise_of(operator) / units.scale, SMALLEST_NOISE)
    rows = operator.rows(torch.zeros(n, dtype=torch.long))
    return PeerProblem(denoise, rows, y.expand(n, *y.shape[1:]), sigma_y, prior.event_shape, n, prior.device)


def noise_of(operator: Any) -> float:
    """The standard deviation of isotropic Gaussian noise, units of y. Arguments: operator."""
    return float(operator.noise.sigma.reshape(-1)[0])


def installed(peer: Peer) -> bool:
    """Whether the package of a peer is installed and recent enough; nothing is imported. Arguments: peer."""
    return _version(peer.package) >= VERSIONS[peer.package]


def require(package: str, module: str) -> ModuleType:
    """A module of an optional package: require("azula", "guidance") is azula.guidance.

    Arguments: package; module within it.
    Raises: ImportError that names the extra to install.
    """
    if (found := _version(package)) < (wanted := VERSIONS[package]):
        given = ".".join(map(str, found)) or "none"
        raise ImportError(
            f"{package} {'.'.join(map(str, wanted))} or newer is needed, found {given}: "
            'pip install "score-inverse[peers]"'
        )
    return import_module(f"{package}.{module}")


def _version(package: str) -> tuple[int, ...]:
    """(major, minor), or () where it is not installed."""
    try:
        return tuple(int(part) for part in metadata.version(package).split(".")[:2])
    except metadata.PackageNotFoundError:
        return ()


def _check(
    name: str, needs: frozenset[str], operator: Operator, y: Tensor, event_shape: tuple[int, ...], n_samples: int
) -> None:
    if missing := needs - operator.capabilities:
        raise ValueError(
            f"{name} needs an operator with {', '.join(sorted(needs))}; {type(operator).__name__} lacks "
            f"{', '.join(sorted(missing))}"
        )
    operator.validate_y(y, event_shape)
    if len(y) != 1:
        raise ValueError(f"{name}: y has {len(y)} measurements, expected one; call it for each, y[i : i + 1]")
    if n_samples < 1:
        raise ValueError(f"n_samples = {n_samples}: expected an integer >= 1")


def in_unit_interval(prior: Prior) -> Units:
    """Data in [0, 1], as deepinv has it: an analytic prior's range is that of 1000 draws, as of a data set."""
    if not isinstance(prior, GaussianMixture):
        return Units(0.0, 1.0)  # images
    low, high = prior.sample(1000, seed=0).aminmax()
    return Units(low.item(), (high - low).item())


def standardised(prior: Prior) -> Units:
    """Data of mean 0 and variance 1 if the prior's moments are known, as azula's VP schedule assumes; images in [-1,
    1]."""
    if not isinstance(prior, GaussianMixture):
        return Units(0.5, 0.5)
    return Units(prior.mean.mean().item(), prior.variance**0.5)
