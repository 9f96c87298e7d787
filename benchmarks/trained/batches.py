"""Whether samples depend on how they are computed: by batches of 1, of 3 or all at once, by one thread or two."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.efficiency import crops
from inverse import METHODS, Method, Solution, solve
from operators import GaussianNoise
from priors import Prior

PRIORS = ("natural", "natural-grey", "brain-mri", "ct", "cifar10", "fashion-mnist")
SIDE = 32  # pixels, of the priors of any size
KINDS = {"image": "of an image", "noise": "uniform noise, which no image gives"}  # what y is
OTHERS = {"batches of 1": (1, 1), "batches of 3": (3, 1), "two threads": (None, 2)}  # batch size and threads
SAMPLES = 4
GOAL = 1e-4  # largest difference of a pixel, images in [0, 1]
WORK = Path("runs/batches")


def names() -> list[str]:
    """The methods that serve a mask on any prior, with "auto"."""
    plain = [n for n, m in METHODS.items() if isinstance(m, Method) and m.conditional and n != "classifier"]
    return ["auto", *sorted(plain)]


def measured(prior: Prior, name: str, y: Tensor, operator: operators.Operator, steps: int | None) -> dict[str, float]:
    """The largest difference of a pixel to all samples at once by one thread."""

    def drawn(batch_size: int | None, threads: int) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found: Solution = solve(prior, operator, y, SAMPLES, name, steps, batch_size=batch_size, progress=False)
            return found.samples
        finally:
            torch.set_num_threads(before)

    reference = drawn(None, 1)
    return {label: (drawn(*setting) - reference).abs().max().item() for label, setting in OTHERS.items()}


def run(
    chosen: Sequence[str], methods: Sequence[str], work: Path, most: int | None = None, seed: int = 0
) -> list[tuple[str, str, str, dict[str, float]]]:
    """Prior, method, kind of y and record of each; those that lie in ``work`` are read. most: steps of a method."""
    kept, found = Records(work / "batches.jsonl"), []
    for source in chosen:
        prior = priors.load(source)
        if prior.event_shape[-1] > SIDE:
            prior = prior.resized((prior.event_shape[0], SIDE, SIDE))
        shape = tuple(prior.event_shape)
        operator = operators.Masking.random(shape, 0.5, seed=0, noise=GaussianNoise(0.05))
        truth = crops(source, shape[-1], 1)
        for name, kind in product(methods, KINDS):
            x = truth if kind == "image" else torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
            y = operator.measure(x, seed=seed)
            steps = None if name == "auto" or most is None else min(most, METHODS[name].n_steps)
            facts = {"prior": fingerprint(prior), "method": name, "y": kind, "steps": steps, "shape": shape}
            entry = key("batches", seed=seed, **facts)
            if entry not in kept.found:
                kept.add(entry, measured(prior, name, y, operator, steps))
            found.append((source, name, kind, kept.found[entry]))
    return found


def table(found: list[tuple[str, str, str, dict[str, float]]]) -> list[dict[str, str]]:
    """A row per method, the largest difference of all priors and each way of computing, and where it is."""
    rows = []
    for name in dict.fromkeys(method for _, method, _, _ in found):
        mine = [(source, kind, record) for source, method, kind, record in found if method == name]
        row = {"method": name}
        for kind, title in KINDS.items():
            worst = max(mine, key=lambda one: max(one[2].values()) if one[1] == kind else -1.0)
            row[f"y {title}: largest difference"] = f"{max(worst[2].values()):.1e}"
            row[f"{kind}: on"] = f"{worst[0]}, {max(worst[2], key=lambda label: worst[2][label])}"
        over = sum(max(record.values()) > GOAL for _, _, record in mine)
        row[f"above {GOAL:g}"] = f"{over} of {len(mine)}"
        rows.append(row)
    return rows


def run_batches(
    prior: Annotated[list[str] | None, typer.Option(help="default: all with a network; repeat")] = None,
    method: Annotated[list[str] | None, typer.Option(help="default: all; repeat")] = None,
    steps: Annotated[int | None, typer.Option(help="at most; default: each method's own")] = None,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    out: Out = RESULTS,
) -> None:
    """The largest difference of samples between sizes of batches and numbers of threads, for every method and prior."""
    found = run(prior or PRIORS, method or names(), work, steps, seed)
    limit = f", at most {steps} steps" if steps else ""
    notes = (
        f"Half of the pixels at random, sigma_y .05, {SAMPLES} samples in float32 at each method's default settings"
        f"{limit}; priors of any size at {SIDE} x {SIDE}. Largest difference of a pixel (images are in [0, 1]) between "
        f"all samples at once by one thread and {', '.join(OTHERS)}, over the priors {', '.join(prior or PRIORS)}. "
        "Networks round differently by size of batch, and a method may amplify it."
    )
    finish("batches", "Batches and threads", table(found), notes, out, seed=seed)
