"""Training objectives as modules: (x0, labels, t, z) -> loss per sample."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import choice, settings
from priors.data import rounded
from priors.files import atomic
from priors.formats import load
from priors.losses import (
    T_TRAIN,
    WEIGHTS,
    ddpm,
    denoising_score_matching,
    likelihood_density,
    likelihood_times,
    perturb,
    sliced_score_matching,
    smld,
)
from priors.ode import decode
from priors.rng import RowRNG
from priors.score_prior import NoisyClassifier, ScorePrior
from priors.sde import SDE, LadderSDE
from priors.teaching import Targets, Teacher


class Objective(nn.Module, ABC):
    """A loss over noised images; the trained prior or classifier is a submodule.

    Arguments of its call: x0 (N, *E) in data units, labels (N,) or None, t (N,), z (N, *E) -> loss (N,).
    """

    trained: ScorePrior | NoisyClassifier

    @property
    def network(self) -> nn.Module:
        return self.trained.network

    def times(self, u: Tensor) -> Tensor:
        """Training times from uniform numbers on [0, 1), (N,) -> (N,)."""
        return T_TRAIN + (1 - T_TRAIN) * u

    @abstractmethod
    def sheet(self, out: Path) -> None:
        """Write a sample sheet, or the like, that shows the progress of the training to the folder."""


@dataclass(frozen=True)
class Focus:
    """A distribution of training noise levels concentrated around ``sigma``, without importance weights in the loss.

    Formula: a ``share`` of times has log(sigma / alpha) ~ N(log sigma, spread^2), the others are uniform.
    Source: Karras et al. 2022, table 1 (there with share 1).
    Arguments: sigma (of alpha 1, data units); spread (of its natural logarithm); share in [0, 1].
    Raises: ValueError for values out of range.
    """

    sigma: float
    spread: float
    share: float = 0.75

    def __post_init__(self):
        settings(self, sigma="(0, inf)", spread="(0, inf)", share="[0, 1]")

    def times(self, sde: SDE, u: Tensor) -> Tensor:
        """Times on [T_TRAIN, 1] of the sde from uniform numbers u (N,); (N,)."""
        v = u.double()
        normal = torch.special.ndtri((v / max(self.share, 1e-12)).clamp(1e-9, 1 - 1e-9))
        focused = sde.time(self.sigma * torch.exp(self.spread * normal)).clamp(T_TRAIN, 1.0)
        others = T_TRAIN + (1 - T_TRAIN) * (v - self.share) / max(1 - self.share, 1e-12)
        return torch.where(v < self.share, focused, others).to(u)


class PriorObjective(Objective):
    """Trains a `ScorePrior` by a loss with a weight, a name in `priors.losses.WEIGHTS`.

    The likelihood weight g^2 varies over decades, so times are importance-sampled (`likelihood_times`) and the loss is
    divided by their density: the same expectation as with uniform times at less variance.
    Source: Song et al. 2021b, section 5.
    """

    trained: ScorePrior
    focus: Focus | None = None  # the distribution of times; None: that of the weight
    targets: Targets | None  # of a teacher

    def __init__(self, prior: ScorePrior, weight: str = "score"):
        super().__init__()
        self.trained, self.weight = prior, choice("weight", weight, sorted(WEIGHTS))
        self.targets = None

    def focused(self, focus: Focus | None) -> "PriorObjective":
        """Set the distribution of times to a focus; None: that of the weight.

        Raises: ValueError for an objective that has its own distribution of times.
        """
        if focus is not None and (self.weight == "likelihood" or isinstance(self, Discrete)):
            raise ValueError(
                f"focus with {type(self).__name__} and weight {self.weight!r}: expected a continuous loss with weight "
                "'score' or 'unit', whose distribution of times is free; omit focus"
            )
        self.focus = focus
        return self

    def taught(self, teacher: Teacher | None) -> "PriorObjective":
        """Learn from a teacher too; None: from data alone.

        Raises: ValueError for an objective that does not compare the denoiser with x0, and for a teacher of other
        events.
        """
        if teacher is not None:
            if not isinstance(self, DenoisingScoreMatching):
                raise ValueError("[teacher] serves the objective 'denoising' alone; omit one of them")
            shape = tuple(self.trained.event_shape)
            self.targets = Targets(teacher, load(teacher.prior, event_shape=shape), self.trained.sde)
        return self

    @abstractmethod
    def loss(self, x0: Tensor, t: Tensor, z: Tensor, target: Tensor | None = None) -> Tensor:
        """The weighted loss at given times, (N,)."""

    def times(self, u: Tensor) -> Tensor:
        if self.focus is not None:
            return self.focus.times(self.trained.sde, u)
        return likelihood_times(self.trained.sde, u) if self.weight == "likelihood" else super().times(u)

    def forward(self, x0: Tensor, labels: Tensor | None, t: Tensor, z: Tensor, target: Tensor | None = None) -> Tensor:
        loss = self.loss(x0, t, z) if target is None else self.loss(x0, t, z, target)
        return loss / likelihood_density(self.trained.sde, t).to(loss) if self.weight == "likelihood" else loss

    def sheet(self, out: Path) -> None:
        prior = self.trained
        shape = (36 if math.prod(prior.event_shape) <= 3 * 32**2 else 6, *prior.event_shape)
        rng = RowRNG.rows(0, shape[0], device=prior.device)
        images = decode(prior, prior.sde.sample_terminal(shape, rng), n_steps=32, denoise=True)
        _save_sheet(out / "samples.png", images)


class DenoisingScoreMatching(PriorObjective):
    """`priors.losses.denoising_score_matching`."""

    def loss(self, x0: Tensor, t: Tensor, z: Tensor, target: Tensor | None = None) -> Tensor:
        return denoising_score_matching(self.trained, x0, t, z, self.weight, target)


class SlicedScoreMatching(PriorObjective):
    """`priors.losses.sliced_score_matching`, projected on the signs of the next row's noise.

    These are Rademacher variables, independent of a row's own noise and determined by the seed of the noise; they need
    two rows or more. It differentiates twice, so it is slower than denoising score matching and takes more memory.
    Raises: ValueError when called with one row.
    """

    def loss(self, x0: Tensor, t: Tensor, z: Tensor, target: Tensor | None = None) -> Tensor:
        if len(z) < 2:
            raise ValueError("sliced score matching needs a batch size of at least 2")
        return sliced_score_matching(self.trained, x0, t, z, torch.sign(z.roll(1, 0)), self.weight)


class Discrete(PriorObjective):
    """A loss at uniformly drawn levels of a `LadderSDE`: `priors.losses.smld` or `ddpm`, which have their own weight.

    Arguments: prior, of a `LadderSDE`; weight: "score", the only one; discrete: the loss, of (prior, x0, level, z).
    Raises: ValueError for another SDE or weight.
    """

    def __init__(self, prior: ScorePrior, weight: str = "score", discrete: Callable[..., Tensor] = ddpm):
        super().__init__(prior, weight)
        self.discrete = discrete
        if not isinstance(prior.sde, LadderSDE):
            raise ValueError(f"a discrete loss of {type(prior.sde).__name__}: expected [sde] type = 'SMLD' or 'DDPM'")
        if weight != "score":
            raise ValueError(f"weight = {weight!r}: discrete losses use 'score'; omit it")
        self.levels = len(prior.sde.alphas)

    def times(self, u: Tensor) -> Tensor:
        return ((u * self.levels).floor().clamp_max(self.levels - 1) + 1) / self.levels

    def loss(self, x0: Tensor, t: Tensor, z: Tensor, target: Tensor | None = None) -> Tensor:
        return self.discrete(self.trained, x0, (t * self.levels).round().long(), z)


OBJECTIVES: dict[str, Callable[..., PriorObjective]] = {
    "denoising": DenoisingScoreMatching,
    "sliced": SlicedScoreMatching,
    "smld": partial(Discrete, discrete=smld),
    "ddpm": partial(Discrete, discrete=ddpm),
}


class NoisyClassification(Objective):
    """Trains a `NoisyClassifier`: cross-entropy of the label given x_t (Song et al. 2021, appendix I.1)."""

    trained: NoisyClassifier

    def __init__(self, classifier: NoisyClassifier):
        super().__init__()
        self.trained = classifier

    def forward(self, x0: Tensor, labels: Tensor | None, t: Tensor, z: Tensor) -> Tensor:
        if labels is None:
            raise ValueError("the image set has no labels: training a classifier needs them")
        logits = self.trained(perturb(self.trained.sde, x0, t, z), t)
        return F.cross_entropy(logits.float(), labels, reduction="none")

    def sheet(self, out: Path) -> None:
        pass  # a classifier only logs its losses


def _save_sheet(path: Path, images: Tensor, columns: int = 6) -> None:
    from skimage.io import imsave

    n, c, h, w = images.shape
    grid = images.view(n // columns, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(n // columns * h, columns * w, c)
    with atomic(path) as temporary:
        pixels = rounded(grid, torch.uint8).cpu().numpy()
        renamed = temporary.with_suffix(".png")
        imsave(renamed, pixels.squeeze(-1) if c == 1 else pixels, check_contrast=False)
        renamed.replace(temporary)
