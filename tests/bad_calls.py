"""Good calls of the whole public surface, and what spoils an argument: the material of the sweep in test_calls.py."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

import inverse
import operators
import priors
from inverse import (
    METHODS,
    Method,
    correctors,
    flow,
    grids,
    guidance,
    population,
    predictors,
    quality,
    weights,
)
from inverse.methods import Handover
from operators import GaussianNoise, Masking, coils, kernels, sampling
from priors import VESDE, VPSDE, DataRange
from priors.losses import denoising_score_matching
from priors.objectives import Focus
from priors.pictures import Crops, Pictures
from priors.sde import LadderSDE
from priors.training import TrainingConfig
from tests.cases import score_prior

NAN, INF = math.nan, math.inf
SPOILT: dict[str, Any] = {
    "None": None,
    "text": "yes",
    "empty text": "",
    "True": True,
    "nan": NAN,
    "inf": INF,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "1e30": 1e30,
    "huge int": 10**30,
    "complex": 1j,
    "list": [1.0, 2.0],
    "empty list": [],
    "list of texts": ["a", "b"],
    "dict": {"a": 1},
    "object": object(),
    "class": dict,
    "function": len,
    "numpy": np.ones((1, 1, 8, 8)),
    "0-d nan": torch.tensor(NAN),
    "empty tensor": torch.zeros(0),
    "no rows": torch.zeros(0, 1, 8, 8),
    "another size": torch.ones(1, 1, 5, 7),
    "another batch": torch.ones(3, 1, 8, 8),
    "no batch": torch.ones(8, 8),
    "five axes": torch.ones(1, 1, 1, 8, 8),
    "int tensor": torch.ones(1, 1, 8, 8, dtype=torch.int64),
    "bool tensor": torch.ones(1, 1, 8, 8, dtype=torch.bool),
    "complex tensor": torch.ones(1, 1, 8, 8, dtype=torch.complex64),
    "nan tensor": torch.full((1, 1, 8, 8), NAN),
    "huge tensor": torch.full((1, 1, 8, 8), 1e38),
    "meta tensor": torch.ones(1, 1, 8, 8, device="meta"),
}


@dataclass(frozen=True)
class Good:
    """A call that works: a function and its arguments by name."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]

    def spoilt(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """(argument, spoil, call) for every argument and all that spoils one."""
        for argument in self.arguments:
            for label, value in SPOILT.items():
                yield argument, label, functools.partial(self.call, **(self.arguments | {argument: value}))


X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
G = GaussianNoise(0.1)
KERNEL = torch.ones(3, 3) / 9
MASK = torch.ones(8, 8)
GAUSSIAN = priors.Gaussian(torch.full((64,), 0.5), 0.04 * torch.eye(64), VESDE(), event_shape=(1, 8, 8))
SMALL = priors.Gaussian(torch.zeros(2), torch.eye(2), VPSDE())


def linear_operators() -> dict[str, Any]:
    """Operators of one channel of 8 x 8 pixels."""
    return {
        "Masking": Masking(MASK, G),
        "Blur": operators.Blur(KERNEL, noise=G),
        "PaddedBlur": operators.Blur(KERNEL, "valid", noise=G),
        "Downsampling": operators.Downsampling(2, G),
        "Resize": operators.Resize(2.0, noise=G),
        "Radon": operators.Radon(6, 8, noise=G),
        "LinearMap": operators.LinearMap(torch.eye(64), G, (1, 8, 8)),
        "Fourier": operators.Fourier(MASK, noise=G),
        "CompressedSensing": operators.CompressedSensing(0.5, noise=G, event_shape=(1, 8, 8)),
        "VaryingBlur": operators.VaryingBlur.defocus((1, 8, 8), noise=G),
        "Stack": operators.Stack([Masking(MASK, G), operators.Downsampling(2, G)]),
        "Composition": Masking(torch.ones(4, 4), G) @ operators.Downsampling(2, G),
    }


def other_operators() -> dict[str, Any]:
    return {
        "Saturation": operators.Saturation(noise=G),
        "JPEG": operators.JPEG(noise=G),
        "PhaseRetrieval": operators.PhaseRetrieval(noise=G),
        "Transmission": operators.Transmission(operators.PoissonNoise(100.0)),
        "Classifier": operators.Classifier(Logits()),
    }


class Logits(nn.Module):
    n_classes = 3

    def forward(self, x, t):
        return x.flatten(1)[:, :3]


def of_operators() -> Iterator[Good]:
    for name, op in linear_operators().items():
        op(X)
        y = op.measure(X, seed=0)
        yield Good(f"{name}()", op, {"x": X})
        yield Good(f"{name}.measure", op.measure, {"x": X, "seed": 0})
        yield Good(f"{name}.adjoint", op.adjoint, {"y": y})
        yield Good(f"{name}.pinv", op.pinv, {"y": y})
        yield Good(f"{name}.solve_gram", op.solve_gram, {"y": y, "r2": 0.1})
        yield Good(f"{name}.vjp", op.vjp, {"x": X, "v": y})
        yield Good(f"{name}.log_likelihood", op.log_likelihood, {"y": y, "x": X})
        yield Good(f"{name}.measurement_shape", op.measurement_shape, {"event_shape": (1, 8, 8)})
        yield Good(f"{name}.validate_y", op.validate_y, {"y": y, "event_shape": (1, 8, 8)})
        yield Good(f"{name}.rows", op.rows, {"index": torch.arange(1)})
    for name, op in other_operators().items():
        y = op.measure(X, seed=0)
        v = op(X)
        yield Good(f"{name}()", op, {"x": X})
        yield Good(f"{name}.measure", op.measure, {"x": X, "seed": 0})
        yield Good(f"{name}.vjp", op.vjp, {"x": X, "v": v})
        yield Good(f"{name}.log_likelihood", op.log_likelihood, {"y": y, "x": X})
        yield Good(f"{name}.measurement_shape", op.measurement_shape, {"event_shape": (1, 8, 8)})
        yield Good(f"{name}.validate_y", op.validate_y, {"y": y, "event_shape": (1, 8, 8)})
    classifier = other_operators()["Classifier"]
    labels = torch.tensor([0, 1])
    yield Good("noisy_log_likelihood", classifier.noisy_log_likelihood, {"y": labels, "x": X, "t": torch.tensor(0.5)})
    yield Good("fbp", linear_operators()["Radon"].fbp, {"y": linear_operators()["Radon"](X), "filter": "ramp"})
    transmission = other_operators()["Transmission"]
    yield Good("line_integrals", transmission.line_integrals, {"y": transmission(X)})
    yield from (
        Good("Masking", Masking, {"mask": MASK, "noise": G, "event_ndim": 2}),
        Good("Masking.random", Masking.random, {"event_shape": (1, 8, 8), "keep": 0.5, "seed": 0, "noise": G}),
        Good("Masking.box", Masking.box, {"event_shape": (1, 8, 8), "size": 2, "corner": (1, 1), "noise": G}),
        Good("Masking.half", Masking.half, {"event_shape": (1, 8, 8), "seen": "left", "noise": G}),
        Good("Blur", operators.Blur, {"kernel": KERNEL, "boundary": "circular", "noise": G}),
        Good("Blur.gaussian", operators.Blur.gaussian, {"sigma_px": 1.0, "boundary": "valid", "truncate": 3.0}),
        Good("Blur.motion", operators.Blur.motion, {"size": 5, "seed": 0, "length": 3.0, "boundary": "circular"}),
        Good("Downsampling", operators.Downsampling, {"factor": 2, "noise": G}),
        Good("Resize", operators.Resize, {"factor": 2.0, "kernel": "bicubic", "noise": G}),
        Good("Grayscale", operators.Grayscale, {"noise": G, "weights": (0.3, 0.3, 0.4)}),
        Good("Bayer", operators.Bayer, {"pattern": "RGGB", "noise": G}),
        Good("JPEG", operators.JPEG, {"quality": 50, "subsampling": "4:2:0", "noise": G, "rounding": "smooth"}),
        Good("Radon", operators.Radon, {"angles": 6, "size": 8, "detectors": 12, "noise": G, "pixel": 1.0}),
        Good("Radon.sparse_view", operators.Radon.sparse_view, {"size": 8, "views": 6, "noise": G}),
        Good(
            "Radon.limited_angle", operators.Radon.limited_angle, {"size": 8, "degrees": 90.0, "views": 6, "start": 0}
        ),
        Good("LinearMap", operators.LinearMap, {"matrix": torch.eye(4), "noise": G, "event_shape": (4,)}),
        Good("Fourier", operators.Fourier, {"mask": MASK, "noise": G, "channels": 1}),
        Good(
            "Fourier of coils",
            operators.Fourier,
            {"mask": MASK, "sensitivities": torch.ones(2, 8, 8, dtype=torch.complex64), "phase": torch.zeros(8, 8)},
        ),
        Good(
            "Fourier.cartesian",
            operators.Fourier.cartesian,
            {
                "event_shape": (1, 8, 8),
                "acceleration": 2.0,
                "calibration": 0.2,
                "kind": "variable",
                "seed": 0,
                "coils": 2,
            },
        ),
        Good("Fourier.radial", operators.Fourier.radial, {"event_shape": (1, 8, 8), "spokes": 3, "coils": 2}),
        Good(
            "Fourier.poisson_disc",
            operators.Fourier.poisson_disc,
            {"event_shape": (1, 8, 8), "acceleration": 2.0, "calibration": 0.2, "seed": 0, "coils": None},
        ),
        Good(
            "CompressedSensing",
            operators.CompressedSensing,
            {"keep": 0.5, "transform": "dct", "seed": 0, "noise": G, "event_shape": (1, 8, 8)},
        ),
        Good(
            "PhaseRetrieval", operators.PhaseRetrieval, {"oversampling": 2.0, "noise": G, "masks": torch.ones(1, 8, 8)}
        ),
        Good("coded", operators.PhaseRetrieval.coded, {"event_shape": (1, 8, 8), "n_masks": 2, "seed": 0}),
        Good("Saturation", operators.Saturation, {"gain": 2.0, "limit": 1.0, "softness": 0.0, "noise": G}),
        Good("Transmission", operators.Transmission, {"noise": G, "offset": 0.0}),
        Good("attenuation", operators.attenuation, {"hu": 0.0, "water": 0.02}),
        Good(
            "VaryingBlur",
            operators.VaryingBlur,
            {"kernels": torch.ones(2, 3, 3) / 9, "windows": torch.ones(2, 8, 8) / 2, "boundary": "reflect", "noise": G},
        ),
        Good("grid", operators.VaryingBlur.grid, {"kernels": torch.ones(2, 2, 3, 3) / 9, "event_shape": (1, 8, 8)}),
        Good("rotation", operators.VaryingBlur.rotation, {"event_shape": (1, 8, 8), "degrees": 5.0, "nodes": 2}),
        Good(
            "defocus", operators.VaryingBlur.defocus, {"event_shape": (1, 8, 8), "top": 0.0, "bottom": 2.0, "nodes": 2}
        ),
        Good("Classifier", operators.Classifier, {"network": Logits()}),
        Good("Composition", operators.Composition, {"outer": Masking(MASK), "inner": Masking(MASK)}),
        Good("Stack", operators.Stack, {"operators": [Masking(MASK)]}),
        Good("GaussianNoise", GaussianNoise, {"sigma": 0.1, "event_ndim": None}),
        Good("PoissonNoise", operators.PoissonNoise, {"peak": 10.0, "event_ndim": None}),
        Good("check", operators.check, {"op": Masking(MASK, G), "event_shape": (1, 8, 8), "seed": 0, "x": X}),
        Good("estimate_sigma", operators.estimate_sigma, {"y": torch.rand(1, 1, 64, 64), "operator": None}),
        Good("get", operators.get, {"name": "blur"}),
        Good("make", operators.make, {"name": "masking", "mask": MASK}),
        Good("register", operators.register, {"name": "masking"}),
        Good("motion_kernel", kernels.motion_kernel, {"size": 5, "seed": 0, "length": 3.0}),
        Good(
            "sampling.cartesian",
            sampling.cartesian,
            {"shape": (8, 8), "acceleration": 2.0, "kind": "uniform", "seed": 0},
        ),
        Good("sampling.radial", sampling.radial, {"shape": (8, 8), "spokes": 2}),
        Good("smooth_sensitivities", coils.smooth_sensitivities, {"coils": 2, "shape": (8, 8)}),
        Good(
            "estimate_sensitivities",
            coils.estimate_sensitivities,
            {
                "y": torch.rand(1, 2, 2, 16, 16),
                "mask": torch.ones(16, 16, dtype=torch.bool),
                "kernel": 5,
                "threshold": 0.05,
            },
        ),
        Good("estimate_phase", coils.estimate_phase, {"y": torch.rand(1, 2, 8, 8), "mask": torch.ones(8, 8).bool()}),
    )


def of_priors() -> Iterator[Good]:
    network = score_prior()
    for name, sde in {"VESDE": VESDE(), "VPSDE": VPSDE(), "LadderSDE": LadderSDE.ddpm(n=50)}.items():
        for curve in ("alpha", "sigma", "f", "g2"):
            yield Good(f"{name}.{curve}", getattr(sde, curve), {"t": 0.5})
        yield Good(f"{name}.bridge", sde.bridge, {"t": 0.5, "s": 0.2})
    for name, prior in {"Gaussian": GAUSSIAN, "ScorePrior": network}.items():
        yield Good(f"{name}.score", prior.score, {"x": X, "t": 0.5})
        yield Good(f"{name}.denoise", prior.denoise, {"x": X, "t": 0.5})
        yield Good(f"{name}.denoise_vjp", prior.denoise_vjp, {"x": X, "t": 0.5})
        yield Good(f"log_density of {name}", priors.log_density_along, {"prior": prior, "x": X, "t": 0.5, "nodes": 2})
    y = Masking(torch.ones(2), G, event_ndim=1).measure(torch.ones(1, 2))
    yield from (
        Good("VESDE", VESDE, {"sigma_min": 0.01, "sigma_max": 50.0}),
        Good("VPSDE", VPSDE, {"beta_min": 0.1, "beta_max": 20.0, "scale": 1.0}),
        Good("SubVPSDE", priors.SubVPSDE, {"beta_min": 0.1, "beta_max": 20.0, "scale": 1.0}),
        Good("LadderSDE", LadderSDE, {"alphas": (1.0, 1.0), "sigmas": (0.1, 1.0)}),
        Good("smld", LadderSDE.smld, {"sigma_min": 0.1, "sigma_max": 1.0, "n": 10}),
        Good("ddpm", LadderSDE.ddpm, {"beta_min": 0.1, "beta_max": 5.0, "n": 10, "scale": 1.0}),
        Good("from_alphas_bar", LadderSDE.from_alphas_bar, {"alphas_bar": [0.9, 0.5], "scale": 1.0}),
        Good("DataRange", DataRange, {"shift": 0.5, "scale": 0.5}),
        Good("Units", priors.Units, {"name": "HU", "zero": -1000.0, "one": 1000.0}),
        Good(
            "ScorePrior",
            priors.ScorePrior,
            {
                "network": network.network,
                "sde": VESDE(),
                "event_shape": (1, 8, 8),
                "prediction": "preconditioned",
                "range": DataRange(),
                "moments": None,
                "units": None,
                "spectrum": None,
            },
        ),
        Good("with_sde", network.with_sde, {"sde": VPSDE()}),
        Good("resized", network.resized, {"event_shape": (1, 8, 8)}),
        Good("Tiled", priors.Tiled, {"prior": priors.load("natural-grey"), "tile": 8}),
        Good(
            "Gaussian",
            priors.Gaussian,
            {"mean": torch.zeros(2), "covariance": torch.eye(2), "sde": VESDE(), "event_shape": (2,)},
        ),
        Good(
            "GaussianMixture",
            priors.GaussianMixture,
            {"means": torch.zeros(1, 2), "covariances": torch.eye(2)[None], "weights": torch.ones(1), "sde": VESDE()},
        ),
        Good("sample", SMALL.sample, {"n": 2, "seed": 0, "dtype": torch.float32}),
        Good("log_prob", SMALL.log_prob, {"x": torch.zeros(1, 2), "t": 0.5}),
        Good("posterior", SMALL.posterior, {"operator": Masking(torch.ones(2), G, event_ndim=1), "y": y}),
        Good("log_evidence", SMALL.log_evidence, {"operator": Masking(torch.ones(2), G, event_ndim=1), "y": y}),
        Good(
            "log_likelihood",
            priors.log_likelihood,
            {
                "prior": SMALL,
                "x": torch.zeros(1, 2),
                "seed": 0,
                "probe": "exact",
                "n_probes": 1,
                "rtol": 0.01,
                "atol": 0.01,
                "t_min": 1e-3,
                "batch_size": None,
            },
        ),
        Good(
            "bits_per_dim",
            priors.bits_per_dim,
            {"prior": SMALL, "x": torch.zeros(1, 2), "seed": 0, "levels": 2, "dequantize": False, "rtol": 0.01},
        ),
        Good("log_density", priors.log_density, {"prior": SMALL, "x": torch.zeros(1, 2), "t": 0.5, "n_steps": 2}),
        Good("encode", priors.encode, {"prior": SMALL, "x": torch.zeros(1, 2), "n_steps": 2, "t_min": 1e-3}),
        Good("decode", priors.decode, {"prior": SMALL, "z": torch.zeros(1, 2), "n_steps": 2, "denoise": False}),
        Good("slerp", priors.slerp, {"z0": torch.ones(1, 2), "z1": torch.zeros(1, 2) + 0.1, "weight": 0.5}),
        Good("temper", priors.temper, {"z": torch.ones(1, 2), "temperature": 0.5}),
        Good(
            "from_denoiser",
            priors.from_denoiser,
            {
                "denoiser": lambda x, s: x,
                "sde": VESDE(),
                "event_shape": (1, 8, 8),
                "sigma_min": 0.0,
                "sigma_max": 60.0,
                "variance": 0.25,
            },
        ),
        Good("Moments.isotropic", priors.Moments.isotropic, {"event_shape": (1, 8, 8), "variance": 1.0}),
        Good("Moments.of_images", priors.Moments.of_images, {"images": torch.rand(4, 1, 8, 8), "rank": 2}),
        Good("of_covariance", priors.Moments.of_covariance, {"mean": torch.zeros(2), "covariance": torch.eye(2)}),
        Good("Spectrum.of_crops", priors.Spectrum.of_crops, {"crops": torch.rand(4, 1, 16, 16)}),
        Good("RowRNG", priors.RowRNG, {"seed": 0, "keys": [(0,)]}),
        Good("RowRNG.rows", priors.RowRNG.rows, {"seed": 0, "n": 2}),
        Good("load", priors.load, {"source": "fashion-mnist", "sde": None, "config": None, "event_shape": None}),
        Good("load_classifier", priors.load_classifier, {"source": "fashion-mnist-classifier"}),
        Good("samples", priors.samples, {"source": "fashion-mnist"}),
        Good("labels", priors.labels, {"source": "fashion-mnist-classifier"}),
        Good("available", priors.available, {"kind": "prior"}),
        Good("Focus", Focus, {"sigma": 0.2, "spread": 1.0, "share": 0.5}),
        Good(
            "Crops",
            Crops,
            {
                "pictures": Pictures((torch.zeros(1, 9, 9, dtype=torch.uint8),)),
                "size": 8,
                "scales": (1.0,),
                "turns": True,
            },
        ),
        Good("TrainingConfig", TrainingConfig, {"steps": 1} | {f: getattr(TrainingConfig(1), f) for f in FIELDS}),
        Good(
            "loss",
            denoising_score_matching,
            {"prior": network, "x0": X, "t": torch.tensor([0.1, 0.2]), "z": X, "weight": "score"},
        ),
    )


FIELDS = (
    "minutes", "batch_size", "lr", "cosine", "warmup", "clip", "ema", "precision", "held_out", "flip", "save_minutes",
    "seed",
)  # fmt: skip


def of_inverse() -> Iterator[Good]:
    op = Masking(MASK, G)
    y = op.measure(X, seed=0)
    solving = {
        "prior": GAUSSIAN,
        "operator": op,
        "y": y,
        "n_samples": 2,
        "method": "ddrm",
        "n_steps": 2,
        "seed": 0,
        "batch_size": None,
        "budget": None,
        "antithetic": False,
    }
    solution = inverse.solve(**solving, progress=False)
    yield Good("solve", functools.partial(inverse.solve, progress=False), solving | {"first": 0})
    yield Good("solve's bar", inverse.solve, solving | {"progress": False})
    yield Good("plan", inverse.plan, solving)
    yield Good(
        "sample",
        functools.partial(inverse.sample, progress=False),
        {"prior": GAUSSIAN, "n_samples": 2, "method": "ode", "n_steps": 2, "seed": 0, "batch_size": None},
    )
    draws = torch.rand(99, 1, 8, 8)
    yield Good(
        "examine",
        inverse.examine,
        {"solution": solution, "operator": op, "y": y, "prior": GAUSSIAN, "draws": draws},
    )
    yield from (
        Good("psnr", quality.psnr, {"estimate": X, "truth": X}),
        Good("ssim", quality.ssim, {"estimate": X, "truth": X}),
        Good("residual_chi2", quality.residual_chi2, {"operator": op, "y": y, "x": X}),
        Good("predictive_p", quality.predictive_p, {"operator": op, "y": y, "samples": solution.samples}),
        Good(
            "prior_predictive_p",
            quality.prior_predictive_p,
            {"prior": GAUSSIAN, "operator": op, "y": y, "draws": draws, "seed": 0},
        ),
        Good("resample", solution.resample, {"n": 2, "seed": 0}),
        Good("quantiles", solution.quantiles, {"q": 0.5}),
        Good("followed_by", solution.followed_by, {"more": solution}),
        Good(
            "Method",
            Method,
            {
                "name": "mine",
                "guidance": guidance.DPS(),
                "predictor": predictors.Ancestral(),
                "correctors": (),
                "grid": grids.karras,
                "n_steps": 10,
                "population": population.Independent(),
                "head": None,
                "order": "predict-first",
                "then": None,
            },
        ),
        Good("Handover", Handover, {"method": METHODS["mmps"], "foot": 0.1, "share": 0.5}),
        Good("effective_size", weights.effective_size, {"log_weights": torch.zeros(1, 30)}),
        Good("pareto_k", weights.pareto_k, {"log_weights": torch.zeros(1, 30)}),
    )
    for name, grid in grids.GRIDS.items():
        yield Good(name, grid, {"sde": VESDE(), "n": 4, "start": 1.0, "end": 0.1})
    parts: list[ModuleType] = [guidance, predictors, correctors, population, flow, grids]
    for part in (value for module in parts for value in vars(module).values()):
        if inspect.isclass(part) and hasattr(part, "__dataclass_fields__") and part.__module__.startswith("inverse"):
            fields = {f.name: getattr(part(), f.name) for f in dataclasses.fields(part)} if _bare(part) else {}
            if fields:
                yield Good(part.__name__, part, fields)


def _bare(part: type) -> bool:
    """Whether it can be made without arguments."""
    try:
        part()
    except TypeError:
        return False
    return True


ROOMS = {"operators": of_operators, "priors": of_priors, "inverse": of_inverse}
