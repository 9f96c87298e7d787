"""Execute one unit: its answer, metrics and cost, or its error."""

import resource
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.problems import Problem
from benchmarks.suite import metrics
from benchmarks.suite.methods import Answer, Truth
from benchmarks.suite.metrics import Judged
from benchmarks.suite.records import PICTURED, Record
from benchmarks.suite.units import Unit
from operators import LinearOperator, Operator

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux: the peak of a unit, not of a process


def execute(unit: Unit, provenance: Mapping[str, Any]) -> Record:
    """The record of a unit: its answer and metrics, or its error.

    Arguments: unit; provenance: of the whole run.
    """
    problem, row = unit.problem, unit.row
    spec, prior = problem.spec, problem.prior
    part = problem.part(unit.images).to(prior.device)
    about: dict[str, Any] = {
        "key": unit.key, "problem": problem.name, "task": spec.task, "prior": Path(spec.prior).name,
        "method": row.name, "posterior": row.posterior, "seed": unit.seed, "images": unit.images,
        "n_samples": unit.n_samples,
    }  # fmt: skip
    notes: dict[str, Any] = {} if problem.features is None else {"features": problem.features.title}
    warned: list[str] = []
    _reset_peak(prior.device)
    start = time.perf_counter()
    try:
        if isinstance(row, Truth):
            return Record(**about, features=_features(unit, part.truth), provenance={**provenance, **notes})
        settings = row.facts(part.operator, prior, unit.n_samples)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = row.run(prior, part.operator, part.y, unit.n_samples, unit.stream)
        if prior.device.type == "cuda":
            torch.cuda.synchronize(prior.device)  # or the time would be that of asking
        warned = list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))[:3]
        seconds = time.perf_counter() - start
        _check(answer, part, unit.n_samples)
        about |= {"settings": settings, "nfe": answer.nfe, "nvjp": answer.nvjp, **_measured(unit, part, answer)}
        about["posterior"] = answer.samples is not None
    except Exception as error:  # a failure is recorded, and the others continue
        seconds = time.perf_counter() - start
        about["error"] = f"{type(error).__name__}: {error}"[:2000]
    notes |= {"warnings": warned} if warned else {}
    return Record(**about, seconds=seconds, peak_memory=_peak(prior.device), provenance={**provenance, **notes})


def _measured(unit: Unit, part: Problem, answer: Answer) -> dict[str, Any]:
    """The parts of an answer that a record stores."""
    problem = unit.problem
    judged = Judged(
        part.truth, part.y, part.operator, answer.mean, answer.samples, answer.log_weights, part.labels, problem.judge,
        problem.resolution, unit.stream, answer.antithetic,
    )  # fmt: skip
    found, scales, missing = metrics.measure(judged)
    stored: dict[str, Any] = {"metrics": found, "scales": scales, "missing": missing}
    if answer.samples is not None:
        stored["ranks"] = metrics.histogram(judged.ranked)
    stored["features"] = _features(unit, judged.one)
    if judged.pictures:
        pictures = {"truth": part.truth, "mean": answer.mean, "std": answer.std}
        pictures["measurement"] = seen(part.operator.at(tuple(part.truth.shape[1:])), part.y)
        pictures["samples"] = None if answer.samples is None else answer.samples[:, :PICTURED]
        stored["pictures"] = {name: _float32(x) for name, x in pictures.items() if x is not None}
    return stored


def seen(operator: Operator, y: Tensor) -> Tensor | None:
    """A measurement y (B, *M) as a picture, (B, C, H, W): itself where it is grey or coloured, else what the adjoint of
    a linear operator makes of it; of others itself where it has an image's axes, else None."""
    if isinstance(operator, LinearOperator) and not (y.ndim == 4 and y.shape[1] in (1, 3)):
        return operator.adjoint(y)
    return y if y.ndim == 4 else None


def _features(unit: Unit, x: Tensor) -> np.ndarray | None:
    space = unit.problem.features
    return None if space is None else space.of(x.cpu()).numpy()


def _float32(x: Tensor) -> np.ndarray:
    return x.detach().cpu().float().numpy()


def _check(answer: Answer, part: Problem, n_samples: int) -> None:
    """Refuse an answer of wrong shapes or that is not finite, since third-party rows may fail."""
    shape = tuple(part.truth.shape)
    if tuple(answer.mean.shape) != shape:
        raise ValueError(f"its mean has shape {tuple(answer.mean.shape)}: expected {shape}")
    expected = (shape[0], n_samples, *shape[1:])
    if answer.samples is not None and tuple(answer.samples.shape) != expected:
        raise ValueError(f"its samples have shape {tuple(answer.samples.shape)}: expected {expected}")
    if not all(bool(x.isfinite().all()) for x in (answer.mean, answer.samples) if x is not None):
        raise ArithmeticError("its answer has entries that are nan or infinite")


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        try:
            CLEAR.write_text("5")
        except OSError:  # not allowed here: the peak is that of the process
            return


def _peak(device: torch.device) -> int:
    """Peak memory in bytes since the reset: of the device, or of this whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
