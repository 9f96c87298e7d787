"""From rows of test quantities to a `Calibration`: ranks, p-values, the classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inverse.app.calibration.draws import RANKS, TESTS, Cost, Settings, stream
from inverse.app.calibration.quantities import FAMILIES, Row
from inverse.app.calibration.result import Calibration
from inverse.quality.bands import uniform_p
from inverse.quality.ranks import ranks, uniformity
from inverse.quality.two_sample import FEWEST, two_sample
from priors import RowRNG

CLASSIFIER = "classifier"


def judged(
    rows: Sequence[Row], notes: dict[str, str], cost: Cost, settings: Settings, false_alarm: float
) -> Calibration:
    """All tests of the rows of all draws.

    Formula: a number of an image has the rank of the truth among its samples, at random within its cell, uniform for
    exact samples; its p-value is exact (`inverse.quality.bands.uniform_p`). Families of many numbers, whose ranks
    depend on each other, are tested together by exchanging truths with samples (`inverse.quality.ranks.uniformity`).
    """
    log_w = torch.stack([row.log_weights for row in rows])
    rng = RowRNG(stream(settings.seed, RANKS), ((b,) for b in range(len(rows))), dtype=torch.float64)
    found: dict[str, Tensor] = {}
    p_values: dict[str, float] = {}
    histograms: dict[str, Tensor] = {}
    for name in rows[0].values:
        values = torch.stack([row.values[name] for row in rows])
        cells = ranks(values[:, 0], values[:, 1:], log_w)
        found[name] = _within(cells.low[:, 0], cells.high[:, 0], rng)
        if name in FAMILIES:
            test = uniformity(cells, seed=stream(settings.seed, TESTS))
            p_values[name] = test.p_value
            histograms[name] = torch.cat([test.histogram[None], test.band])
        else:
            p_values[name] = uniform_p(found[name][:, 0])
    for name in rows[0].nearer:
        far = torch.stack([row.nearer[name][0] for row in rows])
        weights = torch.stack([row.nearer[name][1] for row in rows])
        cells = ranks(far[:, :1], far[:, 1:, None], weights)
        found[name] = _within(cells.low[:, 0], cells.high[:, 0], rng)
        p_values[name] = uniform_p(found[name][:, 0])
    accuracy = None
    if len(rows) >= FEWEST:
        pairs = torch.stack([row.features for row in rows])
        given = torch.stack([row.given for row in rows])
        told = two_sample(pairs[:, 0], pairs[:, 1], given, seed=stream(settings.seed, TESTS))
        accuracy, p_values[CLASSIFIER] = told.accuracy, told.p_value
    else:
        notes = notes | {CLASSIFIER: f"{len(rows)} draws: it needs {FEWEST} or more"}
    return Calibration(
        ranks=found,
        p_values=p_values,
        histograms=histograms,
        accuracy=accuracy,
        n_draws=len(rows),
        n_samples=settings.n_samples,
        method=cost.method,
        seed=settings.seed,
        false_alarm=false_alarm,
        nfe=cost.nfe,
        nvjp=cost.nvjp,
        seconds=cost.seconds,
        notes=notes,
        cautions=sorted(set(cost.cautions)),
    )


def _within(low: Tensor, high: Tensor, rng: RowRNG) -> Tensor:
    """Numbers uniform between the ends of cells (B, d)."""
    return (low + rng.uniform(tuple(low.shape)) * (high - low)).clamp(0, 1)
