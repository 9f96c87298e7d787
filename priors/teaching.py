"""A trained denoiser as a teacher: its estimates are part of what a network is trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from priors.arguments import settings
from priors.base import Prior
from priors.losses import perturb
from priors.noising import SDE


@dataclass(frozen=True)
class Teacher:
    """Targets (1 - share) x0 + share T(x_t, sigma) at the noise levels that a trained denoiser T serves.

    Formula: the gradient of |D - target|^2 is that of (1 - share) |D - x0|^2 + share |D - T|^2. T has less variance as
    a target than x0, whose expectation E[x0 | x_t] it approximates, and its own errors.
    Source: Hinton, Vinyals & Dean 2015 (distillation).
    Arguments: prior: of the teacher, as `priors.load` names it, such as "kair:ffdnet_color.pth"; share in (0, 1];
    least, most: noise levels (of alpha 1, data units) between which the teacher is asked: a network trained for large
    noise is inexact at little, where errors weigh most; most is by default the largest level of its training; reuse
    (int >= 1): how often a noisy batch with its targets is trained on, for a teacher that is slower than the network;
    kept (int >= 1): batches that are in turn at a time.
    Raises: ValueError for values out of range.
    """

    prior: str
    share: float = 0.8
    least: float = 0.02
    most: float | None = None
    reuse: int = 6
    kept: int = 48

    def __post_init__(self) -> None:
        settings(self, share="(0, 1]", least="[0, inf)", reuse=1, kept=1)
        if self.most is not None:
            settings(self, most="(0, inf)")

    def batch(self, step: int, order: Tensor) -> int:
        """The number of the batch that a step is trained on.

        Arguments: order: a permutation of the kept * reuse steps that these batches are in turn for.
        """
        turn, place = divmod(step, self.kept * self.reuse)
        return turn * self.kept + int(order[place]) % self.kept


class Targets(nn.Module):
    """What a network learns from a teacher, of an SDE and events of one shape.

    Arguments: teacher; prior: the teacher's, loaded; sde: of the training.
    """

    def __init__(self, teacher: Teacher, prior: Prior, sde: SDE) -> None:
        super().__init__()
        self.teacher, self.sde = teacher, sde
        self.prior = prior.requires_grad_(False).eval() if isinstance(prior, nn.Module) else prior
        self.most = min(getattr(prior, "sigma_max", float("inf")), teacher.most or float("inf"))
        self.kept: dict[int, Tensor] = {}

    def train(self, mode: bool = True) -> "Targets":
        """The teacher stays in evaluation mode."""
        return super().train(False)

    def forward(self, number: int, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Targets (N, *E) of a batch, kept by its number; arguments as of an objective."""
        if number not in self.kept:
            while len(self.kept) >= self.teacher.kept:
                self.kept.pop(next(iter(self.kept)))
            self.kept[number] = self._made(x0, t, z)
        return self.kept[number]

    @torch.no_grad()
    def _made(self, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        level = (self.sde.sigma(t) / self.sde.alpha(t)).cpu()
        rows = ((level >= self.teacher.least) & (level <= self.most)).nonzero()[:, 0].to(x0.device)
        target = x0.clone()
        if len(rows):
            x = perturb(self.sde, x0, t, z)[rows] / self.sde.alpha(t)[rows].to(x0).view(-1, 1, 1, 1)
            sde = self.prior.sde
            times = sde.time(level[rows.cpu()].double()).to(t)
            found = self.prior.denoise(x * sde.alpha(times).to(x).view(-1, 1, 1, 1), times)
            target[rows] = torch.lerp(x0[rows], found.to(x0), self.teacher.share)
        return target
