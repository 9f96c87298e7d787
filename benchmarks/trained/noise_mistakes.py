"""Noise that is stated wrongly, or is not white: how often it is warned of, before a solve and by its samples."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn.functional import interpolate

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.denoising import load
from benchmarks.trained.scan_mistakes import measured
from inverse import solve
from inverse.quality import psnr
from inverse.quality.grain import grain, grainy
from inverse.quality.noise_stated import misjudged
from inverse.quality.scale import middle
from operators import (
    Blur,
    Downsampling,
    FanBeam,
    GaussianNoise,
    Identity,
    Masking,
    Noise,
    Operator,
    Radon,
    Resize,
    estimate_sigma,
)
from priors import Prior
from priors.data import floats

SIDE, PART, STEPS = 128, 96, 12  # pixels of a crop, and of those that are solved; steps of mmps
SIGMAS, RAYS = (0.005, 0.01, 0.02, 0.05), (0.02, 0.1, 0.3)  # of pictures; of line integrals
STATED: dict[str, Callable[[float], float]] = {
    "right": lambda s: s,
    "its square": lambda s: s * s,
    "half": lambda s: s / 2,
    "double": lambda s: 2 * s,
    "over 255": lambda s: s / 255,
    "times 255": lambda s: 255 * s,
}
KEPT, CORRELATED = 0.75, 0.05  # share of pixels of a mask; level of noise that is correlated


def _mask(side: int) -> Tensor:
    return torch.rand(1, side, side, generator=torch.Generator().manual_seed(3)) < KEPT


PICTURES: dict[str, Callable[[Noise], Operator]] = {
    "noise alone": Identity,
    "Gaussian blur of 1.5 pixels": lambda n: Blur.gaussian(1.5, "valid", n),
    "movement of 9 pixels": lambda n: Blur.motion(9, seed=1, boundary="valid", noise=n),
    "downsampling by 2": lambda n: Downsampling(2, n),
    "resize by 2": lambda n: Resize(2, noise=n),
    "three quarters of the pixels": lambda n: Masking(_mask(SIDE), noise=n),
}
SINOGRAMS: dict[str, Callable[[Noise], Operator]] = {
    "60 parallel views": lambda n: Radon(60, noise=n),
    "24 parallel views": lambda n: Radon(24, noise=n),
    "60 fan beams": lambda n: FanBeam(60, source=300.0, detector=150.0, noise=n),
}
SOLVED: dict[str, Callable[[Noise], Operator]] = {
    "noise alone": Identity,
    "three quarters of the pixels": lambda n: Masking(_mask(PART), noise=n),
    "Gaussian blur of 1.5 pixels": lambda n: Blur.gaussian(1.5, "reflect", n),
    "downsampling by 2": lambda n: Downsampling(2, n),
}
CASES = ("right", "its square", "correlated, stated by its level", "correlated, estimated")


def resized_noise(shape: tuple[int, ...], sigma: float, seed: int) -> Tensor:
    """Noise (1, C, H, W) of a picture that was enlarged by 2 by bilinear interpolation."""
    size = (1, shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    noise = interpolate(noise, size=shape[1:], mode="bilinear")
    return sigma * noise / noise.std()


def before(prior: Prior, make: Callable[[Noise], Operator], pictures: list[Tensor], sigmas: tuple[float, ...]) -> dict:
    """How often each of `STATED` is warned of before a solve."""
    found = dict.fromkeys(STATED, 0)
    for i, x in enumerate(pictures):
        shape, sigma = tuple(x.shape[1:]), sigmas[i % len(sigmas)]
        y = make(GaussianNoise(sigma)).at(shape).measure(x, seed=i)
        for name, change in STATED.items():
            found[name] += bool(misjudged(prior, make(GaussianNoise(change(sigma))).at(shape), y)[0])
    return {name: f"{n} of {len(pictures)}" for name, n in found.items()}


def scans(prior: Prior, pictures: list[Tensor], coils: int) -> dict:
    """As `before`, of scans."""
    found = dict.fromkeys(STATED, 0)
    for i, x in enumerate(pictures):
        problem = measured(x[0, 0] / x.max(), i, coils=coils).scan().problem(0, 1)
        sigma = (0.005, 0.01, 0.02)[i % 3] / problem.scale  # as `measured` chooses
        for name, change in STATED.items():
            stated = problem.operator.with_noise(GaussianNoise(change(sigma * problem.scale) / problem.scale))
            found[name] += bool(misjudged(prior, stated, problem.y)[0])
    return {name: f"{n} of {len(pictures)}" for name, n in found.items()}


def execute(prior: Prior, name: str, case: str, truth: Tensor, seed: int) -> dict:
    """One solve: PSNR of a sample, its slope by `grain`, and whether samples and residuals are warned of."""
    shape, make = tuple(truth.shape[1:]), SOLVED[name]
    sigma = CORRELATED if case.startswith("correlated") else SIGMAS[seed % len(SIGMAS)]
    operator = make(GaussianNoise(sigma)).at(shape)
    y = operator.measure(truth, seed=seed)
    if case.startswith("correlated"):
        clean = operator(truth)
        y = clean + resized_noise(tuple(clean.shape[1:]), sigma, seed)
        y = y if operator.support is None else torch.where(operator.support, y, 0.0)
    stated = sigma
    if case == "its square":
        stated = sigma**2
    elif case.endswith("estimated"):
        stated = max(float(estimate_sigma(y, operator)), 1e-4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = solve(
            prior.resized(shape), operator.with_noise(GaussianNoise(stated)), y, 1, "mmps", STEPS, seed, progress=False
        )
    x = found.samples[:, 0]
    texts = [str(w.message) for w in caught]
    return {"psnr": psnr(x, truth).item(), "slope": grain(prior, x), "samples": bool(grainy(prior, x[None])[0]),
            "any": bool(texts), "texts": [text[:80] for text in texts]}  # fmt: skip


def run_noise_mistakes(
    data: Annotated[Path, typer.Option(help="photographs, as inverse-pack writes them; none are shipped")],
    images: Annotated[int, typer.Option(help="the first ones, before a solve")] = 24,
    solved: Annotated[int, typer.Option(help="of these, whose samples are looked at; 0 for none")] = 6,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = Path(
        "runs/noise-mistakes"
    ),
    out: Out = RESULTS,
) -> None:
    """A wrong sigma, and noise that is correlated: how often they are warned of."""
    torch.set_num_threads(1)
    network, kept = priors.load("natural"), Records(work / "noise-mistakes.jsonl")
    photographs = [floats(picture)[None] for picture in load(data).pictures[:images]]
    sized = network.resized((3, SIDE, SIDE))
    crops = [middle(x, SIDE).contiguous() for x in photographs]
    rows = [{"measurement": name} | before(sized, make, crops, SIGMAS) for name, make in PICTURES.items()]
    slices = [x[None] for x in priors.samples("ct").floats()]
    ct = priors.load("ct").resized(tuple(slices[0].shape[1:]))
    rows += [{"measurement": name} | before(ct, make, slices * 2, RAYS) for name, make in SINOGRAMS.items()]
    brains, brain = [x[None] for x in priors.samples("brain-mri").floats()], priors.load("brain-mri")
    rows += [{"measurement": f"k-space of {n} coils"} | scans(brain, brains * 2, n) for n in (1, 4)]
    for name in SOLVED if solved else ():
        row = {"measurement": f"samples, {name}"}
        for case in CASES:
            records = []
            for number, x in enumerate(photographs[:: max(1, images // solved)][:solved]):
                facts = {"prior": fingerprint(network), "name": name, "case": case, "number": number, "seed": seed}
                one = key("noise-mistakes", code=code(execute, grain, misjudged), file=data.name, **facts)
                if one not in kept.found:
                    kept.add(one, execute(network, name, case, middle(x, PART).contiguous(), seed + number))
                records.append(kept.found[one])
            counts = [sum(one[check] for one in records) for check in ("any", "samples")]
            row[case] = f"{counts[0]} of {len(records)} ({counts[1]})"
        rows.append(row)
    columns = ["measurement", *STATED, *(case for case in CASES if case not in STATED)] if solved else list(rows[0])
    rows = [{name: row.get(name, "-") for name in columns} for row in rows]
    notes = (
        f"How often `solve` warns. First rows: before samples are drawn, by the noise that is seen in y, of {images} "
        f"crops of {SIDE} pixels of {data.name}, sigma {', '.join(map(str, SIGMAS))} in turn; of the slices shipped "
        f"with ct, sigma {', '.join(map(str, RAYS))} [image unit x pixel]; and of those shipped with brain-mri, with "
        "sigma as in scan-mistakes. Stated is what the column says. "
        f"Samples: one of mmps in {STEPS} steps, of {solved} crops of {PART} pixels, by any warning (and by noise in "
        f"the samples); correlated: noise of {CORRELATED} that was enlarged by 2. Under right every warning is a false "
        "alarm."
    )
    finish("noise-mistakes", "Noise that is stated wrongly", rows, notes, out, images=images, solved=solved, seed=seed)
