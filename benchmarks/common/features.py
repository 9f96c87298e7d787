"""Feature spaces for comparing sets of images: Inception if its weights are cached, else a shipped classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import priors


@dataclass(frozen=True)
class Features:
    """A map from images (n, C, H, W) in image units to features (n, d), and its name in tables."""

    title: str
    map: Callable[[Tensor], Tensor]

    def of(self, images: Tensor, batch: int = 250) -> Tensor:
        """Features of many images, a batch at a time; values are clipped to [0, 1] first."""
        with torch.no_grad():
            return torch.cat([self.map(part.clamp(0, 1)) for part in images.split(batch)]).double()


def find(name: str, judge: str) -> Features:
    """The features of that name.

    Arguments: name: "inception", "judge" or "auto" (Inception if its weights are cached, else the judge); judge: a
    shipped classifier or a checkpoint folder.
    Raises: ValueError for another name; FileNotFoundError for Inception without its weights: nothing is downloaded.
    """
    if name not in ("auto", "inception", "judge"):
        raise ValueError(f"features {name!r}: expected auto, inception or judge")
    weights = _inception_weights()
    if name == "inception" and weights is None:
        raise FileNotFoundError(
            f"no inception_v3 weights in {torch.hub.get_dir()}/checkpoints, and nothing is downloaded here: fetch them "
            "with torchvision.models.inception_v3(weights='DEFAULT'), or take the features of the judge"
        )
    if name != "judge" and weights is not None:
        return Features("Inception v3 (torchvision)", _inception(weights))
    classifier = priors.load_classifier(judge)
    return Features(f"the classifier {judge}", lambda x: classifier.features(x, 0.0))


def _inception_weights() -> Path | None:
    return next(iter(sorted(Path(torch.hub.get_dir(), "checkpoints").glob("inception_v3_google-*.pth"))), None)


def _inception(weights: Path) -> Callable[[Tensor], Tensor]:
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.register_module("fc", torch.nn.Identity())
    network.eval()

    def features(x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        x = torch.nn.functional.interpolate(x, (299, 299), mode="bilinear", antialias=True)
        return network(2 * x - 1)

    return features
