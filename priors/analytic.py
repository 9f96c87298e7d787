"""Gaussians and Gaussian mixtures: score, denoiser, density and posterior in closed form."""

import math
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from priors.arguments import flat_rows, state
from priors.arguments import shape as sizes
from priors.base import VJP, Prior, recorded
from priors.conditioning import LOG_2PI, condition, read
from priors.covariances import eigen, eps_of, finite_tensor, numbers, rotated, unrotated
from priors.moments import Moments
from priors.noising import SDE, checked_sde, curves
from priors.rng import RowRNG


class GaussianMixture(Prior, nn.Module):
    """p(x0) = sum_k w_k N(x0; mu_k, C_k), noised by an SDE.

    Formula: p_t = sum_k w_k N(alpha mu_k, alpha^2 C_k + sigma^2 I); with r_k the responsibilities of x, the score is
    -sum_k r_k (alpha^2 C_k + sigma^2 I)^-1 (x - alpha mu_k), and D likewise averages the components' Wiener filters.
    Source: Bishop, Pattern Recognition and Machine Learning, 2006, sections 2.3.3 and 9.2.
    Arguments: means (K, d), covariances (K, d, d), weights (K,) > 0 up to a common factor, all in data units; sde (SDE,
    in the same units); event_shape (tuple E of product d, default (d,)).
    Methods take x of any floating dtype and return that dtype, computing in the buffers' own: float64, unless
    ``.float()`` trades digits for speed. Covariances that are all diagonal need no rotation, equal ones share one.
    Raises: ValueError for shapes that do not fit, entries that are not finite, covariances that are not symmetric and
    positive semidefinite (the singular are allowed), weights that are not positive.
    """

    means: Tensor
    eigenvalues: Tensor  # (K or 1, d)
    basis: Tensor | None  # (K or 1, d, d), eigenvectors as columns; None if the covariances are diagonal
    log_weights: Tensor

    def __init__(self, means, covariances, weights, sde: SDE, event_shape: tuple[int, ...] | None = None):
        means, weights = finite_tensor("means", means), finite_tensor("weights", weights)
        covariances = numbers("covariances", covariances)
        rounding, covariances = eps_of(covariances), finite_tensor("covariances", covariances)
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(f"means of shape {tuple(means.shape)}: expected (K, d); flatten images to d = C H W")
        k, d = means.shape
        if covariances.shape != (k, d, d):
            raise ValueError(
                f"covariances of shape {tuple(covariances.shape)}: expected {(k, d, d)} for means {(k, d)}; "
                "make matrices from variances with torch.diag_embed, repeat one with .expand(K, d, d)"
            )
        if weights.shape != (k,) or not bool((weights > 0).all()):
            raise ValueError(
                f"weights {weights.tolist()!s:.80}: expected {k} positive numbers; remove components of weight 0"
            )
        if bool((covariances == covariances[:1]).all()):
            covariances = covariances[:1]
        eigenvalues, basis = eigen(covariances, rounding)
        self._set(means, eigenvalues, basis, weights.log() - weights.sum().log(), sde, event_shape)

    def _set(self, means, eigenvalues, basis, log_weights, sde, event_shape) -> None:
        nn.Module.__init__(self)
        d = means.shape[1]
        self.sde = checked_sde(sde)
        self.event_shape = (d,) if event_shape is None else sizes("event_shape", event_shape)
        if math.prod(self.event_shape) != d:
            raise ValueError(f"event_shape {self.event_shape}: expected sizes whose product is d = {d}")
        self.register_buffer("means", means)
        self.register_buffer("eigenvalues", eigenvalues)
        self.register_buffer("basis", basis)
        self.register_buffer("log_weights", log_weights)
        within = self.weights @ eigenvalues.sum(1).expand(len(means))
        between = self.weights @ (means - self.weights @ means).square().sum(1)
        self.variance = float(within + between) / d

    def _facts(self) -> dict[str, Any]:
        return ({"components": len(self.means)} if len(self.means) > 1 else {}) | super()._facts()

    @property
    def weights(self) -> Tensor:
        """(K,), of sum 1."""
        return self.log_weights.exp()

    @property
    def mean(self) -> Tensor:
        """E[x0], (*E)."""
        return (self.weights @ self.means).view(self.event_shape)

    @property
    def covariance(self) -> Tensor:
        """Cov[x0] over flattened events, (d, d)."""
        offsets = self.means - self.weights @ self.means
        total = (offsets.mT * self.weights) @ offsets
        for weight, factor in zip(self.weights if len(self.eigenvalues) > 1 else [1.0], self._factors(), strict=True):
            total = total + weight * factor @ factor.mT
        return total

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance, in single precision."""
        return Moments.of_covariance(self.mean, self.covariance)

    def _apply(self, *given: Any, **named: Any) -> Self:
        vars(self).pop("moments", None)  # of the tensors as they were, elsewhere or in another dtype
        return super()._apply(*given, **named)

    @property
    def device(self) -> torch.device:
        return self.means.device

    def log_prob(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """log p(x0 = x), or log p_t(x) with a time, in nats.

        Formula: log sum_k w_k N(x; alpha mu_k, alpha^2 C_k + sigma^2 I).
        Arguments: x (N, *E) in data units; t None, scalar or (N,) -> (N,).
        Raises: ValueError for a wrong shape, and without t for a singular covariance.
        """
        return self._log_components(x, t).logsumexp(1).to(x.dtype)

    def responsibilities(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """The probability that x0 = x, or x_t = x with a time, came from each component.

        Formula: r_k = w_k N(x; alpha mu_k, alpha^2 C_k + sigma^2 I) / sum_j of the same.
        Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2.
        Arguments: as `log_prob`; t -> (N, K).
        Raises: ValueError as `log_prob`.
        """
        return self._log_components(x, t).softmax(1).to(x.dtype)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """grad log p_t(x), exact; x (N, *E) in data units, t scalar or (N,) -> (N, *E)."""
        _, offsets, variances, parts, _ = self._resolve(x, t)
        return -unrotated(self.basis, parts * offsets / variances).view(x.shape).to(x.dtype)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x0 | x_t = x], exact; x (N, *E) in data units, t scalar or (N,) -> (N, *E)."""
        alpha, offsets, variances, parts, means = self._resolve(x, t)
        gain = alpha * self.eigenvalues / variances
        return (means + unrotated(self.basis, parts * gain * offsets)).view(x.shape).to(x.dtype)

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        """As `Prior.denoise_vjp`; of one Gaussian J is its gain, in closed form and without a graph."""
        state(x, t, len(self.event_shape))
        denoises = (type(self).denoise, vars(self).get("denoise")) == (GaussianMixture.denoise, None)
        if len(self.means) > 1 or not denoises or recorded(x):
            return super().denoise_vjp(x, t)
        with torch.inference_mode(False), torch.no_grad():
            alpha, offsets, variances, _, means = self._resolve(x, t)
            gain = alpha * self.eigenvalues / variances
            denoised = (means + unrotated(self.basis, gain * offsets)).view(x.shape).to(x.dtype)

        def vjp(v: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                z = rotated(self.basis, v.expand(x.shape).to(means.dtype).flatten(1)[:, None])
                return unrotated(self.basis, gain * z).view(x.shape).to(x.dtype)

        return denoised, vjp

    def sample(self, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw x0, (n, *E) in data units; sample i does not depend on n.

        Arguments: n (int >= 0); seed (int >= 0); dtype of the result.
        Raises: TypeError or ValueError for other values of n or seed, and for a dtype that is not floating.
        """
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype = {dtype!r:.60}: expected a floating torch.dtype, such as torch.float32")
        rng = RowRNG.rows(seed, n, device=self.device, dtype=self.means.dtype)
        edges = self.weights.cumsum(0)[:-1].contiguous()
        k = torch.searchsorted(edges, rng.uniform((n, 1))[:, 0], right=True)
        tied = len(self.eigenvalues) == 1
        z = rng.normal((n, self.means.shape[1])) * self.eigenvalues.sqrt()[0 if tied else k]
        if self.basis is not None:
            bases = self.basis.unbind()
            for row, j in zip(z, k.tolist(), strict=True):  # one product for the batch would make rounding depend on it
                row.copy_(bases[0 if tied else j] @ row)
        return (self.means[k] + z).view(n, *self.event_shape).to(dtype)

    @torch.no_grad()
    def posterior(self, operator, y: Tensor) -> "GaussianMixture":
        """p(x0 | y), exact, with the same SDE and event shape.

        Formula: every component conditioned (see `priors.conditioning.condition`), weights w_k p_k(y) normalised.
        Arguments: operator: linear with Gaussian noise, of any sigma >= 0; y (1, *M), one measurement.
        Raises: ValueError as `priors.conditioning.read` and `condition`.
        """
        means, factors, log_p, _ = self._condition(operator, y)
        basis, singular, _ = torch.linalg.svd(factors, full_matrices=True)
        eigenvalues = nn.functional.pad(singular**2, (0, means.shape[1] - singular.shape[1]))
        mixture = GaussianMixture.__new__(GaussianMixture)
        log_weights = torch.log_softmax(self.log_weights + log_p, 0)
        mixture._set(means, eigenvalues, basis, log_weights, self.sde, self.event_shape)
        return mixture

    @torch.no_grad()
    def log_evidence(self, operator, y: Tensor) -> float:
        """log p(y), nats per one measurement.

        Formula: log sum_k w_k N(y; A mu_k, A C_k A' + Sigma_y), over the measured entries of y.
        Arguments: as `posterior`.
        Raises: ValueError as `posterior`, and where y has no density (noise-free rows that depend on each other).
        """
        _, _, log_p, density = self._condition(operator, y)
        if not density:
            raise ValueError(
                "noise-free measurements are linearly dependent, so y has no density; use a positive sigma"
            )
        return float(torch.logsumexp(self.log_weights + log_p, 0))

    def _condition(self, operator, y: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
        measured = read(operator, y, self.event_shape, self.means)
        return condition(self.means, self._factors(), measured, eps_of(y))

    def _factors(self) -> Tensor:
        """F with F F' = C, (K or 1, d, d)."""
        root = self.eigenvalues.sqrt()
        return torch.diag_embed(root) if self.basis is None else self.basis * root[:, None]

    def _rows(self, x: Tensor) -> Tensor:
        return flat_rows(x, self.event_shape, self.means)

    def _curves(self, t: Tensor | float | None, n: int) -> tuple[Tensor, Tensor]:
        """alpha and sigma, (N or 1, 1, 1)."""
        if t is None:
            return self.means.new_ones(1, 1, 1), self.means.new_zeros(1, 1, 1)
        alpha, sigma = curves(self.sde, t, n, self.means)
        return alpha.view(-1, 1, 1), sigma.view(-1, 1, 1)

    def _variances(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Eigenvalues of the components of p_t, (N or 1, K or 1, d)."""
        return alpha**2 * self.eigenvalues + sigma**2

    def _offsets(self, x: Tensor, alpha: Tensor) -> Tensor:
        """x - alpha mu_k in the components' bases: x (N, d) -> (N, K, d)."""
        return rotated(self.basis, x[:, None]) - alpha * rotated(self.basis, self.means)

    def _log_components(self, x: Tensor, t: Tensor | float | None) -> Tensor:
        """log w_k p_t(x | k), (N, K), of x (N, *E)."""
        if t is None and bool((self.eigenvalues == 0).any()):
            raise ValueError(
                "log_prob of a singular covariance (from a noise-free measurement) is not defined; give "
                "the operator a positive sigma, or pass a time t > 0"
            )
        rows = self._rows(x)
        alpha, sigma = self._curves(t, len(rows))
        return self._log_joint(self._offsets(rows, alpha), self._variances(alpha, sigma))

    def _log_joint(self, offsets: Tensor, variances: Tensor) -> Tensor:
        """log w_k N(x; ...), (N, K)."""
        return self.log_weights - 0.5 * (offsets**2 / variances + variances.log() + LOG_2PI).sum(2)

    def _resolve(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """alpha, offsets, variances, the weights of the offsets, and the average mean (N or 1, d).

        Equal covariances make one Gaussian about the average mean, and responsibilities by matrix products: (N, d) and
        (N, K) in memory, never (N, K, d).
        """
        x = self._rows(x)
        alpha, sigma = self._curves(t, len(x))
        variances = self._variances(alpha, sigma)
        if len(self.eigenvalues) > 1:
            offsets = self._offsets(x, alpha)
            r = self._log_joint(offsets, variances).softmax(1)
            return alpha, offsets, variances, r[:, :, None], r @ self.means
        if len(self.means) == 1:  # one component of weight 1
            offsets = rotated(self.basis, (x - alpha[:, 0] * self.means)[:, None])
            return alpha, offsets, variances, x.new_ones(1), self.means
        centre = self.weights @ self.means
        away = rotated(self.basis, self.means - centre)
        a, v = alpha[:, 0], variances[:, 0]
        offset = rotated(self.basis, (x - a * centre)[:, None])[:, 0]
        linear = a * (offset / v) @ away.mT
        r = (self.log_weights + linear - 0.5 * a**2 * ((1 / v) @ away.square().mT)).softmax(1)
        offset = offset - a * (r @ away)
        return alpha, offset[:, None], variances, x.new_ones(1), r @ self.means


class Gaussian(GaussianMixture):
    """p(x0) = N(x0; mean, covariance), noised by an SDE: the mixture of one.

    Source: as `GaussianMixture`.
    Arguments: mean (d,), covariance (d, d), in data units; sde (SDE); event_shape (tuple E of product d, default (d,)).
    Raises: ValueError as `GaussianMixture`.
    """

    def __init__(self, mean, covariance, sde: SDE, event_shape: tuple[int, ...] | None = None):
        mean, covariance = numbers("mean", mean), numbers("covariance", covariance)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"mean {tuple(mean.shape)} and covariance {tuple(covariance.shape)}: expected (d,) and (d, d); flatten "
                "images to d = C H W"
            )
        super().__init__(mean[None], covariance[None], torch.ones(1, device=mean.device), sde, event_shape)
