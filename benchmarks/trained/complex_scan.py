"""Complex scans of several coils from files: `inverse scan` beside CG-SENSE and TV-SENSE, in two formats."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.common.tv import total_variation
from benchmarks.trained.denoising import load
from benchmarks.trained.noncartesian import LADDER, cg_sense
from inverse.app.reconstruction import Reconstruction, read_reconstruction
from inverse.app.scan import scan
from inverse.quality.ranks import ranks
from inverse.scans import Scan, read_scan
from operators.coils import smooth_sensitivities
from operators.kspace import fftc, to_complex
from operators.sampling import cartesian
from priors.data import floats

PRIOR, COILS, ACCELERATION, CALIBRATION, SIGMA = "brain-mri-224", 8, 4, 0.08, 0.01
MIXED, UNIT, PREWHITENED = 0.3, 1e-4, 4000  # correlation of coils' noise; of the scanner; samples of the noise scan
DARK, BORDER = 0.03, 6  # largest mean of the outermost pixels: other slices have a frame
BUMPS = 3  # of the phase, as where tissue borders on air
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{n}</x><y>{n}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>220</x><y>220</y><z>5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{n}</x><y>{n}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>220</x><y>220</y><z>5</z></fieldOfView_mm></reconSpace>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
   </kspace_encoding_step_1></encodingLimits>
  <trajectory>cartesian</trajectory>
 </encoding>
</ismrmrdHeader>"""


def phase(n: int, generator: np.random.Generator) -> Tensor:
    """A phase (n, n) of second order, as of a field that was not shimmed, with bumps of up to a radian."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="ij")
    a = generator.uniform(-1, 1, 6)
    found = math.pi * a[0] + 1.5 * a[1] * y + 1.5 * a[2] * x + a[3] * x * y + a[4] * x * x + a[5] * y * y
    for _ in range(BUMPS):
        cy, cx, height = generator.uniform(-0.6, 0.6), generator.uniform(-0.6, 0.6), generator.uniform(-1, 1)
        width = generator.uniform(0.06, 0.2)
        found = found + height * torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return found


@dataclass(frozen=True)
class Acquired:
    """A simulated scan in scanner units: kspace (coils, n, n) and noise (coils, samples) of a noise scan, correlated
    between coils; mask (n, n); white (coils, coils), which makes their noise white; truth (n, n), the magnitude that
    belongs to white coils whose sensitivities have a sum of squares of 1."""

    kspace: Tensor
    noise: Tensor
    mask: Tensor
    white: Tensor
    truth: Tensor


def acquired(picture: Tensor, seed: int) -> Acquired:
    """A scan of a picture (n, n)."""
    g, n = np.random.default_rng(seed), picture.shape[-1]
    maps = smooth_sensitivities(COILS, (n, n))
    signal = fftc((maps * picture * torch.exp(1j * phase(n, g))).to(torch.complex128))
    mask = cartesian((n, n), ACCELERATION, CALIBRATION, "variable", seed).expand(1, n, n)[0].bool()
    mix = torch.from_numpy(np.eye(COILS) + MIXED * g.uniform(-1, 1, (COILS, COILS))).to(torch.complex128)
    mix = mix / mix.abs().square().sum().div(COILS).sqrt()

    def noise(*shape: int) -> Tensor:
        white = torch.from_numpy(g.normal(size=(COILS, *shape)) + 1j * g.normal(size=(COILS, *shape)))
        return SIGMA * torch.einsum("cd,d...->c...", mix, white)

    kspace, alone = UNIT * torch.where(mask, signal + noise(n, n), 0), UNIT * noise(PREWHITENED)
    covariance = alone @ alone.mH / alone.shape[1]
    white = covariance.diagonal().real.mean().sqrt() * torch.linalg.inv(torch.linalg.cholesky(covariance))
    seen = torch.einsum("cd,d...->c...", white, maps.to(white)).abs().square().sum(0).sqrt()
    return Acquired(kspace, alone, mask, white, (UNIT * picture * seen).float())


def write(folder: Path, one: Acquired) -> dict[str, Path]:
    """The scan in fastMRI's layout, whitened, and as ISMRMRD with the noise scan."""
    import ismrmrd

    n = one.mask.shape[-1]
    paths = {"fastMRI": folder / "scan.h5", "ISMRMRD": folder / "raw.h5"}
    with h5py.File(paths["fastMRI"], "w") as file:
        file["kspace"] = torch.einsum("cd,d...->c...", one.white, one.kspace)[None].numpy().astype(np.complex64)
        file["mask"] = one.mask.numpy()
    with ismrmrd.Dataset(str(paths["ISMRMRD"]), "dataset", create_if_needed=True) as file:
        file.write_xml_header(HEADER.format(n=n, last=n - 1, centre=n // 2).encode())
        readout = ismrmrd.Acquisition.from_array(one.noise.numpy().astype(np.complex64))
        readout.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        file.append_acquisition(readout)
        for column in one.mask[0].nonzero()[:, 0].tolist():
            values = np.ascontiguousarray(one.kspace[..., column].numpy().astype(np.complex64))
            readout: Any = ismrmrd.Acquisition.from_array(values)  # its fields are made when it runs
            readout.center_sample, readout.idx.kspace_encode_step_1 = n // 2, column
            file.append_acquisition(readout)
    return paths


def solved(path: Path, out: Path, samples: int, seed: int) -> Reconstruction:
    """The only slice of a file by `inverse scan` with its defaults."""
    scan(path, PRIOR, out, "0", None, None, None, "variable", samples, "auto", None, None, False, "auto", seed, "cpu",
         "auto", False)  # fmt: skip
    return read_reconstruction(out / "reconstruction.h5")[0][0]


def classical(one: Scan, truth: Tensor) -> dict[str, Tensor]:
    """Magnitudes (n, n) by classical methods of complex pictures, with the coil maps that `inverse scan` estimates."""
    problem = one.problem(0, channels=2)
    ladder = [cg_sense(problem.operator, problem.y, steps) for steps in LADDER]
    found = [problem.scale * to_complex(x)[0].abs() for x in [*ladder, total_variation(problem.operator, problem.y)]]
    best = min(found[:-1], key=lambda x: float((x - truth).norm()))
    return {
        "zero-filled": problem.zero_filled[0, 0] * problem.scale, "CG-SENSE, best number of steps": best,
        "TV-SENSE, residual at the noise level": found[-1],
    }  # fmt: skip


def measured(picture: Tensor, samples: int, seed: int, work: Path) -> dict[str, Any]:
    """Errors of all methods on a picture (n, n), coverage of the magnitude, and the difference of the two formats."""
    taken = acquired(picture, seed)
    truth = taken.truth
    folder = work / f"files-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.h5"):
        path.unlink()
    paths = write(folder, taken)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = {name: solved(path, work / f"{name}-{seed}", samples, seed) for name, path in paths.items()}
        pictures = classical(read_scan(paths["fastMRI"]), truth)
    found: dict[str, Any] = {}
    for name, one in results.items():
        pictures[f"inverse scan, {name}"] = one.mean.abs()
        judged = ranks(truth[None, None], one.samples.abs()[None, :, None])
        found[name] = {"coverage80": judged.coverage(0.8).item(), "coverage95": judged.coverage(0.95).item()}
    found["nrmse"] = {name: float((x - truth).norm() / truth.norm()) for name, x in pictures.items()}
    first, second = (results[name].mean.abs() for name in paths)
    found["formats"] = float((first - second).norm() / first.norm())
    return found


def run_complex_scan(
    data: Annotated[Path, typer.Option(help="grey slices, as inverse-pack writes them; none are shipped")],
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "test",
    images: int = 4,
    samples: int = 4,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/complex-scan"),
    out: Out = RESULTS,
) -> None:
    """Complex k-space of 8 coils with a realistic phase, from files: `inverse scan` beside classical methods."""
    torch.set_num_threads(1)
    kept, records = Records(work / "complex-scan.jsonl"), []
    for number, picture in enumerate(_chosen(load(data, split).pictures, images)):
        facts = {"file": data.name, "picture": number, "of": images, "samples": samples, "seed": seed}
        name = key("complex-scan", code=code(measured, acquired, classical, solved), **facts)
        if name not in kept.found:
            kept.add(name, measured(picture, samples, seed + number, work))
        records.append(kept.found[name])
    rows = []
    for method in records[0]["nrmse"]:
        errors = [one["nrmse"][method] for one in records]
        row = {"method": method, "NRMSE of the magnitude": f"{sum(errors) / len(errors):.4f}"}
        row["of each slice"] = ", ".join(f"{error:.4f}" for error in errors)
        part = method.rpartition(", ")[2]
        for share in (80, 95):
            covered = [one[part][f"coverage{share}"] for one in records if part in one]
            row[f"coverage of {share} %"] = f"{100 * sum(covered) / len(covered):.1f}" if covered else "-"
        rows.append(row)
    away = ", ".join(f"{one['formats']:.1e}" for one in records)
    notes = (
        f"{len(records)} slices of {data.name} with dark borders, 224 x 224 pixels, complex by a phase of second order "
        f"with bumps; {COILS} coils with correlated noise, {ACCELERATION} times fewer columns, {CALIBRATION:.0%} of "
        f"them in the middle, noise {SIGMA} of the brightest pixel. In fastMRI's layout the coils are whitened; the "
        f"ISMRMRD file has the raw ones and a noise scan. `inverse scan` takes prior `{PRIOR}`, {samples} samples and "
        "its other defaults: coil maps, phase and noise are estimated from k-space. CG-SENSE and TV-SENSE have the "
        "same maps and need no phase; CG-SENSE the number of steps that is best for each slice, which needs the truth. "
        f"Coverage: of intervals of the magnitude. Relative difference of the two means by `inverse scan`: {away}."
    )
    finish("complex-scan", "Complex scans from files", rows, notes, out, images=images, samples=samples, seed=seed)


def _chosen(pictures: tuple, images: int) -> list[Tensor]:
    """Evenly spaced slices (n, n) whose border is dark, with the brightest pixel 1."""
    found = []
    for picture in pictures:
        x = floats(picture)[0]
        frame = torch.ones_like(x, dtype=torch.bool)
        frame[BORDER:-BORDER, BORDER:-BORDER] = False
        if float(x[frame].mean()) < DARK * float(x.max()):
            found.append(x / x.max())
    return found[:: max(1, len(found) // images)][:images]
