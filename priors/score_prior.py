"""Priors from networks: input range, centring, noise label and output scaling."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from priors.arguments import choice, rows, settings, state
from priors.arguments import shape as sizes
from priors.base import Prior, expand
from priors.labels import labelled
from priors.moments import Moments
from priors.noising import SDE, at_least, checked_sde
from priors.spectrum import Spectrum, StationaryMoments
from priors.units import Units
from priors.wording import call

Network = Callable[[Tensor, Tensor], Tensor]  # (u (N, *E), label (N,)) -> (N, *E)
# Each maps (network, u, alpha, sigma, t) to E[u0 | u_t]; u = alpha u0 + sigma z in the network's units, alpha and sigma
# shaped to multiply u, t (N,).
Prediction = Callable[[Network, Tensor, Tensor, Tensor, Tensor], Tensor]


def _rows(curve: Tensor, n: int) -> Tensor:
    return curve.reshape(-1).expand(n) if curve.numel() == 1 else curve.reshape(-1)


def _preconditioned(network, u, alpha, sigma, t):
    """Input and target of unit variance at every noise level (Karras et al. 2022, table 1, for any alpha and sigma)."""
    gain = torch.rsqrt(alpha**2 + sigma**2)
    output = network(u * gain, _rows(0.25 * torch.log(sigma / alpha), len(u)))
    return gain * (gain * alpha * u + sigma * output)


def _noise(network, u, alpha, sigma, t):
    """The network predicts z from the label 999 t (Ho et al. 2020; VP and sub-VP of Song et al. 2021)."""
    return (u - sigma * network(u, 999 * t)) / alpha


def _score(network, u, alpha, sigma, t):
    """The network predicts sigma * score from the label log sigma (VE of Song et al. 2021)."""
    return (u + sigma * network(u, _rows(torch.log(sigma), len(u)))) / alpha


def _score01(network, u, alpha, sigma, t):
    """The network predicts sigma * score from the label log sigma of images in [0, 1], of which it sees u = 2 x - 1
    (VE in the code of Song et al. 2021)."""
    return (u + sigma * network(u, _rows(torch.log(sigma / 2), len(u)))) / alpha


def _ddpm(network, u, alpha, sigma, t):
    """The network predicts z from the label 1000 t - 1, the number of a level of `LadderSDE` counted from 0, which is a
    fraction between levels (Ho et al. 2020; fractions: Song et al. 2021, Lu et al. 2022)."""
    return (u - sigma * network(u, 1000 * t - 1)) / alpha


def _smld(network, u, alpha, sigma, t):
    """The network predicts sigma * score from the label round(999 (1 - t)), a level of 1000 from the largest noise to
    the least (Song & Ermon 2019; SMLD in the code of Song et al. 2021)."""
    return (u + sigma * network(u, torch.round(999 * (1 - t)))) / alpha


PREDICTIONS: dict[str, Prediction] = {
    "preconditioned": _preconditioned,
    "noise": _noise,
    "score": _score,
    "score01": _score01,
    "ddpm": _ddpm,
    "smld": _smld,
}


@dataclass(frozen=True)
class DataRange:
    """Data units from the network's: x0 = shift + scale u0. (1/2, 1/2) for a network trained on 2x - 1; the mean and
    standard deviation of the data for a preconditioned one.

    Arguments: shift (float); scale (float > 0), in data units.
    Raises: TypeError or ValueError for other values.
    """

    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self):
        settings(self, shift="(-inf, inf)", scale="(0, inf)")


def _dtype_of(network: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """That of its weights; ``otherwise`` where it has none."""
    return next((w.dtype for w in network.parameters() if w.is_floating_point()), otherwise)


class _OwnPrecision:
    """A network that computes in the dtype of its weights, called from states of another.

    Labels stay in the state's precision: in bfloat16 neighbouring noise levels would be one. A network embeds them.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        self.network, self.dtype = network, dtype

    def __call__(self, u: Tensor, label: Tensor) -> Tensor:
        return self.network(u.to(self.dtype), label).to(u.dtype)


class ScorePrior(Prior, nn.Module):
    """A prior given by a trained network.

    States may have a dtype other than the weights: the network computes in its own, all else in that of the states.
        ``prior.to(torch.bfloat16)``, ``.half()`` and ``.double()`` change the network only.

    Formula: u = (x_t - alpha shift) / scale has noise sigma / scale; the network's output becomes E[u0 | u_t] by
    ``prediction``, and D = shift + scale E[u0 | u_t].
    Source: Song et al. 2021 ("noise", "score"); Karras et al. 2022 ("preconditioned").
    Arguments: network (Module): (u (N, *E), label (N,)) -> (N, *E); sde (SDE, in data units); event_shape (tuple E);
    prediction (a name in `PREDICTIONS`, or such a function); range (DataRange); moments of the training images, in data
    units (see `priors.Prior`); units (Units): the physical unit of image values, if any; spectrum (Spectrum) of images
    of any size, from which moments of this size are computed if none are given; bfloat16_loss (dB), see `priors.Prior`.
    Raises: ValueError for an unknown prediction, and for moments of a different event shape.
    """

    def __init__(
        self,
        network: nn.Module,
        sde: SDE,
        event_shape: tuple[int, ...],
        prediction: str | Prediction = "preconditioned",
        range: DataRange = DataRange(),
        moments: Moments | StationaryMoments | None = None,
        units: Units | None = None,
        spectrum: Spectrum | None = None,
        bfloat16_loss: float | None = None,
    ):
        nn.Module.__init__(self)
        if not callable(prediction):
            choice("prediction", prediction, sorted(PREDICTIONS))
        event_shape = _checked(network, sde, event_shape, range)
        for name, value, kind in (("moments", moments, Moments | StationaryMoments), ("units", units, Units)):
            if not isinstance(value, kind | None):
                raise TypeError(f"{name} of type {type(value).__name__}: expected {kind}, or None")
        if not isinstance(spectrum, Spectrum | None):
            raise TypeError(f"spectrum of type {type(spectrum).__name__}: expected a priors.Spectrum, or None")
        if moments is None and spectrum is not None:
            moments = spectrum.sized(event_shape)
        if moments is not None and moments.mean.shape != tuple(event_shape):
            raise ValueError(f"moments of shape {tuple(moments.mean.shape)}: expected {tuple(event_shape)}")
        self.network, self.sde, self.event_shape, self.moments = network, sde, tuple(event_shape), moments
        self.prediction, self.range, self.units, self.spectrum = prediction, range, units, spectrum
        self.predict: Prediction = prediction if callable(prediction) else PREDICTIONS[prediction]
        self.variance, self.bfloat16_loss = range.scale**2, bfloat16_loss

    def _facts(self) -> dict[str, Any]:
        return {"network": self.network} | super()._facts()

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        state(x, t, len(self.event_shape), self.device)
        t = at_least(self.sde, t)
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        shift, scale = self.range.shift, self.range.scale
        times = _rows(torch.as_tensor(t, dtype=x.dtype, device=x.device), len(x))
        u0 = self.predict(self._called(x.dtype), (x - alpha * shift) / scale, alpha, sigma / scale, times)
        return shift + scale * u0

    def _called(self, dtype: torch.dtype) -> Network:
        """The network for states of this dtype."""
        own = _dtype_of(self.network, dtype)
        return self.network if own == dtype else _OwnPrecision(self.network, own)

    def with_sde(self, sde: SDE) -> "ScorePrior":
        """The prior of the same network under another SDE.

        A preconditioned network takes a unit-variance input and sigma / alpha, so D is the same function of x / alpha
        and sigma / alpha for every SDE. Outside the trained range of sigma / alpha it extrapolates.
        Arguments: sde (SDE, data units). The network is shared, not copied.
        Raises: ValueError for a network that takes the time or sigma itself.
        """
        if self.prediction != "preconditioned":
            raise ValueError(
                f"prediction = {self.prediction!r}: only a preconditioned network can be used with another SDE; "
                f"keep {self.sde}, or train with prediction = 'preconditioned'"
            )
        return self._with(sde=sde)

    def resized(self, event_shape: tuple[int, ...]) -> "ScorePrior":
        """The prior of the same network over pictures of another size.

        Arguments: event_shape (tuple (C, H, W)). The network is shared, not copied; moments of one size are dropped.
        Raises: ValueError for a network of fixed size, for another number of channels and for a size below its minimum.
        """
        shape = sizes("event_shape", event_shape)
        if shape == self.event_shape:
            return self
        minimum = self.least_size
        if minimum is None:
            raise ValueError(
                f"event_shape = {shape}: this prior's network only takes {self.event_shape}; resize pictures to "
                "that size, or use a prior for any size, such as 'natural'"
            )
        if len(shape) != 3 or shape[0] != self.event_shape[0] or min(shape[1:]) < minimum:
            raise ValueError(
                f"event_shape = {shape}: expected ({self.event_shape[0]}, H, W) with H and W of at least {minimum}; "
                "convert or enlarge the picture"
            )
        return self._with(event_shape=shape, moments=None)

    def conditioned(self, label: int, guidance_scale: float = 1.0, null: int | None = None) -> "ScorePrior":
        """The prior of one class, of a class-conditional network, with classifier-free guidance (`priors.labels`).

        Source: Ho & Salimans 2022. A scale other than 1 costs a second evaluation, and D is no longer a posterior mean.
        Arguments: label (int, from 0); guidance_scale (float >= 0): 1 is the class itself, 0 no class; null: the number
        that stood for no class in training, where it is one of the classes. The network is shared, not copied.
        Raises: ValueError for a network without classes, an unknown class, or guidance without a null class.
        """
        return self._with(network=labelled(self.network, label, guidance_scale, null))

    def in_bfloat16(self) -> "ScorePrior":
        """A copy whose network computes in bfloat16; the labels of noise levels stay in float32."""
        return self._with(network=copy.deepcopy(self.network).to(torch.bfloat16))

    def _with(self, **changed: Any) -> "ScorePrior":
        """The same prior but for some arguments of its constructor."""
        names = (
            "network", "sde", "event_shape", "prediction", "range", "moments", "units", "spectrum", "bfloat16_loss",
        )  # fmt: skip
        return ScorePrior(**({name: getattr(self, name) for name in names} | changed)).train(self.training)

    @property
    def least_size(self) -> int | None:
        """The least side in pixels if the network supports any size, else None."""
        return getattr(self.network, "minimum", None)

    @property
    def device(self) -> torch.device:
        tensors = chain(self.network.parameters(), self.network.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _checked(network, sde, event_shape, range) -> tuple[int, ...]:
    """Check the types of a trained network's parts; return its event shape."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"network of type {type(network).__name__}: expected a torch.nn.Module")
    if not isinstance(range, DataRange):
        raise TypeError(f"range = {range!r:.60}: expected a DataRange(shift, scale)")
    checked_sde(sde)
    return sizes("event_shape", event_shape)


class NoisyClassifier(nn.Module):
    """Class logits of a noised image: log p(label | x_t) up to a constant per sample.

    Source: Song et al. 2021, section 5 and appendix I.1.
    Arguments: network (Module): (u (N, *E), label (N,)) -> logits (N, classes), with unit-variance input and the label
    log(sigma / alpha) / 4 in the network's units; sde (SDE, data units); event_shape (E); range (DataRange).
    Calling it takes x (N, *E) in data units and t (scalar or (N,)); t = 0 means the clean image, evaluated at the least
    noise level of training.
    """

    def __init__(self, network: nn.Module, sde: SDE, event_shape: tuple[int, ...], range: DataRange):
        super().__init__()
        self.event_shape = _checked(network, sde, event_shape, range)
        self.network, self.sde, self.range = network, sde, range
        self.n_classes: int = network.config.classes  # type: ignore  # torch types all attributes as tensors or modules

    def __repr__(self) -> str:
        facts = {"network": self.network, "classes": self.n_classes, "event_shape": self.event_shape, "sde": self.sde}
        return call(type(self).__name__, facts)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Logits of log p(label | x_t), (N, classes)."""
        return self._called(self.network, x, t)

    def features(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The features before the linear classifier, (N, channels), for comparing sets of images."""
        return self._called(self.network.features, x, t)

    def _called(self, function, x: Tensor, t: Tensor | float) -> Tensor:
        """A function of the network, in the dtype of its weights; the result in x's."""
        u, label = self._scaled(x, t)
        return function(u.to(_dtype_of(self.network, u.dtype)), label).to(x.dtype)

    def _scaled(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        rows("x", x, self.event_shape)
        t = torch.as_tensor(t).clamp_min(self.sde.t_min)
        alpha = expand(self.sde.alpha(t), x)
        sigma = expand(self.sde.sigma(t), x) / self.range.scale
        u = (x - alpha * self.range.shift) / self.range.scale
        return u * torch.rsqrt(alpha**2 + sigma**2), _rows(0.25 * torch.log(sigma / alpha), len(x))
