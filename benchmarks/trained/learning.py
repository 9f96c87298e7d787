"""Priors learned from masked pictures alone, beside the same network trained on clean ones and on pseudo-inverses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.metrics import frechet
from benchmarks.suite.scores import crps
from inverse import learn_gaussian, learn_prior, sample, solve
from inverse.app.learning import trained
from inverse.quality import psnr
from operators import GaussianNoise, Masking
from priors import Gaussian, Prior, sde
from priors.data import PARTS, ImageSet, rounded
from priors.sets import read_images
from priors.terminal import say

SIGMA, SIDE = 0.05, 14
TESTED, SAMPLES, DRAWN = 64, 4, 500  # test pictures, samples of each, and samples of a prior
FLOOR = 1e-4  # added to the variances of pixels that are always black, for the Gaussian of clean pictures


def recipe(steps: int) -> dict[str, Any]:
    """Of every network of the table."""
    return {
        "kind": "prior",
        "name": "Fashion-MNIST, averaged to 14 x 14",
        "licence": "MIT (data: Zalando SE)",
        "sde": {"type": "VESDE", "sigma_min": 0.01, "sigma_max": 20.0},
        "range": {"shift": 0.286, "scale": 0.33},
        "network": {"type": "local", "image_channels": 1, "channels": [32, 64], "blocks": [2, 2]},
        "training": {"steps": steps, "batch_size": 64, "lr": 1e-3, "cosine": True, "warmup": 100, "ema": 0.995,
                     "held_out": 100, "seed": 0},
    }  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Pictures (n, 1, 14, 14) and what is measured of them.

    Attributes: clean; operator: of each its own mask; y.
    """

    clean: Tensor
    operator: Masking
    y: Tensor

    @classmethod
    def of(cls, data: ImageSet, n: int, keep: float, seed: int) -> "Pictures":
        clean = F.avg_pool2d(data.floats(slice(0, n)).mean(1, keepdim=True), data.event_shape[-1] // SIDE)
        masks = torch.rand(clean.shape, generator=torch.Generator().manual_seed(seed)) < keep
        operator = Masking(masks.float(), noise=GaussianNoise(SIGMA)).at(tuple(clean.shape[1:]))
        return cls(clean, operator, operator.measure(clean, seed=seed + 1))


def measured(prior: Prior, test: Pictures, clean: Tensor) -> dict[str, str]:
    """The figures of a prior: posteriors of test pictures, and its own samples."""
    solution = solve(prior, test.operator, test.y, SAMPLES, "mmps", 16, antithetic=True, progress=False)
    own = sample(prior, DRAWN, "pc", 100, progress=False)
    equal = torch.full((len(test.clean), SAMPLES), 1 / SAMPLES)
    return {
        "PSNR of the mean, dB": f"{psnr(solution.mean, test.clean).mean().item():.2f}",
        "CRPS, thousandths": f"{1000 * crps(test.clean, solution.samples, equal).mean().item():.1f}",
        "Fréchet distance": f"{frechet(own.flatten(1).double(), clean.flatten(1).double()):.2f}",
    }


def run_learning(
    data: Annotated[Path, typer.Option(help="pictures with a test part, such as Fashion-MNIST's npz")],
    pictures: Annotated[int, typer.Option(help="that are measured")] = 2000,
    keep: Annotated[float, typer.Option(help="fraction of the pixels that are measured")] = 0.25,
    rounds: Annotated[int, typer.Option(help="of the network")] = 4,
    steps: Annotated[int, typer.Option(help="of training in a round")] = 1000,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="samples and checkpoints; a killed run continues there")] = Path(
        "runs/learning"
    ),
    out: Out = RESULTS,
) -> None:
    """Priors from measurements alone, against priors from clean pictures and from pseudo-inverses."""
    torch.set_num_threads(1)
    train = Pictures.of(read_images(data, PARTS[0]), pictures, keep, seed)
    test = Pictures.of(read_images(data, PARTS[1]), TESTED, keep, seed + 10)
    whole = recipe(steps * rounds)
    noising, flat = sde.from_spec(whole["sde"]), train.clean.flatten(1).double()

    def network(images: Tensor, name: str) -> Prior:
        pixels = rounded(images, torch.uint16)
        return trained(whole, ImageSet(pixels, source=name), work / name.replace(" ", "-"))

    def learned(number: int) -> Prior:
        return learn_prior(recipe(steps), train.operator, train.y, work / "rounds", rounds=number, seed=seed)

    shape = tuple(train.clean.shape[1:])
    covariance = flat.T.cov() + FLOOR * torch.eye(flat.shape[1], dtype=torch.float64)
    makers: dict[str, Callable[[], Prior]] = {
        "Gaussian, of clean pictures": lambda: Gaussian(flat.mean(0), covariance, noising, shape),
        "Gaussian, of measurements": lambda: learn_gaussian(train.operator, train.y, noising),
        "network, of clean pictures": lambda: network(train.clean, "clean pictures"),
        "network, of pseudo-inverses": lambda: network(train.operator.pinv(train.y), "pseudo-inverses"),
    } | {f"network, of measurements, round {r}": lambda r=r: learned(r) for r in range(1, rounds + 1)}
    table = []
    for name, make in makers.items():
        table.append({"prior": name} | measured(make(), test, train.clean))
        say(f"{table[-1]}")
    notes = (
        f"{pictures} pictures of {SIDE} x {SIDE} pixels, {100 * keep:.0f} % of the pixels of each measured, sigma_y "
        f"{SIGMA:g}. Networks are alike and train for {steps} steps a round, those of clean pictures and of "
        f"pseudo-inverses for {steps * rounds}. Posteriors: of {TESTED} test pictures measured likewise, mmps in 16 "
        f"steps, {SAMPLES} samples in antithetic pairs. Fréchet distance: of the pixels of {DRAWN} samples to those of "
        "the clean pictures."
    )
    finish("learning", "Priors from measurements alone", table, notes, out, pictures=pictures, seed=seed)
