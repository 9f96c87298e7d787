"""Samples of a picture together with the whole kernel that blurred it."""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inverse.solution import Solution
from inverse.solve.unknown.inference import UncertainParameters
from inverse.solve.unknown.kernels import KernelPrior, Quadratic, centred, quadratic, replaced
from inverse.solve.unknown.ranges import LogUniform, Range
from inverse.solve.unknown.simplex import drawn, noise_level, projected
from operators import Blur
from priors import RowRNG

STREAM = 2**62  # of the random numbers of the kernels; those of samples count from 0
SCANS = 10  # of the entries of a kernel in a sweep
TOP = 0.04  # noise at which the search for a start begins
GAIN, STEP = 10.0, 0.5  # of the search: largest factor by which a frequency's step is enlarged, and its share
STILL = 0.3  # share of the search that stays at the last noise level, of which the kernels are averaged
UNRELIABLE = (
    "a whole kernel from one photograph is not reliable, and its stated standard deviation too small: see "
    "docs/unknown.md; a blur of one or two parameters, or a measured kernel, is better"
)
APART = 1.3  # potential scale reduction above which chains have not mixed

Solve = Callable[..., Solution]
Bar = Callable[[int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Length:
    """How much is spent on a kernel.

    Attributes: search: pairs of samples, one after the other, for a start; sweeps: of each chain before its draws are
    kept; kept: sweeps whose draws are.
    """

    search: int
    sweeps: int
    kept: int


NETWORK, FORMULA = Length(12, 2, 4), Length(10, 10, 20)  # of priors that are networks, and that have a formula


@dataclass(frozen=True)
class Blind:
    """A solve with an unknown kernel.

    Attributes: solver: (operator, y, n_samples=, first=, numbers=, antithetic=) -> `Solution`; operator: whose kernel
    is not used; kernel: its prior; sigma: the range of the noise level, None if it is known; seed; length.
    """

    solver: Solve
    operator: Blur
    kernel: KernelPrior
    sigma: Range | None
    seed: int
    length: Length

    def one(self, y: Tensor, n_samples: int, number: int, bar: Bar) -> Solution:
        """Of one measurement y (1, *M): n_samples chains, of each the last picture.

        Formula: from a common start (`start`), a chain alternates between x ~ p(x | y, k, sigma) by the solver, k ~
        p(k | y, x, sigma), a Gaussian on the simplex times the Dirichlet prior, and sigma ~ p(sigma | y, x, k).
        Source: Geman & Geman 1984; Murata et al. 2023 (GibbsDDRM), who update the kernel within one reverse diffusion.
        Warns: UncertainParameters, if the chains have not mixed.
        """
        names = [(number, chain) for chain in range(n_samples)]
        rng = RowRNG(self.seed, [(STREAM, *name) for name in names], dtype=torch.float64)
        order = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        sweeps, spent = self.length.sweeps + self.length.kept, torch.zeros(3, dtype=torch.float64)
        with bar(self.length.search + sweeps) as advance:
            found, level = self.start(y, number, spent, advance)
            k, sigma = found.flatten().expand(n_samples, -1), torch.full((n_samples,), level, dtype=torch.float64)
            kept: list[tuple[Tensor, Tensor]] = []
            chains = [_stream(*name) for name in names]
            solution = None
            for sweep in range(sweeps):
                last = sweep == sweeps - 1
                operator = replaced(self.operator, k.view(-1, *self.kernel.shape), sigma)
                with warnings.catch_warnings():
                    warnings.simplefilter("default" if last else "ignore")
                    solution = self.solver(
                        operator, y.expand(n_samples, *y.shape[1:]), n_samples=1, first=sweep, numbers=chains,
                        **({} if last else {"noise_checks": False}),
                    )  # fmt: skip
                spent += torch.tensor([solution.nfe * n_samples, solution.nvjp * n_samples, solution.seconds])
                own = k, sigma
                if not last:
                    q = quadratic(solution.samples[:, 0], y, self.kernel.shape, self.operator.boundary)
                    k = self._kernels(k, q, sigma, rng, order)
                    sigma = self._levels(k, q, sigma, rng)
                if sweep >= self.length.sweeps:
                    kept.insert(0, own)  # the last ones, which belong to the samples, come first
                advance()
        assert solution is not None
        self._check(torch.stack([k for k, _ in kept], 1))
        kernels = torch.cat([k for k, _ in kept]).view(1, -1, *self.kernel.shape).to(y)
        unknown = {"kernel": kernels}
        if self.sigma is not None:
            unknown["sigma"] = torch.cat([s for _, s in kept])[None].to(y)
        return replace(
            solution,
            samples=solution.samples[:, 0][None],
            log_weights=solution.log_weights[:, 0][None],
            nfe=round(float(spent[0]) / n_samples),
            nvjp=round(float(spent[1]) / n_samples),
            seconds=float(spent[2]),
            numbers=None,
            unknown=unknown,
        )

    def start(self, y: Tensor, number: int, spent: Tensor, advance: Callable[[], None]) -> tuple[Tensor, float]:
        """A kernel (kH, kW) and a noise level from which chains start: steps of EM from a wide kernel and much noise.

        Formula: with E over an antithetic pair of posterior samples, k moves along the gradient of E log p(y | x, k),
        each frequency by the step of EM times min(1 + SNR, `GAIN`), as EM moves by about 1 / SNR of what is missing.
        The noise level falls to the true one, because at little noise k cannot leave its start.
        Source: Dempster, Laird & Rubin 1977; Laroche, Almansa & Coupete 2024 (diffusion EM).
        """
        steps = self.length.search
        end = self.sigma.low if self.sigma is not None else float(torch.as_tensor(self.operator.noise.sigma))
        top = max(end, TOP if self.sigma is None else min(TOP, self.sigma.high))
        falling = max(1, round(steps * (1 - STILL)))
        k, level, averaged = self.kernel.start(), top, []
        for i in range(steps):
            operator = replaced(self.operator, k[None], torch.tensor([level], dtype=torch.float64))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                solution = self.solver(
                    operator, y, n_samples=2, first=2 * i, numbers=[_stream(number, 0)], antithetic=True,
                    noise_checks=False,
                )  # fmt: skip
            spent += torch.tensor([solution.nfe * 2, solution.nvjp * 2, solution.seconds])
            q = quadratic(solution.samples[0], y, self.kernel.shape, self.operator.boundary)
            k = centred(ascended(k, q, level))
            planned = top * (end / top) ** min(1.0, (i + 1) / falling)
            level = (
                planned
                if self.sigma is None
                else max(planned, math.sqrt(float(q.residual(k.flatten().expand(2, -1)).mean()) / q.values))
            )
            if i >= falling:
                averaged.append(k)
            advance()
        found = torch.stack(averaged or [k]).mean(0)
        return found / found.sum(), level

    def _kernels(self, k: Tensor, q: Quadratic, sigma: Tensor, rng: RowRNG, order: torch.Generator) -> Tensor:
        precision = q.matrix / sigma[:, None, None] ** 2
        return drawn(k, precision, q.linear / sigma[:, None] ** 2, self.kernel.concentration, rng, SCANS, order)

    def _levels(self, k: Tensor, q: Quadratic, sigma: Tensor, rng: RowRNG) -> Tensor:
        if self.sigma is None:
            return sigma
        power = 1.0 if isinstance(self.sigma, LogUniform) else 0.0
        return noise_level(
            q.residual(k), q.values, self.sigma.low, self.sigma.high, power, rng.uniform((len(k), 1))[:, 0]
        )

    def _check(self, k: Tensor) -> None:
        """Warn if chains k (N, T, n) are further from each other than each of them moves."""
        if len(k) < 2:
            return
        within = k.var(1).mean(0).sum()
        between = k.mean(1).var(0).sum()
        reduction = math.sqrt(float((between + within) / within.clamp_min(1e-30)))
        if reduction > APART:
            warnings.warn(
                f"the draws of the kernel have not mixed (potential scale reduction {reduction:.2f}, expected at most "
                f"{APART}): its standard deviation is too small, and its mean depends on where the search ended; more "
                "noise, a smaller kernel or a larger picture help",
                UncertainParameters,
                stacklevel=6,
            )


def ascended(k: Tensor, q: Quadratic, level: float) -> Tensor:
    """One step of `Blind.start` from a kernel (kH, kW), by the mean of the statistics q over samples."""
    h, w = k.shape
    matrix, linear = q.matrix.mean(0) / q.values, q.linear.mean(0) / q.values
    plane = (2 * h - 1, 2 * w - 1)
    power = spectrum(matrix, h, w)
    snr = torch.fft.rfft2(k, s=plane).abs().square() * power / level**2
    slope = torch.fft.rfft2((linear - matrix @ k.flatten()).view(h, w), s=plane)
    step = torch.fft.irfft2(slope * (1 + snr).clamp_max(GAIN) / (power + level**2), s=plane)[:h, :w]
    return projected((k + STEP * step).flatten()).view(h, w)


def spectrum(matrix: Tensor, h: int, w: int) -> Tensor:
    """The power spectrum of pictures on rfft2's frequencies of (2 h - 1, 2 w - 1), from the matrix of `Quadratic`.

    Source: Blackman & Tukey 1958, with a Hann window.
    """
    rows, columns = (a.flatten() for a in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    lag = (rows[:, None] - rows + h - 1) * (2 * w - 1) + columns[:, None] - columns + w - 1
    sums = torch.zeros((2 * h - 1) * (2 * w - 1), dtype=matrix.dtype)
    correlation = sums.index_add(0, lag.flatten(), matrix.flatten())
    correlation = correlation / sums.index_add(0, lag.flatten(), torch.ones_like(matrix).flatten())
    windows = [torch.hann_window(2 * n + 1, periodic=False, dtype=matrix.dtype)[1:-1] for n in (h, w)]
    smooth = correlation.view(2 * h - 1, 2 * w - 1) * windows[0][:, None] * windows[1]
    return torch.fft.rfft2(torch.fft.ifftshift(smooth)).real.clamp_min(0)


def _stream(number: int, chain: int) -> int:
    """The number of a chain's measurement, apart from those of others and of plain solves."""
    return (number * 1_000_003 + chain + 1) * 2**20 % 2**62 + 1


def blindly(
    solver: Solve, operator: Blur, y: Tensor, kernel: KernelPrior, sigma: Range | None, n_samples: int, seed: int,
    numbers: list[int], formula: bool, bar: Bar,
) -> Solution:  # fmt: skip
    """Samples of p(x0, k[, sigma] | y) for measurements (B, *M); arguments as `Blind` and `inverse.solve`; formula:
    whether the prior has a formula, so that samples are cheap."""
    blind = Blind(solver, operator, kernel, sigma, seed, FORMULA if formula else NETWORK)
    found = [blind.one(y[b : b + 1], n_samples, number, bar) for b, number in enumerate(numbers)]
    if not formula:
        warnings.warn(UNRELIABLE, UncertainParameters, stacklevel=5)
    first = [one.unknown or {} for one in found]
    unknown: dict[str, Any] = {name: torch.cat([each[name] for each in first]) for name in first[0]}
    return replace(
        found[0],
        samples=torch.cat([one.samples for one in found]),
        log_weights=torch.cat([one.log_weights for one in found]),
        seconds=sum(one.seconds for one in found),
        numbers=torch.tensor(numbers, device=y.device),
        unknown=unknown,
    )
