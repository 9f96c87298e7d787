"""Photographs blurred by an unknown kernel: the error of the kernel, and what not knowing it costs the picture."""

import time
import warnings
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code_behind, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.blind_l0 import l0_kernel
from benchmarks.trained.efficiency import crops
from inverse import KernelPrior, solve
from inverse.quality import psnr
from inverse.quality.ranks import ranks
from operators import Blur, GaussianNoise
from operators.kernels import motion_kernel
from priors import Prior

SIDES = (13, 15, 17, 19)  # of random motions, where no kernels are given
LEVEL = 0.9  # of intervals


def kernels(path: Path | None, n: int) -> list[Tensor]:
    """n kernels: of an npz file, those named levin1 and so on, in turn; or random camera shakes.

    Raises: ValueError for a file without such kernels.
    """
    if path is None:
        return [motion_kernel(SIDES[i % len(SIDES)], seed=i) for i in range(n)]
    with np.load(path, allow_pickle=False) as file:
        names = sorted(name for name in file.files if name.startswith("levin"))
        found = [torch.from_numpy(file[name]).float() for name in names]
    if not found:
        raise ValueError(f"{path}: expected an npz file with kernels named levin1, levin2, ...")
    return [found[i % len(found)] for i in range(n)]


def aligned(kernel: Tensor, truth: Tensor) -> tuple[float, tuple[int, int]]:
    """Relative L2 error of a kernel after the best shift by whole pixels, and that shift (rows, columns)."""
    kernel, truth = kernel.double(), truth.double()
    size = [2 * max(a, b) for a, b in zip(kernel.shape, truth.shape, strict=True)]
    product = torch.fft.rfft2(kernel, s=size) * torch.fft.rfft2(truth, s=size).conj()
    match = torch.fft.irfft2(product, s=size)
    place = int(match.argmax())
    shift = [p if p < n // 2 else p - n for p, n in zip(divmod(place, size[1]), size, strict=True)]
    squares = kernel.square().sum() + truth.square().sum() - 2 * match.max()
    return float(squares.clamp_min(0).sqrt() / truth.norm()), (shift[0], shift[1])


def scored(samples: Tensor, truth: Tensor, shift: tuple[int, int], margin: int) -> dict[str, float]:
    """PSNR of the mean and coverage of 90 % intervals of samples (1, K, *E), shifted as their kernel is."""
    down, right = (max(-margin, min(margin, by)) for by in shift)
    h, w = truth.shape[-2:]
    inner = samples[..., margin : h - margin, margin : w - margin].contiguous()
    moved = truth[..., margin + down : h - margin + down, margin + right : w - margin + right].contiguous()
    covers = ranks(moved.flatten(1), inner.flatten(2)).coverage(LEVEL).mean()
    return {"psnr": psnr(inner.mean(1), moved).item(), "covers": 100 * float(covers)}


def record(prior: Prior, scene: Tensor, kernel: Tensor, sigma: float, samples: int, steps: int, seed: int) -> dict:
    """One picture (1, C, H, W) and one kernel, as plain data."""
    size = kernel.shape[-1]
    operator = Blur(kernel, "valid", GaussianNoise(sigma))
    y = operator.measure(scene, seed=seed)
    asked = partial(solve, prior, y=y, n_samples=samples, seed=seed, method="mmps", n_steps=steps, progress=False)
    score = partial(scored, truth=scene, margin=size // 2)
    delta = torch.zeros_like(kernel)
    delta[size // 2, size // 2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        found = asked(operator, unknown={"kernel": KernelPrior(size)})
        seconds = time.perf_counter() - start
        known = asked(operator)
        begun = time.perf_counter()
        classical = l0_kernel(y[0].mean(0), size)
        classical_seconds = time.perf_counter() - begun
        by_classical = asked(Blur(classical.float(), "valid", GaussianNoise(sigma)))
    assert found.unknown is not None
    draws = found.unknown["kernel"][0].double()
    error, shift = aligned(draws.mean(0), kernel)
    classical_error, classical_shift = aligned(classical, kernel)
    return {
        "error": error,
        "stated error": float(draws.std(0).norm() / kernel.norm()),
        "l0 error": classical_error,
        "start error": aligned(KernelPrior(size).start(), kernel)[0],
        "delta error": aligned(delta, kernel)[0],
        "seconds": seconds,
        "l0 seconds": classical_seconds,
        "unknown": score(found.samples, shift=shift),
        "known": score(known.samples, shift=(0, 0)),
        "l0": score(by_classical.samples, shift=classical_shift),
        "size": size,
    }


def run(
    name: str, side: int, images: int, samples: int, steps: int, sigma: float, seed: int, data: Path | None,
    given: Path | None, work: Path,
) -> list[dict]:  # fmt: skip
    """The record of each picture; finished ones in ``work`` are read."""
    prior, kept, found = priors.load(name), Records(work / "blind.jsonl"), []
    for image, kernel in enumerate(kernels(given, images)):
        whole = side + kernel.shape[-1] - 1
        scene = crops(name, whole, images, data)[image : image + 1]
        sized = prior.resized(tuple(scene.shape[1:]))
        facts = {"side": side, "image": image, "samples": samples, "steps": steps, "sigma": sigma, "seed": seed}
        facts |= {"kernel": kernel.flatten().tolist(), "data": str(data or "")}
        code = code_behind((record, KernelPrior), ("inverse.solve.unknown",))
        label = key("blind", prior=fingerprint(prior), code=code, **facts)
        if label not in kept.found:
            kept.add(label, record(sized, scene, kernel, sigma, samples, steps, seed + image))
        found.append(kept.found[label])
    return found


def table(found: list[dict]) -> list[dict[str, str]]:
    """A row per way of having a kernel."""
    ways = {
        "known": (None, "known", None),
        "unknown, by samples": ("error", "unknown", "seconds"),
        "l0 gradients (Xu 2013; ours), then samples": ("l0 error", "l0", "l0 seconds"),
        "the wide Gaussian of the start": ("start error", None, None),
        "a point (no blur)": ("delta error", None, None),
    }
    rows = []
    for way, (error, picture, seconds) in ways.items():
        errors = [one[error] for one in found] if error else [0.0]
        rows.append(
            {
                "kernel": way,
                "error of the kernel": f"{fmean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})"
                if error
                else "0",
                "PSNR, dB": f"{fmean(one[picture]['psnr'] for one in found):.2f}" if picture else "-",
                "90 % intervals cover, %": f"{fmean(one[picture]['covers'] for one in found):.0f}" if picture else "-",
                "seconds for the kernel": f"{fmean(one[seconds] for one in found):.0f}" if seconds else "-",
            }
        )
    return rows


def run_blind(
    prior: Annotated[str, typer.Option(help="shipped name")] = "natural-grey",
    side: Annotated[int, typer.Option(help="pixels of a measurement")] = 96,
    images: Annotated[int, typer.Option(help="pictures, each with a kernel of its own")] = 8,
    samples: Annotated[int, typer.Option(help="per picture, which are also the chains")] = 4,
    steps: Annotated[int, typer.Option(help="of a sample")] = 8,
    sigma: Annotated[float, typer.Option(help="of the noise, which is known")] = 0.01,
    seed: Seed = 0,
    data: Annotated[Path | None, typer.Option(help="pictures, as inverse-pack writes them")] = None,
    kernel: Annotated[Path | None, typer.Option(help="npz of kernels levin1, ...; default: random shakes")] = None,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/blind"),
    out: Out = RESULTS,
) -> None:
    """Pictures blurred by a kernel that is unknown: its error, and the cost of not knowing it."""
    found = run(prior, side, images, samples, steps, sigma, seed, data, kernel, work)
    better = sum(one["error"] < one["start error"] for one in found)
    beaten = sum(one["error"] < one["l0 error"] for one in found)
    source = "random camera shakes (operators.kernels.motion_kernel)" if kernel is None else f"those of {kernel.name}"
    notes = (
        f"{images} photographs, {side} x {side} measured pixels, prior {prior}, mmps with {steps} steps, {samples} "
        f"samples, boundary valid, sigma {sigma} (known); kernels: {source}, of {min(one['size'] for one in found)} to "
        f"{max(one['size'] for one in found)} pixels. Error: relative L2 after the best shift by whole pixels, mean "
        "(least to largest). PSNR and coverage of the picture inside a margin of half a kernel, shifted as the kernel "
        f"is. The estimate by samples is nearer than the start in {better} of {images}, nearer than by l0 gradients in "
        f"{beaten}. Its stated standard deviation is {fmean(one['stated error'] for one in found):.3f} on average, by "
        f"the same measure as the error. Seconds: wall time, for samples with the pictures."
    )
    finish("blind", "Unknown blur kernel", table(found), notes, out, images=images, side=side)
