"""azula's posterior samplers: MMPS, DPS and TDS.

Source: Rozet et al., azula, version 0.11. It takes any shape and clips nothing; its VP schedule is made for data of
variance 1, which is what it is given. Its solvers take inner products over the last axis, so y is given flat.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from benchmarks.peers.base import LINEAR, PeerProblem, adapted, noise_of, require, standardised

SCHEDULES = {"vp": "VPSchedule", "cosine": "CosineSchedule", "rectified": "RectifiedSchedule"}


@dataclass(frozen=True)
class Network:
    """The prior as azula's denoiser: a schedule, and an output with a mean."""

    problem: PeerProblem
    schedule: Any

    def __call__(self, x_t: Tensor, t: Tensor, **_) -> SimpleNamespace:
        """E[u0 | u_t = x_t] as ``mean``; x_t (N, *E), t 0-d."""
        alpha, sigma = self.schedule(t)
        return SimpleNamespace(mean=self.problem.denoise(x_t / alpha, sigma / alpha))


def network(problem: PeerProblem, schedule: str) -> Network:
    """The prior of a problem under one of azula's schedules. Arguments: problem; schedule, a name in SCHEDULES."""
    return Network(problem, getattr(require("azula", "noise"), SCHEDULES[schedule])())


def draw(problem: PeerProblem, sampler: Any) -> Tensor:
    """A sampler's whole run from its own start."""
    return sampler(sampler.init((problem.n, *problem.event_shape)).to(problem.device))


def _mmps(problem: PeerProblem, steps: int, iterations: int, solver: str, eta: float, schedule: str) -> Tensor:
    covariance = require("azula", "linalg.covariance").IsotropicCovariance(problem.sigma_y**2)
    denoiser = require("azula", "guidance").MMPSDenoiser(
        network(problem, schedule),
        y=problem.y.flatten(1),
        A=lambda x: problem.operator(x).flatten(1),
        cov_y=covariance,
        solver=solver,
        iterations=iterations,
    )
    return draw(problem, require("azula", "sample").DDIMSampler(denoiser, eta=eta, steps=steps, silent=True))


def _dps(problem: PeerProblem, steps: int, zeta: float, schedule: str) -> Tensor:
    # It takes one norm over the whole batch, so that a sample would depend on its batch mates. The norm of the sum of
    # the rows' norms has for gradient the gradient of each row's norm: what it does to a sample that is alone.
    def residuals(x: Tensor) -> Tensor:
        return -(problem.y - problem.operator(x)).flatten(1).norm(dim=1).sum()

    sampler = require("azula", "guidance").DPSSampler(
        network(problem, schedule), y=problem.y.new_zeros(()), A=residuals, zeta=zeta, steps=steps, silent=True
    )
    return draw(problem, sampler)


def _tds(problem: PeerProblem, steps: int, twist: str, schedule: str) -> Tensor:
    # It leaves log p(y | x_t) to its user. "variance": N(y; A D, sigma_y^2 + r^2 A A'), with r^2 = s^2 / (1 + s^2) the
    # variance of x0 given x_t for data of variance 1 (Song et al. 2023); "point": r = 0, the paper's own choice.
    def log_likelihood(x: Tensor, s: Tensor) -> Tensor:
        residual = problem.y - problem.operator(x)
        r2 = (s**2 / (1 + s**2)).item() if twist == "variance" else 0.0
        weighted = solve(residual.detach(), r2)
        # value -w'e/2 and gradient -w'de, without a derivative of the solver
        return (weighted * (0.5 * residual.detach() - residual)).flatten(1).sum(1)

    def solve(residual: Tensor, r2: float) -> Tensor:
        if r2 == 0:
            return residual / problem.sigma_y**2
        ratio = (noise_of(problem.operator) / problem.sigma_y) ** 2  # the operator's own noise is in data units
        if ratio == 0:  # none: exact where A A' is a multiple of the identity
            return problem.operator.solve_gram(residual, r2 + problem.sigma_y**2)
        return ratio * problem.operator.solve_gram(residual, ratio * r2)

    sampler = require("azula", "guidance").TDSSampler(
        network(problem, schedule), twist=log_likelihood, steps=steps, silent=True
    )
    return draw(problem, sampler)


AZULA = (
    adapted(
        name="azula mmps",
        package="azula",
        citation="Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024",
        needs=LINEAR,
        defaults={"steps": 64, "iterations": 1, "solver": "gmres", "eta": 1.0, "schedule": "vp"},
        grid=(
            {},
            {"iterations": 5},
            {"iterations": 5, "eta": 0.0},
            {"iterations": 5, "steps": 256},
            {"iterations": 10, "solver": "cg", "steps": 256},
        ),
        sampler=_mmps,
        units=standardised,
    ),
    adapted(
        name="azula dps",
        package="azula",
        citation="Chung et al.: Diffusion Posterior Sampling for General Noisy Inverse Problems, ICLR 2023",
        needs=LINEAR,
        defaults={"steps": 64, "zeta": 1.0, "schedule": "vp"},
        grid=(
            {},
            {"zeta": 0.3},
            {"zeta": 3.0},
            {"steps": 256, "zeta": 0.1},
            {"steps": 256, "zeta": 0.3},
            {"steps": 256, "zeta": 1.0},
        ),
        sampler=_dps,
        units=standardised,
    ),
    adapted(
        name="azula tds",
        package="azula",
        citation=(
            "Wu, Trippe, Naesseth, Blei, Cunningham: Practical and Asymptotically Exact Conditional Sampling in "
            "Diffusion Models, NeurIPS 2023"
        ),
        needs=LINEAR,
        defaults={"steps": 64, "twist": "variance", "schedule": "vp"},
        grid=({}, {"steps": 256}, {"steps": 1000}, {"twist": "point"}, {"twist": "point", "steps": 256}),
        sampler=_tds,
        units=standardised,
        joint=True,
    ),
)
