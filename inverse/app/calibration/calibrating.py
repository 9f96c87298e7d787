"""calibrate(prior, operator): are a method's samples draws of the posterior, for a user's own problem?"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from inverse.app.calibration.draws import RANKS, Cost, Foreign, Settings, pairs, posteriors, stream
from inverse.app.calibration.judging import judged
from inverse.app.calibration.quantities import Quantities, Statistic, by_name, checked_resolution
from inverse.app.calibration.result import Calibration
from inverse.methods import Sampler
from operators import Operator
from priors import Prior
from priors.arguments import count, number, place
from priors.modes import own_modes


@own_modes
def calibrate(
    prior: Prior,
    operator: Operator,
    method: str | Sampler | Foreign = "auto",
    n_draws: int = 100,
    n_samples: int = 20,
    n_steps: int | None = None,
    seed: int = 0,
    statistics: Mapping[str, Statistic] | None = None,
    regions: Mapping[str, Tensor] | None = None,
    truths: Tensor | None = None,
    y: Tensor | None = None,
    work: str | Path | None = None,
    resolution: float | None = None,
    false_alarm: float = 0.05,
    batch_size: int | None = None,
    budget: str | None = None,
    precision: str = "float32",
    processes: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Calibration:
    """Simulation-based calibration: does a truth lie among its posterior samples as one more of them would?

    Formula: x* ~ p(x), y ~ p(y | x*), x_1 .. x_K from the method. If these are draws of p(x | y), the truth is one more
    of them, and the rank of f(x*, y) among f(x_1, y) .. f(x_K, y) is uniform for any f. Here f is: 64 random pixels;
    the lowest 6 x 6 cosines of a picture, or random projections of other events; the mean intensity, of the whole and
    of regions; log p(y | x); log p(x), or the norm of the prior's score where p(x) is not known; the statistics of the
    user; and the distance to a point: random, made of y, or the mean of half of the samples (expected coverage by
    random points). Besides, a classifier is trained to tell (x*, y) from (x_k, y). Ranks of pixels and cosines cannot
    see samples that ignore y, such as draws of the prior: the likelihood, points made of y and the classifier can.
    Source: Talts et al. 2018; Säilynoja, Bürkner & Vehtari 2022 (exact simultaneous bands and p-values); Modrák et al.
    2023 (why the likelihood); Lemos et al. 2023 (points); Lopez-Paz & Oquab 2017 (classifier); Holm 1979.

    Arguments: prior, whose truths are drawn by its own ``sample(n, seed)`` if it has one, else by 100 steps of its
    reverse SDE; operator; method: a name, a `Method`, or a function (operator, y (1, *M), n_samples, seed) -> samples
    (K, *E), so that any sampler can be tested; n_draws B; n_samples K; n_steps, batch_size, budget, precision,
    progress: as `inverse.solve`; seed; statistics: name -> function (N, *E) -> (N,), such as the probability of a
    class; regions: name -> mask (bool, broadcastable to E); truths (B, *E): in place of draws of the prior, which also
    tests whether the prior is right; y (B, *M): their measurements, which also tests the operator and its noise; work:
    a folder where finished draws are kept, so that a run that was killed goes on and more draws, or other statistics,
    need no new solves of these; a function is known there by its name, so another one needs another folder; overwrite:
    replace solves of another problem there; resolution: standard deviation of noise that truth and samples get before
    they are compared, default that of the prior's last noise level, where it has no closed form: finer detail is not
    modelled; false_alarm: the probability that an exact method fails any of the tests, at most; processes: on this
    machine, with work and under ``if __name__ == "__main__"``.
    Returns: `Calibration`. With importance weights, whose normalisation has a bias of order 1 / ESS, its tests are
    approximate.
    Raises: TypeError and ValueError as `inverse.solve`, and for arguments that do not fit; ValueError for a folder with
    another problem.
    """
    settings = Settings(
        method, int(count("n_samples", n_samples)), n_steps, seed, batch_size, budget, precision,
        None if work is None else Path(place("work", work)), processes, progress, overwrite,
    )  # fmt: skip
    n_draws, false_alarm = count("n_draws", n_draws, 2), number("false_alarm", false_alarm, "(0, 1)")
    given = pairs(prior, operator, n_draws, truths, y, settings)
    quantities = Quantities(
        prior, tuple(given.truths.shape[1:]), by_name("regions", regions), by_name("statistics", statistics),
        checked_resolution(resolution, prior), stream(seed, RANKS),
    )  # fmt: skip
    cost = Cost()
    rows = [
        quantities.of(b, given.truths[b], s.samples[0], s.log_weights[0], given.operator_of(b), given.y[b : b + 1])
        for b, s in enumerate(posteriors(prior, given, settings, cost))
    ]
    return judged(rows, quantities.notes, cost, settings, false_alarm)
