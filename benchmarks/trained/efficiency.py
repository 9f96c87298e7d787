"""Quality against cost of moment matching on trained networks: backward passes a step, steps, and precision."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.suite.scores import crps
from inverse import METHODS, Method, solve
from inverse.auto import NETWORK_VARIANTS, NETWORKS, serves
from inverse.guidance import MMPS
from inverse.methods import composition
from inverse.quality import psnr
from inverse.quality.ranks import ranks
from operators import GaussianNoise, LinearOperator, Operator
from priors import Prior, pictures
from priors.data import floats
from priors.files import atomic

SIGMA = 0.02
Shape = tuple[int, ...]


def _method(name: str) -> Method:
    method = (METHODS | NETWORK_VARIANTS)[name]
    assert isinstance(method, Method)
    return method


@dataclass(frozen=True)
class Setting:
    """A method at a cost. Attributes: name; method; candidate: its name for `inverse.auto`, "" if it is no candidate;
    precision: as of `solve`."""

    name: str
    method: Method
    candidate: str = ""
    precision: str = "auto"


PUBLISHED = replace(_method("mmps"), guidance=MMPS(2, complete=False), n_steps=16)
SETTINGS = (
    Setting("two passes a step as published, 16 steps, float32", PUBLISHED, precision="float32"),
    Setting("two passes a step, 32 steps (mmps)", _method("mmps"), "mmps"),
    Setting("two passes a step, 10 steps", replace(_method("mmps"), n_steps=10), "mmps"),
    Setting("one pass a step, 16 steps", replace(_method("mmps, one pass"), n_steps=16), "mmps, one pass"),
    Setting("one pass a step, 10 steps", _method("mmps, one pass"), "mmps, one pass"),
)


# what serves a denoiser without a derivative, beside what auto takes for one that has a derivative
DERIVATIVE_FREE = (
    Setting("mmps, one pass a step, 10 steps", _method("mmps, one pass")),
    Setting("mmps-wiener, 10 steps", replace(_method("mmps-wiener"), n_steps=10)),
    Setting("mmps-wiener", _method("mmps-wiener")),
    *(Setting(name, _method(name)) for name in ("ddrm", "ddnm", "diffpir")),
)


@dataclass(frozen=True)
class Scene:
    """Measurements of images of one prior. Attributes: prior; side in pixels (None: the prior's own); images; samples
    of each; operators: title -> operator by event shape."""

    prior: str
    side: int | None
    images: int
    samples: int
    operators: dict[str, Callable[[Shape], LinearOperator]]

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.prior if self.side is None else f"{self.prior}, {self.side} px"


def _masked(shape: Shape, keep: float) -> LinearOperator:
    return operators.Masking.random(shape, keep, seed=0, noise=GaussianNoise(SIGMA))


def _blurred(shape: Shape) -> LinearOperator:
    return operators.Blur.motion(9, seed=1, noise=GaussianNoise(SIGMA))


def _shrunk(shape: Shape) -> LinearOperator:
    return operators.Downsampling(4, noise=GaussianNoise(SIGMA))


def _accelerated(shape: Shape) -> LinearOperator:
    return operators.Fourier.cartesian(shape, 4, noise=GaussianNoise(SIGMA))


def _projected(shape: Shape) -> LinearOperator:
    return operators.Radon(30, noise=GaussianNoise(0.1))


SHARP = {"motion blur, 9 px": _blurred, "downsampling x4": _shrunk}
PHOTOGRAPHS = SHARP | {"70 % of pixels missing": lambda shape: _masked(shape, 0.3)}
SCENES = (
    Scene("natural", 64, 6, 8, PHOTOGRAPHS),
    Scene("natural", 128, 5, 4, PHOTOGRAPHS),
    Scene("natural", 256, 3, 2, PHOTOGRAPHS),
    Scene("brain-mri", None, 5, 8, {"Cartesian MRI x4": _accelerated}),
    Scene("ct", 64, 4, 8, {"tomography, 30 angles": _projected}),
    Scene("fashion-mnist", None, 10, 8, SHARP | {"50 % of pixels missing": lambda shape: _masked(shape, 0.5)}),
)
WORK = Path("runs/efficiency")
Found = list[tuple[str, str, Setting, dict]]  # label of the scene, measurement, setting and record of each run


def crops(name: str, side: int, n: int, data: Path | None = None) -> Tensor:
    """n crops (n, C, side, side), at places drawn with a fixed seed, of the images shipped with a prior.

    Arguments: name of the prior; side (pixels); n; data: pictures, as inverse-pack writes them, that are cropped where
    those shipped are smaller.
    Raises: ValueError where no image is large enough.
    """
    images, generator = list(priors.samples(name).floats()), torch.Generator().manual_seed(1)
    if min(images[0].shape[1:]) < side and data is not None:
        images = [floats(picture) for picture in pictures.read(data).pictures]
    if min(images[0].shape[1:]) < side:
        raise ValueError(
            f"images of {tuple(images[0].shape)}: expected {side} pixels a side; give larger ones by --data"
        )
    found = []
    for i in range(n):
        image = images[i % len(images)]
        top, left = (int(torch.randint(0, size - side + 1, (1,), generator=generator)) for size in image.shape[1:])
        found.append(image[:, top : top + side, left : left + side])
    return torch.stack(found)


def measured(prior: Prior, operator: Operator, truth: Tensor, setting: Setting, samples: int, seed: int) -> dict:
    """Quality of the samples of one image (1, *E), and passes and processor time of a sample, as plain data."""
    y, start = operator.measure(truth, seed=seed), time.process_time()
    solution = solve(
        prior, operator, y, samples, setting.method, seed=seed, progress=False, precision=setting.precision
    )
    seconds = (time.process_time() - start) / samples
    return scored(solution.samples, truth) | {"nfe": solution.nfe, "nvjp": solution.nvjp, "seconds": seconds}


def scored(samples: Tensor, truth: Tensor) -> dict:
    """PSNR of the mean, CRPS in thousandths and coverage in % of samples (1, K, *E) of one image (1, *E)."""
    found = ranks(truth.flatten(1), samples.flatten(2))
    equal = torch.full((1, samples.shape[1]), 1 / samples.shape[1])
    return {
        "psnr": psnr(samples.mean(1), truth).item(),
        "crps": 1000 * crps(truth, samples, equal).item(),
        "covers": [100 * found.coverage(level).mean().item() for level in (0.8, 0.95)],
    }


def run(
    scenes: Sequence[Scene], settings: Sequence[Setting], work: Path, seed: int = 0, data: Path | None = None
) -> list[tuple[str, str, Setting, dict]]:
    """Label, measurement, setting and record of each run whose method serves; those that lie in ``work`` are read.

    Of each image the settings run in turn, so that ratios of their times are paired."""
    kept, found = Records(work / "efficiency.jsonl"), []
    for scene in scenes:
        prior = priors.load(scene.prior)
        if scene.side is not None:
            prior = prior.resized((prior.event_shape[0], scene.side, scene.side))
        shape = tuple(prior.event_shape)
        truth = crops(scene.prior, shape[-1], scene.images, data)
        for title, make in scene.operators.items():
            operator = make(shape)
            able = [setting for setting in settings if serves(setting.method, operator)]
            records: list[list[dict]] = [[] for _ in able]
            sizes = {"values": prod(shape), "measured": operator.measured_numbers(shape)}
            for image in range(scene.images):
                for setting, record in zip(able, records, strict=True):
                    facts = {"prior": fingerprint(prior), "task": title, "shape": shape, "image": image}
                    facts |= {"method": composition(setting.method), "precision": setting.precision}
                    name = key("efficiency", samples=scene.samples, seed=seed + image, **facts)
                    if name not in kept.found:
                        one = truth[image : image + 1]
                        kept.add(name, measured(prior, operator, one, setting, scene.samples, seed + image))
                    record.append(kept.found[name])
            for setting, record in zip(able, records, strict=True):
                found.append((scene.label, title, setting, gathered(record) | sizes))
    return found


def gathered(records: Sequence[dict]) -> dict:
    """The records of all images as one: means, and CRPS and seconds of each."""
    means = {name: sum(r[name] for r in records) / len(records) for name in ("psnr", "nfe", "nvjp")}
    lists: dict[str, Any] = {name: [r[name] for r in records] for name in ("crps", "seconds")}
    return means | lists | {"covers": torch.tensor([r["covers"] for r in records]).mean(0).tolist()}


def table(found: Found) -> list[dict[str, str]]:
    """A row per run, with its processor time and CRPS over those of the first setting of the same measurement."""
    rows = []
    for prior, title, setting, record in found:
        first = next(r for p, t, _, r in found if (p, t) == (prior, title))
        difference = torch.tensor(record["crps"]) / torch.tensor(first["crps"])
        paired = [a / b for a, b in zip(record["seconds"], first["seconds"], strict=True)]
        error = difference.std().item() / len(difference) ** 0.5 if len(difference) > 1 else float("nan")
        rows.append(
            {
                "prior": prior,
                "measurement": title,
                "setting": setting.name,
                "PSNR of the mean, dB": f"{record['psnr']:.2f}",
                "CRPS, thousandths": f"{_mean(record):.2f}",
                "CRPS over first": f"{difference.mean().item():.3f} ± {error:.3f}",
                "80 %, 95 % intervals cover": "{:.1f}, {:.1f}".format(*record["covers"]),
                "evaluations + passes": f"{record['nfe']:.0f} + {record['nvjp']:.0f}",
                "seconds a sample": f"{median(record['seconds']):.3f}",
                "seconds over first": f"{median(paired):.2f} [{min(paired):.2f}, {max(paired):.2f}]",
            }
        )
    return rows


def evidence(found: Found) -> list[dict]:
    """The candidates' rows for `inverse.auto`: CRPS over that of the best candidate, passes, and sizes."""
    rows = [entry for entry in found if entry[2].candidate]
    best: dict[tuple[str, str], float] = {}
    for prior, title, _, record in rows:
        best[prior, title] = min(best.get((prior, title), _mean(record)), _mean(record))
    return [
        {
            "candidate": setting.candidate,
            "problem": f"{prior}, {title}",
            "values": record["values"],
            "measured": record["measured"],
            "n_steps": setting.method.n_steps,
            "passes": round(record["nfe"] + record["nvjp"]),
            "samples": 1,
            "ratio": round(_mean(record) / best[prior, title], 4),
        }
        for prior, title, setting, record in rows
    ]


def _mean(record: dict) -> float:
    return sum(record["crps"]) / len(record["crps"])


def run_efficiency(
    prior: Annotated[list[str] | None, typer.Option(help="of the scenes; default: all; repeat")] = None,
    side: Annotated[
        list[int] | None, typer.Option(help="of scenes of several sizes, in pixels; default: all; repeat")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="pictures, as inverse-pack writes them, for sides above those shipped")
    ] = None,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    derivative_free: Annotated[
        bool, typer.Option("--derivative-free", help="methods that need no derivative of the denoiser instead")
    ] = False,
    use: Annotated[
        bool, typer.Option("--evidence", help="use these figures as the evidence for method='auto'")
    ] = False,
    out: Out = RESULTS,
) -> None:
    """PSNR, CRPS, coverage and time of `mmps` by backward passes, steps and precision, or of methods without them."""
    scenes = [s for s in SCENES if (not prior or s.prior in prior) and (not side or s.side in (None, *side))]
    found = run(scenes, DERIVATIVE_FREE if derivative_free else SETTINGS, work, seed, data)
    notes = (
        f"Images shipped with the priors (at 256 px of {data.name if data else 'a file'}), sigma_y {SIGMA:g} "
        "(tomography: .1), 8 samples of each image (4 at 128 px, 2 at 256 px). CRPS and coverage (in %, of central "
        "intervals) are per pixel. Seconds are of processor time, one thread: the settings run in turn on each image, "
        "and medians over images and [least, largest] are given of the paired ratios. ±: one standard error over "
        "images. "
    )
    if derivative_free:
        title = "Methods without a derivative of the denoiser"
        notes += "The first setting takes backward passes through the network; the others take none."
        finish("derivative-free", title, table(found), notes, out, seed=seed)
        return
    notes += (
        "The first setting of a measurement is MMPS as published in float32. The others complete the solve by the "
        "Gaussian of the prior's moments, and their networks compute in bfloat16 where precision='auto' does."
    )
    finish("efficiency", "Quality against cost", table(found), notes, out, seed=seed)
    if use:
        with atomic(NETWORKS) as temporary:
            temporary.write_text(json.dumps(evidence(found), indent=1) + "\n")
