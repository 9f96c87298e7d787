"""Class-conditional samples: a second classifier, trained apart, says which label it sees."""

import torch

import operators
import priors
from inverse import METHODS, Method, solve
from inverse.demo import LABELS


def run(
    n_per_class: int, n_steps: int | None, seed: int, progress: bool, method: Method = METHODS["classifier"]
) -> list[dict[str, str]]:
    """Agreement of the judge with the label that guided, per class and in all, beside its accuracy on test images.

    Arguments: n_per_class samples; n_steps (None: the method's); seed; progress; method.
    Returns: rows of texts: label, agreement on samples, accuracy of the judge on the shipped test images.
    """
    prior, judge = priors.load("fashion-mnist"), priors.load_classifier("fashion-mnist-judge")
    operator = operators.Classifier(priors.load_classifier("fashion-mnist-classifier"))
    solution = solve(prior, operator, torch.arange(len(LABELS)), n_per_class, method, n_steps, seed, progress=progress)
    wanted = torch.arange(len(LABELS))[:, None].expand(-1, n_per_class)
    with torch.no_grad():
        judged = judge(solution.samples.flatten(0, 1).clamp(0, 1), 0.0).argmax(1).view_as(wanted)
        test = priors.samples("fashion-mnist")
        correct = (judge(test.floats(), 0.0).argmax(1) == test.labels).float()
    assert test.labels is not None
    rows = []
    for label, name in enumerate(LABELS):
        agreed = (judged[label] == label).float().mean().item()
        rows.append(
            {
                "label": name,
                "judged as labelled": f"{agreed:.1%}",
                "judge on test images": f"{correct[test.labels == label].mean():.1%}",
            }
        )
    overall = (judged == wanted).float().mean().item()
    rows.append(
        {"label": "all", "judged as labelled": f"{overall:.1%}", "judge on test images": f"{correct.mean():.1%}"}
    )
    return rows
