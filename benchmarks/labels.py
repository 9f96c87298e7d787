"""Class-conditional samples: a second classifier, trained apart, says which label it sees."""

from dataclasses import replace

import torch
from torch import Tensor

import operators
import priors
from inverse import METHODS, solve
from inverse.demo import LABELS
from inverse.guidance import NoisyLikelihood

WEIGHTS = (1.0, 3.0)


def run(n_per_class: int, n_steps: int, seed: int, progress: bool) -> list[dict[str, str]]:
    """How often the judge sees the label that guided, per class and in all, beside its accuracy on test images.

    Arguments: n_per_class samples; n_steps; seed; progress.
    Returns: rows of texts: label, agreement on samples per guidance weight, the judge's accuracy on the shipped test
    images.
    """
    prior, judge = priors.load("fashion-mnist"), priors.load_classifier("fashion-mnist-judge")
    operator = operators.Classifier(priors.load_classifier("fashion-mnist-classifier"))
    wanted = torch.arange(len(LABELS))
    agreed = {}
    for weight in WEIGHTS:
        method = replace(METHODS["classifier"], guidance=NoisyLikelihood(weight))
        samples = solve(prior, operator, wanted, n_per_class, method, n_steps, seed, progress=progress).samples
        agreed[f"judged as labelled, weight {weight:g}"] = (
            _label(judge, samples.flatten(0, 1)).view(-1, n_per_class) == wanted[:, None]
        )
    test = priors.samples("fashion-mnist")
    assert test.labels is not None
    correct = _label(judge, test.floats()) == test.labels
    of_class = [(name, c, test.labels == c) for c, name in enumerate(LABELS)]
    everything = ("all", slice(None), slice(None))
    return [
        {
            "label": name,
            **{column: f"{hits[c].float().mean():.1%}" for column, hits in agreed.items()},
            "judge on test images": f"{correct[own].float().mean():.1%}",
        }
        for name, c, own in [*of_class, everything]
    ]


@torch.no_grad()
def _label(judge: priors.NoisyClassifier, images: Tensor) -> Tensor:
    return judge(images.clamp(0, 1), 0.0).argmax(1)
