"""deepinv's posterior samplers: DDRM, DiffPIR, DPS and moment matching.

Source: Tachella et al. 2025, DeepInverse, version 0.5. It takes images in [0, 1], and DiffPIR and DPS clip estimates
to a range, so the prior's whole range is mapped there. Its own random numbers and noise schedules are used as they are.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.base import LINEAR, PeerProblem, adapted, in_unit_interval, require, standardised


def picture(event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (C, H, W) in which deepinv is given events: their own, or a picture of one row."""
    return event_shape if len(event_shape) == 3 else (1, 1, torch.Size(event_shape).numel())


def physics(problem: PeerProblem) -> Any:
    """The operator of a problem as deepinv's: decomposable where ours has its singular values.

    Both toolkits place the coordinates of U'y at their singular values; only the shape of an event differs.
    Arguments: problem, for pictures (n, C, H, W) and y (n, *M).
    """
    module, operator, shape = require("deepinv", "physics"), problem.operator, picture(problem.event_shape)
    noise = module.GaussianNoise(problem.sigma_y)

    def enter(x: Tensor) -> Tensor:
        return x.reshape(len(x), *problem.event_shape)

    def leave(x: Tensor) -> Tensor:
        return x.reshape(len(x), *shape)

    if "svd" not in operator.capabilities:
        return module.LinearPhysics(
            A=lambda x, **_: operator(enter(x)),
            A_adjoint=lambda y, **_: leave(operator.adjoint(y)),
            img_size=shape,
            noise_model=noise,
            device=problem.device,
        )
    singular = operator.singular_values.float()
    # rows share one measurement, so where the operator repeats its parameters the first row's stand for all
    singular = singular[0] if singular.ndim > len(problem.event_shape) else singular
    return module.DecomposablePhysics(
        U=lambda z: operator.U(enter(z)),
        U_adjoint=lambda y: leave(operator.Ut(y)),
        V=lambda z: leave(operator.V(enter(z))),
        V_adjoint=lambda x: leave(operator.Vt(enter(x))),
        mask=singular.expand(problem.event_shape).reshape(1, *shape).clone(),
        img_size=shape,
        noise_model=noise,
        device=problem.device,
    )


def network(problem: PeerProblem) -> Any:
    """The prior as a denoiser of pictures (n, C, H, W)."""
    base = require("deepinv", "models").Denoiser

    class Network(base):
        def forward(self, x, sigma, **_):
            return problem.denoise(x.reshape(len(x), *problem.event_shape), sigma).reshape(x.shape)

    return Network(device=problem.device)


def _ddrm(problem: PeerProblem, steps: int, eta: float, etab: float, spacing: str) -> Tensor:
    levels = np.linspace(1, 0, steps) if spacing == "linear" else np.append(np.geomspace(1, 1e-3, steps - 1), 0.0)
    sampler = require("deepinv", "sampling").DDRM(network(problem), sigmas=levels, eta=eta, etab=etab)
    return sampler(problem.y, physics(problem))


def _diffpir(problem: PeerProblem, steps: int, zeta: float, lambda_: float) -> Tensor:
    sampler = require("deepinv", "sampling").DiffPIR(
        network(problem),
        require("deepinv", "optim").L2(),
        sigma=problem.sigma_y,
        max_iter=steps,
        zeta=zeta,
        lambda_=lambda_,
        device=problem.device,
    )
    return sampler(problem.y, physics(problem))


def _dps(problem: PeerProblem, steps: int, weight: float, guidance: str, schedule: str) -> Tensor:
    sampler = require("deepinv", "sampling").DPS(
        network(problem), schedule=schedule, num_steps=steps, weight=weight, guidance=guidance, device=problem.device
    )
    return sampler(problem.y, physics(problem), x_init=(problem.n, *picture(problem.event_shape)))


def _moment_matching(problem: PeerProblem, steps: int, cg: int, weight: float, solver: str, spacing: str) -> Tensor:
    # It clips nothing, so the data need no range and have variance 1, as the VP schedule takes them to have.
    module, device = require("deepinv", "sampling"), problem.device
    stepper, end = {"euler": (module.EulerSolver, 1e-3), "ddpm": (module.DDPMSolver, 0.0)}[solver]
    times = torch.linspace(1, end, steps, device=device, dtype=torch.float64)
    sampler = module.PosteriorDiffusion(
        data_fidelity=module.MomentMatchingDataFidelity(weight=weight, cg_max_iter=cg),
        denoiser=network(problem),
        sde=module.VariancePreservingDiffusion(alpha=1.0, minus_one_one=False, device=device),
        solver=stepper(timesteps=times if spacing == "linear" else times**2),
        minus_one_one=False,
        device=device,
    )
    return sampler(problem.y, physics(problem), x_init=(problem.n, *picture(problem.event_shape)))


DEEPINV = (
    adapted(
        name="deepinv ddrm",
        package="deepinv",
        citation="Kawar, Elad, Ermon, Song: Denoising Diffusion Restoration Models, NeurIPS 2022",
        needs=LINEAR | {"svd"},
        defaults={"steps": 100, "eta": 0.85, "etab": 1.0, "spacing": "linear"},
        grid=(
            {},
            {"steps": 1000},
            {"eta": 1.0},
            {"spacing": "geometric"},
            {"spacing": "geometric", "eta": 1.0},
            {"spacing": "geometric", "steps": 300},
        ),
        sampler=_ddrm,
        units=in_unit_interval,
    ),
    adapted(
        name="deepinv diffpir",
        package="deepinv",
        citation="Zhu et al.: Denoising Diffusion Models for Plug-and-Play Image Restoration, CVPR Workshops 2023",
        needs=LINEAR,
        defaults={"steps": 100, "zeta": 0.1, "lambda_": 7.0},
        grid=(
            {},
            {"zeta": 0.5},
            {"zeta": 1.0},
            {"zeta": 1.0, "lambda_": 2.0},
            {"zeta": 1.0, "lambda_": 1.0},
            {"zeta": 1.0, "lambda_": 2.0, "steps": 500},
        ),
        sampler=_diffpir,
        units=in_unit_interval,
    ),
    adapted(
        name="deepinv dps",
        package="deepinv",
        citation="Chung et al.: Diffusion Posterior Sampling for General Noisy Inverse Problems, ICLR 2023",
        needs=LINEAR,
        defaults={"steps": 1000, "weight": 1.0, "guidance": "norm", "schedule": "vp"},
        grid=(
            {},
            {"steps": 300, "weight": 30.0},
            {"steps": 300, "weight": 100.0},
            {"steps": 300, "weight": 300.0},
            {"steps": 300, "guidance": "annealed", "weight": 3.0},
            {"steps": 300, "guidance": "annealed", "weight": 10.0},
        ),
        sampler=_dps,
        units=in_unit_interval,
    ),
    adapted(
        name="deepinv moment matching",
        package="deepinv",
        citation="Rozet, Andry, Lanusse, Louppe: Learning Diffusion Priors from Observations by EM, NeurIPS 2024",
        needs=LINEAR,
        defaults={"steps": 100, "cg": 3, "weight": 1.0, "solver": "euler", "spacing": "linear"},
        grid=(
            {},
            {"solver": "ddpm"},
            {"solver": "ddpm", "spacing": "quadratic"},
            {"solver": "ddpm", "spacing": "quadratic", "cg": 10},
            {"solver": "ddpm", "spacing": "quadratic", "cg": 10, "steps": 300},
        ),
        sampler=_moment_matching,
        units=standardised,
    ),
)
