"""Faults of MRI scans: which are found when a scan is read, and what they cost, ignored and as it is read."""

import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from inverse import solve
from inverse.app.kspace.checks import KSpaceWarning
from inverse.quality import psnr
from inverse.scans import Scan, read_scan
from operators.coils import smooth_sensitivities
from operators.kspace import fftc, ifftc, radius
from operators.sampling import cartesian
from priors import Prior

SAMPLES, STEPS = 2, 8
SIGMAS, COILS, ACCELERATIONS = (0.005, 0.01, 0.02), (4, 8), (1.0, 2.0)


@dataclass(frozen=True)
class Measured:
    """A simulated scan of one slice.

    Attributes: picture (H, W), brightest 1; signal and noise (coils, H, W) complex128, k = 0 in the middle; mask (H, W)
    bool; maps (coils, H, W); given: whether the file has the maps; sigma: of the noise; generator of the faults.
    """

    picture: Tensor
    signal: Tensor
    noise: Tensor
    mask: Tensor
    maps: Tensor
    given: bool
    sigma: float
    generator: np.random.Generator

    @property
    def kspace(self) -> Tensor:
        return torch.where(self.mask, self.signal + self.noise, 0)

    def changed(self, kspace: Tensor) -> "Measured":
        """The same scan with other measured values."""
        return replace(self, signal=torch.where(self.mask, kspace, 0) - self.noise)

    def scan(self) -> Scan:
        """The scan as it is, without a check."""
        maps = self.maps[None].to(torch.complex64) if self.given else None
        return Scan(self.kspace[None].to(torch.complex64), self.mask[None], maps, (0,), 1)

    def read(self, folder: Path) -> tuple[Scan, list[str]]:
        """The scan as `read_scan` gives it from a file, and its warnings."""
        path = folder / "scan.h5"
        with h5py.File(path, "w") as file:
            file["kspace"], file["mask"] = self.kspace[None].numpy().astype(np.complex64), self.mask.numpy()
            if self.given:
                file["sens_maps"] = self.maps.numpy().astype(np.complex64)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = read_scan(path)
        return found, [str(w.message) for w in caught if issubclass(w.category, KSpaceWarning)]


def measured(
    picture: Tensor, seed: int, coils: int | None = None, sigma: float | None = None, acceleration: float | None = None,
    given: bool = False,
) -> Measured:  # fmt: skip
    """A scan of a picture (H, W) with a smooth phase; what is not given is chosen by the seed."""
    g, (height, width) = np.random.default_rng(seed), (picture.shape[0], picture.shape[1])
    coils = COILS[seed % len(COILS)] if coils is None else coils
    sigma = SIGMAS[seed % len(SIGMAS)] if sigma is None else sigma
    acceleration = ACCELERATIONS[seed // 2 % len(ACCELERATIONS)] if acceleration is None else acceleration
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    a, b, c, d = g.uniform(-1, 1, 4)
    phase = 3 * a + b * y + c * x + d * x * y
    mask = torch.ones(height, width, dtype=torch.bool)
    if acceleration > 1:
        mask = cartesian((height, width), acceleration, max(0.08, 5 / width), "variable", seed).expand(
            1, height, width
        )[0]
    maps = smooth_sensitivities(coils, (height, width))
    signal = fftc((maps * picture * torch.exp(1j * phase)).to(torch.complex128))
    noise = torch.from_numpy(sigma * (g.normal(size=signal.shape) + 1j * g.normal(size=signal.shape)))
    return Measured(picture, signal, noise, mask, maps, given, sigma, g)


def _half(n: int) -> Tensor:
    return (torch.arange(n) - n // 2) / (n / 2)


def _not_measured(lost: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Measured], Measured]:
    """Noise alone where y and x (half sides) are lost, under the mask of before."""

    def make(m: Measured) -> Measured:
        height, width = m.mask.shape
        return replace(m, signal=torch.where(lost(_half(height)[:, None], _half(width)[None]), 0, m.signal))

    return make


def _rounded(m: Measured) -> Measured:
    """Zeros outside an ellipse, after a transform and its inverse in single precision."""
    inside = radius((m.mask.shape[0], m.mask.shape[1])) <= 1
    return m.changed(fftc(ifftc(torch.where(inside, m.kspace, 0).to(torch.complex64))))


def _filtered(m: Measured) -> Measured:
    """A Hamming window."""
    y, x = (0.54 + 0.46 * torch.cos(math.pi * _half(n)) for n in m.mask.shape)
    return m.changed(m.kspace * y[:, None] * x)


def _spike(m: Measured) -> Measured:
    """One sample, a fifth of the largest, in every coil."""
    places = torch.nonzero(m.mask & (radius((m.mask.shape[0], m.mask.shape[1])) > 0.3))
    i, j = places[m.generator.integers(len(places))].tolist()
    kspace = m.kspace.clone()
    kspace[:, i, j] += 0.2 * kspace.abs().max()
    return m.changed(kspace)


def _line(m: Measured) -> Measured:
    """A column of k-space with twelve times the noise."""
    columns = torch.nonzero(m.mask.any(0) & (_half(m.mask.shape[1]).abs() > 0.4)).flatten()
    j, kspace = int(columns[m.generator.integers(len(columns))]), m.kspace.clone()
    kspace[:, :, j] += 12 * m.noise[:, :, j].roll(7, -1)
    return m.changed(kspace)


def _zipper(m: Measured) -> Measured:
    """A tone during the readout, of another phase in every column: a row of the picture."""
    height, width = m.mask.shape
    row = int(m.generator.integers(6, height - 6))
    tone = torch.exp(2j * math.pi * torch.arange(height) * (row - height // 2) / height)[:, None]
    phases = torch.from_numpy(np.exp(2j * math.pi * m.generator.random((1, width))))
    return m.changed(m.kspace + 10 * m.sigma * tone * phases)


def _offset(m: Measured) -> Measured:
    """A bright pixel of the largest brightness."""
    return m.changed(m.kspace + 1 / math.prod(m.mask.shape) ** 0.5)


def _ghost(m: Measured) -> Measured:
    """Every other column with a phase of .6 radians more."""
    return m.changed(m.kspace * torch.exp(0.6j * (torch.arange(m.mask.shape[1]) % 2)))


def _gain(part: Callable[[Tensor], Tensor]) -> Callable[[Measured], Measured]:
    """1.3 times the gain, also of the noise, in the columns k of a part."""

    def make(m: Measured) -> Measured:
        k = torch.arange(m.mask.shape[1]) - m.mask.shape[1] // 2
        factor = torch.where(part(k), 1.3, 1.0)
        return replace(m, signal=m.signal * factor, noise=m.noise * factor)

    return make


def _moved(m: Measured) -> Measured:
    """Two pixels along the rows' axis, after two thirds of the columns."""
    height, width = m.mask.shape
    later = (torch.arange(width) > 2 * width // 3).double()
    return m.changed(m.kspace * torch.exp(2j * math.pi * _half(height)[:, None] * later))


def _noisy_coil(m: Measured) -> Measured:
    return replace(m, noise=torch.cat([2.5 * m.noise[:1], m.noise[1:]]))


def _other_slice(m: Measured) -> Measured:
    """Coils as they are a quarter of the field of view away, of a larger one."""
    height, width = m.mask.shape
    wide = smooth_sensitivities(len(m.maps), (height + height // 2, width + width // 2))
    return replace(m, maps=wide[:, height // 2 :, width // 4 : width // 4 + width])


def _maps(change: Callable[[Tensor], Tensor]) -> Callable[[Measured], Measured]:
    return lambda m: replace(m, maps=change(m.maps))


FAULTS: dict[str, Callable[[Measured], Measured]] = {
    "noise outside an ellipse": _not_measured(lambda y, x: torch.hypot(y, x) > 1),
    "noise outside an ellipse of .75": _not_measured(lambda y, x: torch.hypot(y, x) > 0.75),
    "zeros outside an ellipse, rounded": _rounded,
    "partial Fourier, filled with noise": _not_measured(lambda y, x: x.expand(len(y), -1) > 0.4),
    "a Hamming window": _filtered,
    "a spike": _spike,
    "a column of interference": _line,
    "a zipper": _zipper,
    "an offset": _offset,
    "an N/2 ghost": _ghost,
    "1.3 times the gain in half of the columns": _gain(lambda k: k >= 0),
    "1.3 times the gain in every other column": _gain(lambda k: k % 2 == 0),
    "a coil with 2.5 times the noise": _noisy_coil,
    "maps conjugated": _maps(lambda s: s.conj().resolve_conj()),
    "maps mirrored": _maps(lambda s: s.flip(-1)),
    "maps moved by half a side": _maps(lambda s: s.roll((s.shape[-2] // 2, s.shape[-1] // 2), (-2, -1))),
    "maps moved by 4 pixels": _maps(lambda s: s.roll((4, -2), (-2, -1))),
    "maps of another slice": _other_slice,
    "maps in another order": _maps(lambda s: s.roll(1, 0)),
    "a step of two pixels between lines": _moved,
}
MODELLED = "a coil with 2.5 times the noise"  # without a warning, as the coils are whitened


def execute(prior: Prior, fault: str, picture: Tensor, seed: int) -> dict:
    """PSNR of the mean of the right scan, of the faulty one unchecked, and as it is read; and whether it is warned."""
    right = measured(picture, seed, given=fault.startswith("maps"))
    wrong = FAULTS[fault](right)
    with tempfile.TemporaryDirectory() as folder:
        now, texts = wrong.read(Path(folder))
    found = {name: _quality(prior, each, picture, seed) for name, each in
             {"right": right.scan(), "ignored": wrong.scan(), "read": now}.items()}  # fmt: skip
    return found | {"warned": bool(texts), "modelled": now.problem(0).noise_ratio > 1}


def _quality(prior: Prior, scan: Scan, picture: Tensor, seed: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = scan.problem(0)
        found = solve(prior, problem.operator, problem.y, SAMPLES, "mmps", STEPS, seed, progress=False)
    return psnr(found.mean * problem.scale, picture[None, None]).item()


def alarms(pictures: Tensor, count: int, seed: int) -> int:
    """How many of ``count`` scans without a fault, every other with its maps, are warned of."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(
            bool(measured(pictures[k % len(pictures)], seed + k, given=k % 2 == 1).read(Path(folder))[1])
            for k in range(count)
        )


def rows(records: dict[str, list[dict]]) -> list[dict[str, str]]:
    """A row per fault: found and silent scans, and the loss in dB."""
    table = []
    for name, found in records.items():
        row = {"fault": name, "warned": f"{sum(one['warned'] for one in found)} of {len(found)}"}
        row["whitened"] = f"{sum(one['modelled'] for one in found)} of {len(found)}"
        silent = [one for one in found if not one["warned"] and not one["modelled"]]
        losses = {case: torch.tensor([one["right"] - one[case] for one in found]) for case in ("ignored", "read")}
        for case, loss in losses.items():
            row[f"loss {case}, dB"] = f"{loss.mean():.1f} ({loss.min():.1f} to {loss.max():.1f})"
        worst = max((one["right"] - one["read"] for one in silent), default=None)
        table.append(row | {"largest silent loss, dB": "-" if worst is None else f"{worst:.1f}"})
    return table


def run_scan_mistakes(
    scans: Annotated[int, typer.Option(help="of every fault")] = 4,
    clean: Annotated[int, typer.Option(help="scans without a fault, which are only read")] = 48,
    prior: str = "brain-mri",
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = Path(
        "runs/scan-mistakes"
    ),
    out: Out = RESULTS,
) -> None:
    """Faults of MRI scans: which are found when they are read, and what they cost."""
    torch.set_num_threads(1)
    kept, network, records = Records(work / "scan-mistakes.jsonl"), priors.load(prior), {}
    pictures = priors.samples(prior).floats()[:, 0]
    false = alarms(pictures, clean, seed)
    for fault in FAULTS:
        records[fault] = []
        for number in range(scans):
            facts = {"prior": fingerprint(network), "fault": fault, "number": number, "seed": seed}
            name = key("scan-mistakes", code=code(execute, measured, read_scan, FAULTS[fault]), **facts)
            if name not in kept.found:
                kept.add(name, execute(network, fault, pictures[number % len(pictures)], seed + number))
            records[fault].append(kept.found[name])
    notes = (
        f"The {len(pictures)} pictures shipped with {prior}, 64 x 64 pixels, {' or '.join(map(str, COILS))} coils, "
        f"sigma {', '.join(map(str, SIGMAS))} of the brightest pixel in turn, all or half of the columns, a smooth "
        f"phase; maps are in the file where they are the fault, else estimated; {SAMPLES} samples of mmps in {STEPS} "
        "steps, with sigma as estimated from k-space. Warned: `read_scan` warns. Whitened: coils are divided by their "
        "noise. Loss: PSNR of the posterior mean of the scan without the fault minus that with it, ignored (without "
        "the checks, but whitened) and as it is read, without samples that are no measurements. The last column is the "
        f"largest loss of a scan that is neither warned of nor whitened. Of {clean} scans without a fault {false} are "
        "warned of."
    )
    finish("scan-mistakes", "Faults of MRI scans", rows(records), notes, out, scans=scans, clean=clean, seed=seed)
