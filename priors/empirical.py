"""A data set as a prior: its pictures, each smoothed by a Gaussian kernel."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from priors.arguments import finite, flat_rows, number, rows, state
from priors.base import VJP, Prior, recorded
from priors.conditioning import LOG_2PI
from priors.empirical_posterior import EmpiricalPosterior, condition_pictures, weigh_pictures
from priors.moments import Moments
from priors.noising import SDE, checked_sde, curves
from priors.rng import RowRNG

CHUNK, LARGE_CHUNK = 2**19, 2**24  # numbers of pictures in double precision at a time: what fits a CPU's cache; a GPU
LEAST_VARIANCE = 1e-30  # without noise and bandwidth the denoiser is the nearest picture, the limit of small noise


class Empirical(Prior, nn.Module):
    """p(x0) = 1/n sum_i N(x0; m_i, h^2 I) of n pictures m_i, noised by an SDE; with h = 0 the pictures themselves.

    Formula: p_t = 1/n sum_i N(alpha m_i, v I) with v = alpha^2 h^2 + sigma^2; with the weights r = softmax of
    -|x - alpha m_i|^2 / 2v, the score is -(x - alpha sum_i r_i m_i) / v and D = m + alpha h^2 / v (x - alpha m) with
    m = sum_i r_i m_i.
    Source: Parzen 1962 (kernel density); Karras et al. 2022, appendix B.3 (the ideal denoiser of a data set).
    Arguments: images (n, *E) float32 or float64, in data units; sde (SDE, in the same units); bandwidth h (float >= 0),
    data units.
    Distances are differences of large squares, so they are computed in double precision and from the mean picture,
    whatever the dtype of images and x; x of any floating dtype is given back in it. Memory of a call: (N, n) weights
    and a few thousand pictures, never (N, n, d).
    Raises: TypeError for images that are not a floating tensor; ValueError for none, or not finite, and for a negative
    bandwidth.
    """

    images: Tensor

    def __init__(self, images: Tensor, sde: SDE, bandwidth: float = 0.0):
        nn.Module.__init__(self)
        finite("images", rows("images", images))
        if images.numel() == 0:
            raise ValueError(f"images of shape {tuple(images.shape)}: expected at least one picture, (n, *E)")
        self.sde, self.event_shape = checked_sde(sde), tuple(images.shape[1:])
        self.bandwidth = number("bandwidth", bandwidth, "[0, inf)", "the kernel's standard deviation, data units")
        self.register_buffer("images", images.detach())
        squares = sum(float(part.square().sum()) for part in self._pictures())
        self.variance = squares / images.numel() + self.bandwidth**2

    def _facts(self) -> dict[str, Any]:
        smoothed = {"bandwidth": self.bandwidth} if self.bandwidth else {}
        return {"images": len(self.images)} | smoothed | super()._facts()

    def _apply(self, *given: Any, **named: Any) -> Self:
        for name in ("moments", "_centre", "_squares"):  # of the images as they were, elsewhere or in another dtype
            vars(self).pop(name, None)
        return super()._apply(*given, **named)

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def mean(self) -> Tensor:
        """E[x0], (*E)."""
        return self._centre.view(self.event_shape)

    @property
    def covariance(self) -> Tensor:
        """Cov[x0] over flattened events, (d, d)."""
        d = self._centre.numel()
        total = self.bandwidth**2 * torch.eye(d, dtype=torch.float64, device=self.device)
        for part in self._pictures():
            total += part.mT @ part / len(self.images)
        return total

    @cached_property
    def moments(self) -> Moments:
        """Mean, the leading 256 principal components and one variance for the others (`Moments.of_images`)."""
        n, h2 = len(self.images), self.bandwidth**2
        if n == 1:
            empty = self.images.new_zeros(self._centre.numel(), 0, dtype=torch.float32)
            return Moments(self.mean.float(), empty, empty.new_zeros(0), empty.new_tensor(h2))
        found, share = Moments.of_images(self.images), (n - 1) / n  # of n equally likely pictures, not a sample of more
        return replace(found, variances=share * found.variances + h2, rest=share * found.rest + h2)

    def log_prob(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """log p(x0 = x), or log p_t(x) with a time, in nats.

        Arguments: x (N, *E) in data units; t None, scalar or (N,) -> (N,).
        Raises: ValueError for a wrong shape, and without t for a bandwidth of 0, where there is no density.
        """
        offset, alpha, variance = self._noised(x, t)
        log_p = self._log_weights(offset, alpha, variance).logsumexp(1) - math.log(len(self.images))
        d = offset.shape[1]
        return (log_p - 0.5 * (offset.square().sum(1) / variance + d * (variance.log() + LOG_2PI))).to(x.dtype)

    def responsibilities(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """The probability that x0 = x, or x_t = x with a time, came from each picture.

        Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2.
        Arguments: as `log_prob`; t -> (N, n).
        Raises: ValueError as `log_prob`.
        """
        return self._log_weights(*self._noised(x, t)).softmax(1).to(x.dtype)

    def nearest(self, x: Tensor) -> Tensor:
        """The number of the nearest picture, (N,) int64; x (N, *E) in data units."""
        offset = flat_rows(x, self.event_shape, self._centre) - self._centre
        one = offset.new_ones(1)
        return self._log_weights(offset, one, one).argmax(1)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """grad log p_t(x), exact; x (N, *E) in data units, t scalar or (N,) -> (N, *E)."""
        offset, alpha, variance = self._noised(x, t)
        average = self._average(self._log_weights(offset, alpha, variance).softmax(1))
        return ((alpha[:, None] * average - offset) / variance[:, None]).view(x.shape).to(x.dtype)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x0 | x_t = x], exact; x (N, *E) in data units, t scalar or (N,) -> (N, *E)."""
        offset, alpha, variance = self._noised(x, t)
        return self._denoised(x, offset, alpha, variance, self._log_weights(offset, alpha, variance).softmax(1))

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        """As `Prior.denoise_vjp`, in closed form and without a graph.

        Formula: J = g I + (1 - g alpha) alpha / v Cov_r[m], with g = alpha h^2 / v and the covariance of the pictures
        under the weights r.
        """
        state(x, t, len(self.event_shape))
        denoises = (type(self).denoise, vars(self).get("denoise")) == (Empirical.denoise, None)
        if not denoises or recorded(x):
            return super().denoise_vjp(x, t)
        with torch.inference_mode(False), torch.no_grad():
            offset, alpha, variance = self._noised(x, t)
            r = self._log_weights(offset, alpha, variance).softmax(1)
            denoised = self._denoised(x, offset, alpha, variance, r)
            gain = (alpha * self.bandwidth**2 / variance)[:, None]
            rest = (1 - gain * alpha[:, None]) * (alpha / variance)[:, None]

        def vjp(v: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                along = v.expand(x.shape).to(offset.dtype).flatten(1)
                products = torch.cat([along @ part.mT for part in self._pictures()], 1)
                away = r * (products - (r * products).sum(1, keepdim=True))
                return (gain * along + rest * self._average(away)).view(x.shape).to(x.dtype)

        return denoised, vjp

    def sample(self, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw x0, (n, *E) in data units; sample i does not depend on n.

        Arguments: n (int >= 0); seed (int >= 0); dtype of the result.
        Raises: TypeError or ValueError for other values of n or seed, and for a dtype that is not floating.
        """
        floating(dtype)
        rng = RowRNG.rows(seed, n, device=self.device, dtype=torch.float64)
        k = (rng.uniform((n, 1))[:, 0] * len(self.images)).long().clamp_max(len(self.images) - 1)
        x = self.images[k].double()
        return (x + self.bandwidth * rng.normal(tuple(x.shape)) if self.bandwidth else x).to(dtype)

    @torch.no_grad()
    def posterior(self, operator, y: Tensor) -> EmpiricalPosterior:
        """p(x0 | y), exact.

        Formula: with h = 0, weights p(y | m_i), for any operator and noise. With h > 0, for a linear operator and
        Gaussian noise: every Gaussian conditioned, weights p_i(y) (see `priors.conditioning.condition`).
        Arguments: operator, with a log-likelihood; y (1, *M), one measurement.
        Raises: TypeError or ValueError for an operator that serves several measurements or does not fit, for noise
        without a density, and for h > 0 with an operator that is not linear, noise that is not Gaussian, or more than
        4096 dimensions: ``Empirical(prior.sample(n), sde)``, of many draws, then has the posterior approximately, as
        its ``ess`` tells.
        """
        if not self.bandwidth:
            return weigh_pictures(self.images, operator, y)
        return condition_pictures(self.images, self.bandwidth, operator, y)

    def log_evidence(self, operator, y: Tensor) -> float:
        """log p(y), nats per one measurement.

        Arguments: as `posterior`.
        Raises: as `posterior`, and ValueError where y has no density (noise-free rows that depend on each other).
        """
        if (found := self.posterior(operator, y).log_evidence) is None:
            raise ValueError(
                "noise-free measurements are linearly dependent, so y has no density; use a positive sigma"
            )
        return found

    def _pictures(self) -> Iterator[Tensor]:
        """The flattened pictures less the mean one, a few at a time, in double precision: (c, d)."""
        most = CHUNK if self.device.type == "cpu" else LARGE_CHUNK
        for part in self.images.flatten(1).split(max(1, most // self._centre.numel())):
            yield part.double() - self._centre

    @cached_property
    def _centre(self) -> Tensor:
        return self.images.flatten(1).mean(0, dtype=torch.float64)

    @cached_property
    def _squares(self) -> Tensor:
        return torch.cat([part.square().sum(1) for part in self._pictures()])

    def _noised(self, x: Tensor, t: Tensor | float | None) -> tuple[Tensor, Tensor, Tensor]:
        """x - alpha c (N, d) with c the mean picture, alpha and v (N or 1,)."""
        flat = flat_rows(x, self.event_shape, self._centre)
        if t is not None:
            alpha, sigma = curves(self.sde, t, len(x), self._centre)
            variance = ((alpha * self.bandwidth) ** 2 + sigma**2).clamp_min(LEAST_VARIANCE)
            return flat - alpha[:, None] * self._centre, alpha, variance
        if not self.bandwidth:
            raise ValueError("log_prob of a bandwidth of 0 is not defined: give a bandwidth > 0, or pass a time t > 0")
        return flat - self._centre, flat.new_ones(1), flat.new_full((1,), self.bandwidth**2)

    def _log_weights(self, offset: Tensor, alpha: Tensor, variance: Tensor) -> Tensor:
        """log N(x; alpha m_i, v I) up to what is the same for all pictures, (N, n)."""
        products = torch.cat([offset @ part.mT for part in self._pictures()], 1)
        return (alpha[:, None] * products - 0.5 * alpha[:, None] ** 2 * self._squares) / variance[:, None]

    def _average(self, r: Tensor) -> Tensor:
        """sum_i r_i (m_i - c), (N, d); r (N, n)."""
        total, start = r.new_zeros(len(r), self._centre.numel()), 0
        for part in self._pictures():
            total = total + r[:, start : start + len(part)] @ part
            start += len(part)
        return total

    def _denoised(self, x: Tensor, offset: Tensor, alpha: Tensor, variance: Tensor, r: Tensor) -> Tensor:
        average, gain = self._average(r), (alpha * self.bandwidth**2 / variance)[:, None]
        found = self._centre + average + gain * (offset - alpha[:, None] * average)
        return found.view(x.shape).to(x.dtype)


def floating(dtype: torch.dtype) -> None:
    """Refuse a dtype that is not floating. Raises: TypeError."""
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype = {dtype!r:.60}: expected a floating torch.dtype, such as torch.float32")
