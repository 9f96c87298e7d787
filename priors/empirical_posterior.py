"""Posteriors of a data set: weights of its pictures, by any likelihood, or by conditioning the kernels around them."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from priors.conditioning import condition, read, single
from priors.covariances import eps_of, numbers
from priors.rng import RowRNG
from priors.wording import Concise

MOST_DENSE = 4096  # largest dimension of a covariance matrix
CHUNK = 2**25  # numbers of pictures conditioned at a time, in double precision: 256 MB
MEASURED = 2**22  # numbers of pictures whose likelihood is computed at a time


@dataclass(frozen=True, repr=False, eq=False)
class Conditioned(Concise):
    """The Gaussians around pictures given y: N(shift + matrix m_i, F F') of a picture m_i.

    Attributes: shift (d,); matrix (d, d); factor F (d, r).
    """

    shift: Tensor
    matrix: Tensor
    factor: Tensor


@dataclass(frozen=True, repr=False, eq=False)
class EmpiricalPosterior(Concise):
    """p(x0 | y) of a data set: its pictures, or the Gaussians around them given y, with weights.

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.3 (Gaussians given y); Kong, Liu & Wong
    1994 (ess).
    Attributes: images (n, *E), those of the prior; log_weights (n,), normalised, float64; log_evidence: log p(y) in
    nats, None where noise-free measurements are linearly dependent, so that y has no density; conditioned: of a prior
    with a bandwidth.
    """

    images: Tensor
    log_weights: Tensor
    log_evidence: float | None
    conditioned: Conditioned | None = None

    @property
    def weights(self) -> Tensor:
        """The probability of every picture, (n,), of sum 1."""
        return self.log_weights.exp()

    @property
    def ess(self) -> float:
        """The effective number of pictures, 1 / sum of squared weights."""
        return float(1 / self.weights.square().sum())

    @cached_property
    def mean(self) -> Tensor:
        """E[x0 | y], (*E)."""
        total = self.log_weights.new_zeros(self.images[0].numel())
        for weights, part in self._parts():
            total += weights @ part
        return self._moved(total[None])[0].view(self.images.shape[1:])

    @cached_property
    def std(self) -> Tensor:
        """The standard deviation of every entry of x0 given y, (*E)."""
        mean = self.mean.flatten()
        total = torch.zeros_like(mean) if self.conditioned is None else self.conditioned.factor.square().sum(1)
        for weights, part in self._parts():
            total = total + weights @ (self._moved(part) - mean).square()
        return total.sqrt().view(self.images.shape[1:])

    def class_probabilities(self, labels) -> Tensor:
        """The probability of every class given y.

        Formula: the sum of the weights of its pictures.
        Arguments: labels (n,) integers >= 0, the classes of the prior's pictures.
        Returns: (C,) float64, with C - 1 the largest label.
        Raises: TypeError or ValueError for labels of another type, shape or range.
        """
        labels = numbers("labels", labels)
        if labels.is_floating_point():
            raise TypeError(f"labels of {labels.dtype}: expected integers; convert them with labels.long()")
        n = len(self.log_weights)
        if labels.shape != (n,) or bool((labels < 0).any()):
            raise ValueError(f"labels of shape {tuple(labels.shape)}: expected {n} integers >= 0, one per picture")
        labels = labels.long().to(self.weights.device)
        return self.weights.new_zeros(int(labels.max()) + 1).index_add(0, labels, self.weights)

    def indices(self, n: int, seed: int = 0) -> Tensor:
        """The pictures that `sample` draws, (n,) int64, of the same n and seed."""
        return self._drawn(RowRNG.rows(seed, n, device=self.log_weights.device, dtype=torch.float64), n)

    def sample(self, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw x0 given y, (n, *E) in data units; sample i does not depend on n.

        Arguments: n (int >= 0); seed (int >= 0); dtype of the result.
        Raises: TypeError or ValueError for other values of n or seed.
        """
        rng = RowRNG.rows(seed, n, device=self.log_weights.device, dtype=torch.float64)
        x = self._moved(self.images[self._drawn(rng, n)].flatten(1).double())
        if self.conditioned is not None:
            z = rng.normal((n, self.conditioned.factor.shape[1]))
            for row, noise in zip(x, z, strict=True):  # one product for the batch would make rounding depend on it
                row += self.conditioned.factor @ noise
        return x.view(n, *self.images.shape[1:]).to(dtype)

    def _drawn(self, rng: RowRNG, n: int) -> Tensor:
        edges = self.weights.cumsum(0)[:-1].contiguous()
        return torch.searchsorted(edges, rng.uniform((n, 1))[:, 0], right=True)

    def _moved(self, flat: Tensor) -> Tensor:
        """The means given y of the Gaussians around pictures (c, d)."""
        if self.conditioned is None:
            return flat
        return self.conditioned.shift + flat @ self.conditioned.matrix.mT

    def _parts(self):
        """Weights (c,) and pictures (c, d) in double precision, a few at a time; those of weight 0 are left out."""
        pictures, kept = self.images.flatten(1), self.weights.nonzero()[:, 0]
        for index in kept.split(max(1, CHUNK // pictures.shape[1])):
            yield self.weights[index], pictures[index].double()


def weigh_pictures(images: Tensor, operator, y: Tensor) -> EmpiricalPosterior:
    """The posterior of pictures themselves under any operator and noise.

    Arguments: images (n, *E); operator (Module): anything with ``capabilities`` and ``log_likelihood``; y (1, *M).
    Raises: TypeError or ValueError for an operator or y that does not fit, and for a y that no picture can have.
    """
    operator = single(operator, tuple(images.shape[1:]))
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != 1:
        given = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"y: {given}: expected one measurement (1, *M); for a batch, use y[i : i + 1]")
    found, dtype = [], y.dtype if y.is_floating_point() else torch.float32
    for part in images.split(max(1, MEASURED // images[0].numel())):
        batched = getattr(operator, "batch", None) is not None
        alone = operator.rows(torch.zeros(len(part), dtype=torch.int64)) if batched else operator
        found.append(alone.log_likelihood(y.expand(len(part), *y.shape[1:]), part.to(dtype)).double())
    return _posterior(images, torch.cat(found), True, None)


def condition_pictures(images: Tensor, bandwidth: float, operator, y: Tensor) -> EmpiricalPosterior:
    """The posterior of Gaussians N(m_i, h^2 I) around pictures, given a linear measurement with Gaussian noise.

    Arguments: images (n, *E); bandwidth h > 0; operator and y (1, *M): as `priors.conditioning.read`.
    Raises: ValueError for another operator or noise, and for more than 4096 dimensions.
    """
    flat, event_shape = images.flatten(1), tuple(images.shape[1:])
    d, kinds = flat.shape[1], getattr(operator, "capabilities", {"linear", "gaussian"})
    if missing := {"linear", "gaussian"} - set(kinds):
        raise ValueError(
            f"{type(operator).__name__} lacks {sorted(missing)}: with a bandwidth > 0 the posterior has a closed form "
            "for linear operators with Gaussian noise alone; use bandwidth=0, or Empirical(prior.sample(100_000), sde)"
        )
    if d > MOST_DENSE:
        raise ValueError(
            f"events of {d} numbers: expected at most {MOST_DENSE} for a posterior with a bandwidth > 0, whose "
            "covariance is a matrix; use bandwidth=0, or smaller pictures"
        )
    like = torch.zeros((), dtype=torch.float64, device=images.device)
    measured, eps = read(operator, y, event_shape, like), eps_of(y)
    unit = torch.eye(d, dtype=like.dtype, device=like.device)
    factors = bandwidth * unit[None]
    # the mean given y is affine in the picture
    means, factor, _, density = condition(torch.cat([torch.zeros_like(unit[:1]), unit]), factors, measured, eps)
    conditioned = Conditioned(means[0], (means[1:] - means[0]).mT.contiguous(), factor[0])
    parts = [part.double() for part in flat.split(max(1, CHUNK // d))]
    log_p = torch.cat([condition(part, factors, measured, eps)[2] for part in parts])
    return _posterior(images, log_p, density, conditioned)


def _posterior(images: Tensor, log_p: Tensor, density: bool, conditioned: Conditioned | None) -> EmpiricalPosterior:
    total = torch.logsumexp(log_p, 0)
    if not bool(total.isfinite()):
        raise ValueError(
            "y is impossible under every picture, or its likelihood is nan: check y, and that the noise is that of y"
        )
    evidence = float(total) - math.log(len(log_p)) if density else None
    return EmpiricalPosterior(images, log_p - total, evidence, conditioned)
