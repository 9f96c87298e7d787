"""Reconstructions of a scan in HDF5: posterior samples of its slices, mean and standard deviation."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from inverse.app.fastmri import Problem
from inverse.solution import Solution
from operators.kspace import to_complex
from priors.files import FileError, atomic, hdf5_path
from priors.hdf5 import NUMBERS, SEAL, checksum, opened

REDO = "remove it and solve again"


@dataclass(frozen=True)
class Reconstruction:
    """The posterior of one slice, in scanner units.

    Attributes: samples (K, H, W), complex64 for complex pictures, else float32; log_weights (K,); mean (H, W), of the
    same dtype; std (H, W), of real and imaginary part together, nan for a single sample; scale and sigma: see
    `Problem`; method.
    """

    samples: Tensor
    log_weights: Tensor
    mean: Tensor
    std: Tensor
    scale: float
    sigma: float
    method: str

    @classmethod
    def of(cls, solution: Solution, problem: Problem) -> "Reconstruction":
        """The solution of a problem, (1, K, channels, H, W), converted to scanner units."""
        x, mean = solution.samples[0], solution.mean[0]
        std = solution.std[0] if len(x) > 1 else torch.full_like(mean, torch.nan)
        pictures = [z[..., 0, :, :] if problem.operator.channels == 1 else to_complex(z) for z in (x, mean)]
        samples, mean, std = (problem.scale * z for z in (*pictures, std.square().sum(0).sqrt()))
        return cls(samples, solution.log_weights[0], mean, std, problem.scale, problem.sigma, solution.method)

    def followed_by(self, more: "Reconstruction") -> "Reconstruction":
        """These samples combined with those of a later solve of the same problem; all have equal weights."""
        samples = torch.cat((self.samples, more.samples))
        spread = torch.view_as_real(samples) if samples.is_complex() else samples[..., None]
        std = spread.std(0).square().sum(-1).sqrt()
        weights = torch.cat((self.log_weights, more.log_weights))
        return replace(self, samples=samples, log_weights=weights, mean=samples.mean(0), std=std)


ARRAYS = tuple(f.name for f in fields(Reconstruction))
NUMERIC = ("slices", "reconstruction", *(name for name in ARRAYS if name != "method"))
FILLED = {"samples": torch.nan, "log_weights": -torch.inf}  # where a slice has fewer samples than others
COUNTS = "counts"  # samples per slice; older files lack it, their slices have equally many


def write_reconstruction(
    path: str | Path, found: dict[int, Reconstruction], provenance: dict[str, str | float]
) -> None:
    """Write solved slices to a file, atomically.

    Arguments: path; found: by slice number, at least one; provenance: attributes of the file. Datasets: "slices" (S,),
    the slice numbers; "reconstruction" (S, H, W), the magnitude of the mean, named as in fastMRI; and the attributes
    of `Reconstruction`, with a leading axis of slices; "counts" (S,), the number of samples of each slice. Slices with
    fewer samples than others are filled up: their "samples" are nan and their "log_weights" -inf from there on.
    Raises: ValueError if the path has the ending of another format.
    """
    path, order = hdf5_path(path, "reconstruction"), sorted(found)
    arrays: dict[str, Any] = {"slices": np.asarray(order)}
    counts = [len(found[n].samples) for n in order]
    arrays[COUNTS] = np.asarray(counts)
    arrays["reconstruction"] = np.stack([found[n].mean.abs().cpu().numpy() for n in order])
    for name in ARRAYS:
        values: list[Any] = [getattr(found[n], name) for n in order]
        if name in FILLED:
            values = [_filled(value, max(counts), FILLED[name]) for value in values]
        arrays[name] = torch.stack(values).cpu().numpy() if isinstance(values[0], Tensor) else values
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(provenance | {SEAL: checksum(provenance, arrays)})


def _filled(values: Tensor, count: int, value: float) -> Tensor:
    return torch.cat((values, values.new_full((count - len(values), *values.shape[1:]), value)))


def read_reconstruction(path: str | Path) -> tuple[dict[int, Reconstruction], dict[str, str | float]]:
    """Read a file written by `write_reconstruction`: slices by number, and the provenance.

    Raises: FileNotFoundError; ValueError for a truncated or foreign file.
    """
    with opened(path, "reconstruction", REDO) as file:
        arrays: dict[str, Any] = {name: file.array(name, NUMBERS + "c") for name in NUMERIC}
        arrays["method"] = file.texts("method")
        if COUNTS in file:
            arrays[COUNTS] = file.array(COUNTS)
        provenance = {name: value if isinstance(value, str) else value.item() for name, value in file.attrs.items()}
    seal = provenance.pop(SEAL, None)
    if seal not in (None, checksum(provenance, arrays)):
        raise FileError(f"{path}: the data do not match their checksum: {REDO}")
    numbers = arrays["slices"].tolist()
    values: dict[str, Any] = {name: v if isinstance(v, list) else [*torch.from_numpy(v)] for name, v in arrays.items()}
    if any(len(rows) != len(numbers) for rows in values.values()):
        raise FileError(f"{path}: array lengths do not match the {len(numbers)} slices: {REDO}")
    for name in ("scale", "sigma"):
        values[name] = [float(value) for value in values[name]]
    for i, count in enumerate(arrays.get(COUNTS, ())):
        if not 1 <= count <= len(values["samples"][i]):
            raise FileError(f"{path}: slice {numbers[i]} has {count} of {len(values['samples'][i])} samples: {REDO}")
        for name in FILLED:
            values[name][i] = values[name][i][: int(count)]
    return {n: Reconstruction(**{name: values[name][i] for name in ARRAYS}) for i, n in enumerate(numbers)}, provenance
