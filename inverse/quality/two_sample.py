"""A classifier that tells truths from samples: a two-sample test of pairs that share their measurement."""

from dataclasses import dataclass

import torch
from torch import Tensor

from priors import RowRNG
from priors.arguments import count, rows

HIDDEN = 64  # random units of the classifier
FEWEST = 10  # pairs: with fewer, a fold has one


@dataclass(frozen=True)
class TwoSample:
    """The result of `two_sample`.

    Attributes: accuracy: the part of pairs in which the classifier, trained on other pairs, takes the truth for the
    truth, 1/2 by chance; p_value; n: pairs.
    """

    accuracy: float
    p_value: float
    n: int


def two_sample(
    truth: Tensor, sample: Tensor, given: Tensor | None = None, folds: int = 5, replicas: int = 999, seed: int = 0
) -> TwoSample:
    """Can a classifier tell (x, y) from (x~, y), x the truth and x~ a sample of the posterior of the same y?

    Formula: z(x, y) are features: those of x and their products, their products with features of y, and random units
    max(0, w . (x, y) + b). The classifier compares the pair: the truth is the one of larger v . z, with v by ridge
    regression of +1 on the differences z(x, y) - z(x~, y) of the other folds. Both members of a pair are in one fold.
    Replicas exchange the members of random pairs and train anew: under the null hypothesis all of these are equally
    likely, so the p-value is exact.
    Source: Lopez-Paz & Oquab 2017 (the test); Friedman 2003 (classifiers in permutation tests); Phipson & Smyth 2010
    (p-values of replicas); Huang, Zhu & Siew 2006 (random units).
    Arguments: truth, sample (n, d): features of x and x~; given (n, e): features of y, or None; folds (int >= 2);
    replicas (int >= 1) R; seed of the units, the folds and the exchanges.
    Returns: `TwoSample`; its p-value is at least 1 / (R + 1).
    Raises: ValueError for shapes that do not fit, fewer than 10 pairs and entries that are not finite.
    """
    truth, sample = rows("truth", truth).double(), rows("sample", sample).double()
    given = truth.new_zeros(len(truth), 0) if given is None else rows("given", given).double()
    folds, replicas = count("folds", folds, 2), count("replicas", replicas)
    if truth.shape != sample.shape or truth.ndim != 2 or given.ndim != 2 or len(given) != len(truth):
        raise ValueError(
            f"truth {tuple(truth.shape)}, sample {tuple(sample.shape)} and given {tuple(given.shape)}: expected "
            "(n, d), (n, d) and (n, e)"
        )
    if len(truth) < max(FEWEST, folds):
        raise ValueError(f"{len(truth)} pairs: expected {max(FEWEST, folds)} or more")
    if not all(bool(x.isfinite().all()) for x in (truth, sample, given)):
        raise ValueError("features have entries that are nan or infinite: leave these features out")
    n, d = truth.shape
    members = _standard(torch.cat([truth, sample]))
    condition = _standard(given).repeat(2, 1)
    rng = RowRNG(seed, [(0,), (1,), (2,)], dtype=torch.float64)
    weights = rng.normal((3, HIDDEN * (d + given.shape[1] + 1)))[0].view(HIDDEN, -1)
    z = _standard(_features(members, condition, weights))
    difference = z[:n] - z[n:]
    uniform = rng.uniform((3, max(n, n * replicas)))
    fold = uniform[1, :n].argsort().argsort() % folds
    signs = 1 - 2 * (uniform[2, : n * replicas].view(n, replicas) < 0.5).double()
    signs = torch.cat([signs.new_ones(n, 1), signs], 1)  # the first "replica" is the observation
    correct = difference.new_zeros(replicas + 1)
    for k in range(folds):
        held, rest = fold == k, fold != k
        scores = _predictor(difference[rest], difference[held]) @ signs[rest] * signs[held]
        correct += (scores > 0).double().sum(0) + 0.5 * (scores == 0).double().sum(0)
    p_value = (correct >= correct[0] - 1e-9).double().mean().item()
    return TwoSample(correct[0].item() / n, p_value, n)


def _standard(x: Tensor) -> Tensor:
    """Columns of mean 0 and standard deviation 1, at most 5; constant ones are 0."""
    if not x.numel():
        return x
    std = x.std(0)
    scaled = (x - x.mean(0)) / std.clamp_min(1e-300)
    return torch.where(std > 1e-9 * x.abs().amax(0), scaled, 0.0).clamp(-5, 5)


def _features(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Of rows x (N, d) and y (N, e); weights (HIDDEN, d + e + 1)."""
    d = x.shape[1]
    products = (x[:, :, None] * x[:, None])[:, *torch.triu_indices(d, d)]
    mixed = (x[:, :, None] * y[:, None]).flatten(1)
    both = torch.cat([x, y], 1)
    units = torch.relu(both @ weights[:, :-1].mT / max(1, both.shape[1]) ** 0.5 + weights[:, -1])
    return torch.cat([x, products, mixed, units], 1)


def _predictor(train: Tensor, test: Tensor) -> Tensor:
    """H with v . test = H t, v the ridge regression of targets t on ``train``; the same for all exchanges of pairs,
    because these change signs of rows and targets together."""
    gram = train @ train.mT
    ridge = gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(train), dtype=train.dtype)
    return test @ train.mT @ torch.linalg.inv(gram + ridge)
