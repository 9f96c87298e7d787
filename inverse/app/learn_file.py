"""`inverse learn`: a prior from the measurements of a file."""

import math
from pathlib import Path
from typing import Any

import priors
from inverse.app.batching import read_measurements
from inverse.app.learning import LARGEST, learn_prior
from inverse.app.options import LearnOptions
from priors.recipes import read_recipe
from priors.terminal import explained, say

CHANNELS = (32, 64, 96, 128)  # of the network's levels, of which small pictures permit fewer
MINUTES = 10.0
BATCH, HELD_OUT = 64, 1000  # at most, of pictures


def learn(file: Path, out: Path, asked: LearnOptions) -> None:
    """Learn, and report where the prior is.

    Raises: typer.Exit with status 2 after an error, whose reason was printed.
    """
    with explained():
        start = priors.load(asked.start) if asked.start else None
        read = read_measurements(file, asked.operator, start, asked.size)
        shape = read.shape
        if start is not None and start.least_size is not None:
            start = start.resized((start.event_shape[0], *shape[1:]))
        shape = shape if start is None else tuple(start.event_shape)
        if start is None and math.prod(shape) > LARGEST:
            raise ValueError(
                f"pictures of {math.prod(shape)} values are too large for a Gaussian as the first prior, of at most "
                f"{LARGEST}: give another by --start, such as one of similar pictures"
            )
        operator, source = read.at(file, shape, asked.sigma)
        n = len(source) * asked.samples
        recipe = read_recipe(asked.recipe) if asked.recipe else default_recipe(file.name, shape, n)
        say(f"{file.name}: {len(source):,} measurements of pictures {' x '.join(map(str, shape))}")
        say(f"operator {read.stated.used()}; first prior: {asked.start or 'a Gaussian, fitted to the measurements'}")
        learn_prior(
            recipe, operator, source, out, shape, asked.rounds, start, n_samples=asked.samples, minutes=asked.minutes,
            seed=asked.seed, processes=asked.processes, device=asked.device,
        )  # fmt: skip
    say(f"pass it as --prior {out / f'round-{asked.rounds}' / 'prior'}")


def default_recipe(name: str, shape: tuple[int, ...], n: int) -> dict[str, Any]:
    """A recipe for n pictures (C, H, W) in [0, 1] of unknown licence: a local network, trained for ten minutes."""
    levels = min(len(CHANNELS), max(1, int(math.log2(min(shape[1:]))) - 1))
    return {
        "kind": "prior",
        "name": f"pictures behind {name}",
        "licence": "that of the measurements",
        "sde": {"type": "VESDE", "sigma_min": 0.002, "sigma_max": 50.0},
        "prior": {"prediction": "preconditioned", "weight": "unit"},
        "range": {"shift": 0.5, "scale": 0.25},
        "network": {
            "type": "local",
            "image_channels": shape[0],
            "channels": list(CHANNELS[:levels]),
            "blocks": [1] * levels,
        },
        "training": {
            "minutes": MINUTES, "batch_size": max(1, min(BATCH, n // 4)), "lr": 1e-3, "warmup": 300, "ema": 0.999,
            "held_out": max(1, min(HELD_OUT, n // 10)),
        },
    }  # fmt: skip
