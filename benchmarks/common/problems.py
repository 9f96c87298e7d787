"""An inverse problem that is ready to be solved, and a kind of measurement of images."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from operators import Blur, GaussianNoise, Masking, Operator
from priors import Prior


@dataclass(frozen=True, eq=False)
class Problem:
    """A prior and measurements of images that it could be of.

    Attributes: name; prior; operator; y (B, *M), in the operator's units; truth (B, *E), in data units; labels (B,)
    int64 of the images, None where they have none.
    """

    name: str
    prior: Prior
    operator: Operator
    y: Tensor
    truth: Tensor
    labels: Tensor | None = None

    def part(self, images: Sequence[int]) -> Self:
        """The problem of some of the images, with the operator of their rows."""
        index = torch.tensor(images)
        operator, labels = self.operator.rows(index), None if self.labels is None else self.labels[index]
        return replace(self, operator=operator, y=self.y[index], truth=self.truth[index], labels=labels)

    def to(self, device: torch.device) -> Self:
        """The same with operator, y, truth and labels on a device; the prior stays where it is."""
        if device == self.y.device:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        operator = copy.deepcopy(self.operator).to(device)
        return replace(self, operator=operator, y=self.y.to(device), truth=self.truth.to(device), labels=labels)


@dataclass(frozen=True)
class Task:
    """A kind of measurement of images: a title, and the operator by event shape."""

    title: str
    operator: Callable[[tuple[int, ...]], Operator]


TASKS = {
    "masking": Task(
        "masking, 50 % of pixels, sigma_y .05",
        lambda shape: Masking.random(shape, keep=0.5, seed=0, noise=GaussianNoise(0.05)),
    ),
    "blur": Task(
        "Gaussian blur, sigma 1.5 px, circular, sigma_y .02",
        lambda shape: Blur.gaussian(1.5, noise=GaussianNoise(0.02)),
    ),
}
