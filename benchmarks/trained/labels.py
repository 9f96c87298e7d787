"""Class-conditional samples, judged by an independently trained classifier."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from inverse import METHODS, solve
from inverse.guidance import NoisyLikelihood
from priors.data import ImageSet, read


def run(
    prior_name: str,
    n_per_class: int,
    n_steps: int,
    weights: tuple[float, ...],
    seed: int,
    test: ImageSet,
    progress: bool = True,
) -> list[dict[str, str]]:
    """The fraction of samples that the judge assigns to the guiding label, per class and in total, beside its accuracy
    on test images.

    Arguments: prior_name: a shipped prior beside which NAME-classifier, which guides, and NAME-judge are shipped;
    n_per_class samples; n_steps; weights of the guidance; seed; test: labelled images that none of the three was
    trained on; progress.
    Returns: rows of texts: label, agreement on samples per weight, the judge's accuracy on the test images.
    Raises: ValueError for a test set without labels.
    """
    if test.labels is None:
        raise ValueError("the test set has no labels: the judge's accuracy is measured against them")
    prior, judge = priors.load(prior_name), priors.load_classifier(f"{prior_name}-judge")
    operator = operators.Classifier(priors.load_classifier(f"{prior_name}-classifier"))
    names = priors.labels(f"{prior_name}-judge")
    wanted = torch.arange(len(names))
    agreed = {}
    for weight in weights:
        method = replace(METHODS["classifier"], guidance=NoisyLikelihood(weight))
        samples = solve(prior, operator, wanted, n_per_class, method, n_steps, seed, progress=progress).samples
        agreed[f"judged as labelled, weight {weight:g}"] = (
            _label(judge, samples.flatten(0, 1)).view(-1, n_per_class) == wanted[:, None]
        )
    seen = torch.cat([_label(judge, test.floats(rows)) for rows in torch.arange(len(test)).split(500)])
    correct = seen == test.labels
    of_class = [(name, c, test.labels == c) for c, name in enumerate(names)]
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


def run_labels(
    prior: str = "fashion-mnist",
    per_class: int = 20,
    steps: int = 60,
    weight: Annotated[list[float], typer.Option(help="of the guidance; repeat for several")] = [1.0, 3.0],  # noqa: B006
    data: Annotated[
        Path | None, typer.Option(help="test images for the judge (test_images, test_labels); default: the shipped")
    ] = None,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Class-conditional samples judged by an independently trained classifier."""
    test = priors.samples(prior) if data is None else read(data, "test")
    rows = run(prior, per_class, steps, tuple(weight), seed, test)
    notes = (
        f"Prior {prior}: {per_class} samples per class, {steps} steps; the judge on {len(test)} test images. "
        "Exact draws of p(x | label) would be judged as labelled about as often as test images are, so weight 1, the "
        "paper's, is bounded by the judge; larger weights trade variety for agreement."
    )
    name = "labels" if prior == "fashion-mnist" else f"labels-{prior}"
    finish(name, "Class-conditional samples", rows, notes, out, per_class=per_class, steps=steps, seed=seed)
