"""Wrong descriptions of a blur or a sensor: how much they cost, and which check of the command line finds them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.denoising import load
from inverse import Solution, examine, solve
from inverse.app.variants import compare_variants, exchanged, likelier
from inverse.quality import psnr
from inverse.quality.aliasing import folded
from inverse.quality.kernel_size import misstated
from inverse.quality.noise_model import noise_doubts
from inverse.quality.scale import outside
from operators import Bayer, Blur, GaussianNoise, Operator, PoissonGaussianNoise, PoissonNoise, Resize
from operators.kernels import disc_kernel, gaussian_kernel, line_kernel, motion_kernel
from priors import Prior
from priors.data import floats

SIDE, SAMPLES, STEPS = 128, 2, 12  # pixels of a crop; of the solve, by the quickest method
SIGMAS = (0.005, 0.01, 0.02)
BORDER = 12  # pixels that do not count
PEAK = 60.0  # photons where the picture is 1
CHECKS = ("compared", "spectrum", "colours", "range", "examined")


CODE = (
    compare_variants,
    exchanged,
    misstated,
    folded,
    outside,
    noise_doubts,
)  # with whose changes records are made anew


@dataclass(frozen=True)
class Mistake:
    """What measured, and what is stated. Attributes: make: (seed, noise) -> both operators."""

    name: str
    make: Callable[[int, GaussianNoise], tuple[Operator, Operator]]


def _blur(kernel: Tensor, noise: GaussianNoise) -> Operator:
    return Blur(kernel.contiguous(), "valid", noise)


def _shaken(change: Callable[[Tensor], Tensor]) -> Callable[[int, GaussianNoise], tuple[Operator, Operator]]:
    def make(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
        kernel = motion_kernel(17, seed)
        return _blur(kernel, noise), _blur(change(kernel), noise)

    return make


def _gaussian(factor: float) -> Callable[[int, GaussianNoise], tuple[Operator, Operator]]:
    """The width that is stated is ``factor`` times the true one."""

    def make(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
        width = 1.2 + 0.2 * (seed % 6)
        return _blur(gaussian_kernel(width, 21), noise), _blur(gaussian_kernel(factor * width, 21), noise)

    return make


def _shape(right: str, stated: str) -> Callable[[int, GaussianNoise], tuple[Operator, Operator]]:
    """Kernels of the same variance, that of a Gaussian of 1 to 2 pixels."""

    def make(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
        width = 1.0 + 0.2 * (seed % 6)
        kernels = {
            "Gaussian": gaussian_kernel(width, 21),
            "disc": disc_kernel(2 * width, 11),
            "movement": line_kernel(24**0.5 * width, 20.0 + 25 * (seed % 3)),
        }
        return _blur(kernels[right], noise), _blur(kernels[stated], noise)

    return make


def _movement(length: float, stated: float) -> Callable[[int, GaussianNoise], tuple[Operator, Operator]]:
    def make(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
        angle = 20.0 + 25 * (seed % 3)
        return _blur(line_kernel(length, angle), noise), _blur(line_kernel(stated, angle), noise)

    return make


def _shrunk(kernel: str, stated: str) -> Callable[[int, GaussianNoise], tuple[Operator, Operator]]:
    def make(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
        right, wrong = (Resize(2, each, noise).at((3, SIDE, SIDE)) for each in (kernel, stated))
        return right, wrong

    return make


def _other_angle(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
    angle = 20.0 + 25 * (seed % 3)
    return _blur(line_kernel(11, angle), noise), _blur(line_kernel(11, -angle), noise)


def _photons(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
    """Photon counts stated as Gaussian noise of their variance at medium brightness."""
    blur = Blur.gaussian(1.2, "valid", PoissonNoise(PEAK))
    return blur, blur.with_noise(GaussianNoise((0.45 / PEAK) ** 0.5))


def _camera(seed: int, noise: GaussianNoise) -> tuple[Operator, Operator]:
    blur = Blur.gaussian(1.2, "valid", PoissonGaussianNoise(400.0, 0.005))
    return blur, blur.with_noise(PoissonGaussianNoise(400.0 / 9, 0.015))


MISTAKES = (
    Mistake("none", _shaken(lambda k: k)),
    Mistake("shake, turned by 180 degrees", _shaken(lambda k: k.flip(0, 1))),
    Mistake("shake, transposed", _shaken(lambda k: k.mT)),
    Mistake("movement, its angle clockwise", _other_angle),
    Mistake("none: movement of 9 pixels", _movement(9, 9)),
    Mistake("movement of 11 pixels, stated as 7", _movement(11, 7)),
    Mistake("movement of 7 pixels, stated as 11", _movement(7, 11)),
    Mistake("none: Gaussian", _gaussian(1.0)),
    Mistake("Gaussian, 25 % too wide", _gaussian(1.25)),
    Mistake("Gaussian, 25 % too narrow", _gaussian(0.8)),
    Mistake("none: disc", _shape("disc", "disc")),
    Mistake("disc, stated as Gaussian", _shape("disc", "Gaussian")),
    Mistake("Gaussian, stated as disc", _shape("Gaussian", "disc")),
    Mistake("movement, stated as Gaussian", _shape("movement", "Gaussian")),
    Mistake("none: shrunk by 2, bicubic", _shrunk("bicubic", "bicubic")),
    Mistake("none: shrunk by 2, nearest", _shrunk("nearest", "nearest")),
    Mistake("shrunk by 2, nearest, stated as bicubic", _shrunk("nearest", "bicubic")),
    Mistake("shrunk by 2, bicubic, stated as nearest", _shrunk("bicubic", "nearest")),
    Mistake("photon counts, stated as Gaussian", _photons),
    Mistake("camera noise, stated 3 times too large", _camera),
    Mistake("none: Bayer", lambda seed, noise: (Bayer("RGGB", noise), Bayer("RGGB", noise))),
    Mistake("Bayer, red and blue exchanged", lambda seed, noise: (Bayer("RGGB", noise), Bayer("BGGR", noise))),
    Mistake("Bayer, one column further", lambda seed, noise: (Bayer("RGGB", noise), Bayer("GRBG", noise))),
)


def execute(prior: Prior, mistake: Mistake, truth: Tensor, seed: int) -> dict:
    """PSNR of the mean with the right and the stated operator, and which checks report the stated one."""
    right, stated = mistake.make(seed, GaussianNoise(SIGMAS[seed % len(SIGMAS)]))
    y = right.measure(truth, seed=seed)
    sized = prior.resized(tuple(truth.shape[1:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fine, found = (_solved(sized, each, y, seed) for each in (right, stated))
    return {
        "right": psnr(_inner(fine.mean), _inner(truth)).item(),
        "stated": psnr(_inner(found.mean), _inner(truth)).item(),
        "compared": bool(likelier(sized, stated, y)),
        "spectrum": bool(misstated(stated, y) or folded(stated, y)),
        "colours": bool(exchanged(sized, stated, found.samples[0])),
        "range": bool(outside(sized, stated, found.mean)[0]),
        "examined": bool(examine(found, stated, y).warnings[0]),
    }


def _inner(x: Tensor) -> Tensor:
    """Without the border that a "valid" blur adds to y, and hardly measures."""
    return x[..., BORDER:-BORDER, BORDER:-BORDER]


def _solved(prior: Prior, operator: Operator, y: Tensor, seed: int) -> Solution:
    method = "mmps-wiener" if "gaussian" in operator.noise.capabilities else "auto"
    return solve(prior, operator, y, SAMPLES, method, STEPS, seed, progress=False, antithetic=True)


def rows(records: dict[str, list[dict]]) -> list[dict[str, str]]:
    """A row per mistake: the loss in dB, and how many pictures each check reports."""
    table = []
    for name, found in records.items():
        loss = torch.tensor([one["right"] - one["stated"] for one in found])
        row = {"mistake": name, "loss of PSNR, dB": f"{loss.mean():.1f} ({loss.min():.1f} to {loss.max():.1f})"}
        row |= {check: f"{sum(one[check] for one in found)} of {len(found)}" for check in CHECKS}
        table.append(row | {"any": f"{sum(any(one[check] for check in CHECKS) for one in found)} of {len(found)}"})
    return table


def run_mistakes(
    data: Annotated[Path, typer.Option(help="photographs, as inverse-pack writes them; none are shipped")],
    images: Annotated[int, typer.Option(help="the first ones")] = 8,
    prior: str = "natural",
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = Path(
        "runs/mistakes"
    ),
    out: Out = RESULTS,
) -> None:
    """Kernels and colour patterns that are described wrongly: their cost, and which checks report them."""
    torch.set_num_threads(1)
    kept, network, records = Records(work / "mistakes.jsonl"), priors.load(prior), {}
    pictures = load(data).pictures[:images]
    for mistake in MISTAKES:
        records[mistake.name] = []
        for image, picture in enumerate(pictures):
            top, left = ((n - SIDE) // 2 for n in picture.shape[-2:])
            truth = floats(picture)[None, :, top : top + SIDE, left : left + SIDE].contiguous()
            facts = {"prior": fingerprint(network), "mistake": mistake.name, "image": image, "seed": seed}
            name = key("mistakes", code=code(execute, *CODE), file=data.name, **facts)
            if name not in kept.found:
                kept.add(name, execute(network, mistake, truth, seed + image))
            records[mistake.name].append(kept.found[name])
    notes = (
        f"Crops of {SIDE} x {SIDE} pixels of {len(pictures)} photographs of {data.name}, sigma "
        f"{', '.join(map(str, SIGMAS))} in turn, {SAMPLES} samples of mmps-wiener (of auto for counts). Loss: PSNR of "
        f"the posterior mean, without a border of {BORDER} pixels, with the right operator minus that with the stated "
        "one. The other columns are how often "
        "`inverse solve --measured` would warn: compared, by `inverse.compare_variants` with usual mistakes; spectrum, "
        "by a power law behind stretched kernels and other ways of shrinking; colours, by red and blue exchanged; "
        "range, by means outside [0, 1]; examined, by the residuals (`inverse.examine`); any of them. Under mistakes "
        "that begin with none, every warning is a false alarm."
    )
    finish("mistakes", "Wrong descriptions of the instrument", rows(records), notes, out, images=images, seed=seed)
