"""Good calls of solve, of methods' parts and of solutions."""

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from types import ModuleType

import torch

import inverse
from inverse import (
    METHODS,
    Method,
    correctors,
    grids,
    guidance,
    population,
    predictors,
    quality,
    weights,
)
from inverse.methods import Pivot
from operators import Masking
from priors import VESDE
from tests.calls.good import GAUSSIAN, MASK, G, Good, X


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
    yield Good("solve", functools.partial(inverse.solve, progress=False), solving | {"first": 0, "numbers": [0, 1]})
    yield Good("solve's bar", inverse.solve, solving | {"progress": False})
    yield Good("plan", inverse.plan, solving)
    yield Good(
        "sample",
        functools.partial(inverse.sample, progress=False),
        {"prior": GAUSSIAN, "n_samples": 2, "method": "ode", "n_steps": 2, "seed": 0, "batch_size": None},
    )
    yield Good(
        "calibrate",
        functools.partial(inverse.calibrate, method="ddrm", progress=False),  # a function raises errors of its own
        {
            "prior": GAUSSIAN,
            "operator": op,
            "n_draws": 2,
            "n_samples": 2,
            "n_steps": 2,
            "seed": 0,
            "statistics": {"first": lambda x: x[:, 0, 0, 0]},
            "regions": {"upper": torch.arange(64).view(8, 8) < 32},
            "truths": X,
            "y": y,
            "resolution": 0.0,
            "false_alarm": 0.05,
            "batch_size": None,
            "budget": None,
            "precision": "float32",
            "processes": 1,
            "overwrite": False,
        },
    )
    conforming = {
        "prior": GAUSSIAN,
        "operator": op,
        "truths": X,
        "level": 0.5,
        "guarantee": "average",
        "delta": 0.1,
        "n_samples": 2,
        "n_steps": 2,
        "seed": 0,
        "y": y,
        "regions": {"upper": torch.arange(64).view(8, 8) < 32},
        "statistics": {"first": lambda x: x[:, 0, 0, 0]},
        "batch_size": None,
        "budget": None,
        "precision": "float32",
        "processes": 1,
        "overwrite": False,
    }
    conform = functools.partial(inverse.conformal, method="ddrm", progress=False)
    conformed = conform(**conforming)
    yield Good("conformal", conform, conforming)
    yield Good("interval", conformed.interval, {"solution": solution})
    yield Good("interval_of", conformed.interval_of, {"solution": solution, "name": "upper"})
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
                "tail": None,
                "order": "predict-first",
            },
        ),
        Good(
            "Pivot",
            Pivot,
            {
                "name": "mine",
                "first": METHODS["mmps"],
                "second": METHODS["mmps"],
                "n_steps": 10,
                "share": 0.5,
                "level": 0.1,
                "most": 20,
                "covariances": 0.5,
                "nodes": 4,
                "kernels": 4.0,
                "rows": 1,
            },
        ),
        Good("effective_size", weights.effective_size, {"log_weights": torch.zeros(1, 30)}),
        Good("pareto_k", weights.pareto_k, {"log_weights": torch.zeros(1, 30)}),
    )
    for name, grid in grids.GRIDS.items():
        yield Good(name, grid, {"sde": VESDE(), "n": 4, "start": 1.0, "end": 0.1})
    parts: list[ModuleType] = [guidance, predictors, correctors, population, grids]
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
