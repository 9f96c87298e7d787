"""Class labels: a network of images and classes as one of images, with classifier-free guidance."""

from typing import Any

import torch
from torch import Tensor, nn

from priors.arguments import count, number


class Labelled(nn.Module):
    """A network of classes at one class: (u (N, *E), label (N,)) -> (N, *E), the label being that of the noise.

    Formula: f(u, none) + w (f(u, class) - f(u, none)) with the guidance scale w. Estimates of x0 and scores are affine
    in f, so they are combined alike.
    Source: Ho & Salimans 2022 (classifier-free guidance).
    Arguments: network with the attributes ``classes`` (int) and ``null`` (bool), called as network(u, label, classes
    (N,) or None); chosen (int); scale w; null: the number that stands for no class, None: the network's own way.
    """

    def __init__(self, network: nn.Module, chosen: int, scale: float, null: int | None):
        super().__init__()
        self.network, self.chosen, self.scale, self.null = network, chosen, scale, null

    def forward(self, u: Tensor, label: Tensor) -> Tensor:
        conditional = self.network(u, label, self._rows(self.chosen, u))
        if self.scale == 1.0:
            return conditional
        without = self.network(u, label, self._rows(self.null, u))
        return without + self.scale * (conditional - without)

    def _rows(self, number: int | None, u: Tensor) -> Tensor | None:
        return None if number is None else torch.full((len(u),), number, dtype=torch.int64, device=u.device)


def labelled(network: Any, label: int, guidance_scale: float, null: int | None) -> Labelled:
    """`Labelled`, its arguments checked.

    Arguments: as of `priors.ScorePrior.conditioned`.
    Raises: TypeError or ValueError for a network without classes, an unknown class, and guidance without a null class.
    """
    network = network.network if isinstance(network, Labelled) else network
    classes = getattr(network, "classes", 0)
    if not isinstance(classes, int) or classes < 1:
        raise ValueError("this prior's network knows no classes: conditioned() is for a class-conditional one")
    label = count("label", label, 0, classes - 1, "the number of a class")
    scale = number("guidance_scale", guidance_scale, "[0, inf)", "1 is the class itself, without guidance")
    if null is not None:
        null = count("null", null, 0, classes - 1, "the number that stands for no class")
    elif scale != 1.0 and not network.null:
        raise ValueError(
            f"guidance_scale = {scale:g}: this network was not trained without a class, so that there is nothing to "
            "guide away from; give null=, the number that stood for no class in training, or keep 1"
        )
    return Labelled(network, label, scale, null)
