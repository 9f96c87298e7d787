"""A Gaussian prior, a blur of unknown width and noise of unknown level: the joint posterior against quadrature."""

from collections.abc import Callable
from statistics import fmean
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.metrics import sliced_wasserstein
from inverse import solve
from operators import Blur, GaussianNoise, LinearOperator
from operators.kernels import gaussian_kernel
from priors import VPSDE, Gaussian

SIDE = 8  # pixels
RANGES = {"width": (0.4, 1.6), "sigma": (0.005, 0.3)}  # log-uniform
GRID = 81  # values of each parameter
SETS = 8  # of exact draws, whose mutual distance is the unit


def operator(width: float, sigma: float) -> Blur:
    """A circular blur by a kernel of 7 x 7 pixels."""
    return Blur(gaussian_kernel(width, 7), noise=GaussianNoise(sigma))


def picture_prior() -> Gaussian:
    """Pictures of 8 x 8 pixels with an exponential covariance of length 2 and standard deviation .2."""
    at = torch.cartesian_prod(*[torch.arange(SIDE, dtype=torch.float64)] * 2)
    covariance = 0.04 * torch.exp(-torch.cdist(at, at) / 2)
    mean = torch.full((SIDE**2,), 0.5)
    return Gaussian(mean, covariance.float(), sde=VPSDE(), event_shape=(1, SIDE, SIDE))


def log_evidence(prior: Gaussian, op: LinearOperator, sigma: Tensor, y: Tensor) -> Tensor:
    """log p(y | sigma) for standard deviations (n,) of the noise, by the eigenvalues of the covariance of A x."""
    d, shape = SIDE**2, (1, SIDE, SIDE)
    a = op.at(shape)(torch.eye(d).view(d, *shape)).reshape(d, d).mT.double()
    values, vectors = torch.linalg.eigh(a @ prior.covariance.double() @ a.mT)
    residual = vectors.mT @ (y.double().flatten() - a @ prior.mean.double().flatten())
    variance = values.clamp_min(0) + sigma[:, None] ** 2
    return -0.5 * (residual**2 / variance + variance.log()).sum(1)


def exact(prior: Gaussian, y: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n exact draws of the parameters' logarithms (n, 2) and of the picture (n, 64)."""
    axes = [torch.linspace(0, 1, GRID, dtype=torch.float64) * (b / a).log() + a.log() for a, b in _ends()]
    rows = torch.stack([log_evidence(prior, operator(float(w.exp()), 1.0), axes[1].exp(), y) for w in axes[0]])
    generator = torch.Generator().manual_seed(seed)
    cells = torch.multinomial(rows.flatten().softmax(0), n, replacement=True, generator=generator)
    spacing = torch.stack([axis[1] - axis[0] for axis in axes])
    jitter = (torch.rand(n, 2, generator=generator, dtype=torch.float64) - 0.5) * spacing
    logs = torch.stack([axes[0][cells // GRID], axes[1][cells % GRID]], 1) + jitter
    pictures = [
        prior.posterior(operator(*pair), y).sample(1, seed=seed * n + k) for k, pair in enumerate(logs.exp().tolist())
    ]
    return logs, torch.cat(pictures).flatten(1).double()


def _ends() -> list[tuple[Tensor, Tensor]]:
    low, high = torch.tensor(list(RANGES.values()), dtype=torch.float64).unbind(1)
    return list(zip(low, high, strict=True))


def instance(seed: int, samples: int) -> dict[str, float]:
    """Distances of one instance relative to exact draws, and whether 90 % intervals cover the truth."""
    prior, generator = picture_prior(), torch.Generator().manual_seed(seed)
    u = torch.rand(2, generator=generator, dtype=torch.float64) * 0.6 + 0.2  # away from the ends of the ranges
    true = [float(a * (b / a) ** v) for v, (a, b) in zip(u, _ends(), strict=True)]
    y = operator(*true).measure(prior.sample(1, seed=seed), seed=seed)
    found = solve(prior, operator, y, samples, seed=seed, unknown=RANGES, progress=False)
    assert found.unknown is not None
    logs = torch.stack([found.unknown[name][0, :samples].double().log() for name in RANGES], 1)
    sets = [exact(prior, y, samples, seed=1 + k) for k in range(SETS)]
    scale = torch.cat([logs for logs, _ in sets]).std(0)
    row = {
        "parameters": _relative(logs / scale, [logs / scale for logs, _ in sets]),
        "picture": _relative(found.samples[0].flatten(1).double(), [x for _, x in sets]),
    }
    for i, name in enumerate(RANGES):
        low, high = torch.quantile(found.unknown[name][0].double(), torch.tensor([0.05, 0.95], dtype=torch.float64))
        row[f"{name} covered"] = float(low <= true[i] <= high)
    return row


def _relative(x: Tensor, sets: list[Tensor]) -> float:
    """Sliced W1 from x to exact draws, relative to that between two sets of these."""
    distance: Callable[[Tensor, Tensor], float] = lambda a, b: sliced_wasserstein(a, b, p=1)  # noqa: E731
    return fmean(distance(x, one) for one in sets) / fmean(
        distance(a, b) for k, a in enumerate(sets) for b in sets[k + 1 :]
    )


def run_unknown_exact(
    instances: Annotated[int, typer.Option(help="random truths and measurements")] = 10,
    samples: Annotated[int, typer.Option(help="per instance")] = 100,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """The joint posterior of a picture, a blur width and a noise level against exact draws."""
    found = [instance(seed + i, samples) for i in range(instances)]
    rows = []
    for of in ("parameters", "picture"):
        values = torch.tensor([one[of] for one in found])
        rows.append({"of": of, "relative to exact draws": f"{values.mean():.2f}", "worst": f"{values.max():.2f}"})
    covered = ", ".join(f"{name} {sum(int(one[f'{name} covered']) for one in found)}" for name in RANGES)
    notes = (
        f"{instances} instances: pictures of {SIDE} x {SIDE} pixels from a Gaussian prior, a circular Gaussian blur of "
        f"a width within {RANGES['width']} and noise of a sigma within {RANGES['sigma']}, both unknown (log-uniform). "
        f"Sliced W1 of {samples} samples, method auto, to exact draws (parameters by quadrature on {GRID} x {GRID} "
        f"values, pictures in closed form), relative to that between two exact sets: 1 is as good as exact. 90 % "
        f"intervals that cover the truth: {covered}."
    )
    finish("unknown-exact", "Unknown parameters against quadrature", rows, notes, out, instances=instances)
