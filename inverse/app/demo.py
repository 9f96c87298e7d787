"""The demo: solve simulated measurements of test images and show the results."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import operators
import priors
from inverse.app.devices import solve_there
from inverse.app.figures import Column, drawing, gallery
from inverse.guidance import NoisyLikelihood
from inverse.methods import METHODS, Sampler
from inverse.quality import psnr, residual_chi2, ssim
from inverse.solution import Solution
from operators import GaussianNoise, LinearOperator, Operator
from priors.data import ImageSet

# with a classifier of 85 % accuracy p(x | label) is broad; this weight trades variety for agreement with the label
STRONG_LABEL = replace(METHODS["classifier"], guidance=NoisyLikelihood(3.0), n_steps=60)
CLASSIFIER = "fashion-mnist-classifier"


@dataclass(frozen=True)
class Task:
    """One demo task: the prior whose test images it uses, the operator for an event shape, and its description."""

    title: str
    prior: str
    operator: Callable[[tuple[int, ...]], Operator]
    method: Sampler | str = "auto"
    reconstructs: bool = True  # whether estimates are compared with the truth
    most: int = 4  # images
    zero_filled: bool = False  # whether the measurement is shown as its minimum-norm image


def _motion(event_shape: tuple[int, ...]) -> Operator:
    return operators.Blur.motion(15, seed=3, boundary="reflect", noise=GaussianNoise(0.02))


def _enlarging(event_shape: tuple[int, ...]) -> Operator:
    return operators.Resize(4, noise=GaussianNoise(0.01))


def _scan(event_shape: tuple[int, ...]) -> Operator:
    return operators.Fourier.cartesian(event_shape, acceleration=4, seed=0, noise=GaussianNoise(0.02))


def _masking(event_shape: tuple[int, ...]) -> Operator:
    return operators.Masking.random(event_shape, keep=0.5, seed=0, noise=GaussianNoise(0.05))


def _blur(event_shape: tuple[int, ...]) -> Operator:
    return operators.Blur.gaussian(1.5, boundary="reflect", noise=GaussianNoise(0.02))


def _label(event_shape: tuple[int, ...]) -> Operator:
    return operators.Classifier(priors.load_classifier(CLASSIFIER))


def _grayscale(event_shape: tuple[int, ...]) -> Operator:
    return operators.Grayscale(noise=GaussianNoise(0.02))


def _box(event_shape: tuple[int, ...]) -> Operator:
    return operators.Masking.box(event_shape, 12, noise=GaussianNoise(0.02))


TASKS: dict[str, Task] = {
    "motion": Task("photographs: motion blur of 15 px, sigma_y = .02", "natural", _motion, most=2),
    "enlarging": Task("photographs: super-resolution x4, sigma_y = .01", "natural", _enlarging, most=2),
    "scan": Task(
        "brain MRI: a quarter of k-space, sigma_y = .02; truths are samples of the prior",
        "brain-mri",
        _scan,
        zero_filled=True,
    ),
    "masking": Task("masking: half of the pixels, sigma_y = .05", "fashion-mnist", _masking),
    "blur": Task("blur: Gaussian, 1.5 px, sigma_y = .02", "fashion-mnist", _blur),
    "label": Task("label: only the class is known", "fashion-mnist", _label, STRONG_LABEL, reconstructs=False),
    "colourisation": Task("colourisation: grey, sigma_y = .02", "cifar10", _grayscale),
    "imputation": Task("imputation: 12 x 12 px missing, sigma_y = .02", "cifar10", _box),
}


def run(
    out: Path, n_images: int = 4, n_samples: int = 4, seed: int = 0, progress: bool = True, device: str = "cpu"
) -> list[dict[str, str]]:
    """Solve every task on test images of its prior; write pictures and solutions to ``out`` after each task.

    Arguments: out (folder); n_images per task (photographs, and priors with fewer test images, show fewer), n_samples
    (int >= 2, for a standard deviation); seed; progress; device of the priors.
    Returns: one dictionary of figures per task, as strings.
    Warns: `inverse.app.figures.NotDrawn` if a picture cannot be drawn.
    Raises: ValueError for too few samples or more images than any prior has.
    """
    if n_samples < 2:
        raise ValueError(f"n_samples = {n_samples}: expected at least 2, for a standard deviation")
    pictures = {task.prior: priors.samples(task.prior) for task in TASKS.values()}
    most = max(map(len, pictures.values()))
    if not 1 <= n_images <= most:
        raise ValueError(f"n_images = {n_images}: expected 1 to {most}, the test images that are shipped")
    rows, sections = [], {}
    for i, (name, task) in enumerate(TASKS.items()):
        prior, images = priors.load(task.prior, device=device), pictures[task.prior]
        n = min(n_images, len(images), task.most)
        chosen = images[torch.arange(i * n, (i + 1) * n) % len(images)]
        operator, truth = task.operator(prior.event_shape), chosen.floats()
        y = _measure(operator, chosen)
        pairs = n_samples % 2 == 0  # with few samples antithetic pairs give a better mean
        how = {"seed": seed, "progress": progress, "antithetic": pairs, "precision": "auto"}
        solution = solve_there(prior, operator, y, n_samples, task.method, **how)
        solution.save(out / f"{name}.h5")
        seen = (
            operator.at(prior.event_shape).pinv(y) if task.zero_filled and isinstance(operator, LinearOperator) else y
        )
        sections[task.title] = columns(solution, seen, truth)
        with drawing(out / f"{name}.png"):
            gallery(out / f"{name}.png", {task.title: sections[task.title]})
        rows.append(figures_of(name, task, solution, operator, y, truth))
    with drawing(out / "contact.png"):
        gallery(out / "contact.png", sections)
    return rows


def _measure(operator: Operator, images: ImageSet) -> Tensor:
    if "noisy_likelihood" not in operator.capabilities:
        return operator.measure(images.floats(), seed=1)
    assert images.labels is not None  # priors used in a label task have labelled test images
    return images.labels


def columns(solution: Solution, y: Tensor, truth: Tensor | None) -> list[Column]:
    """Columns of a gallery: truth if known, measurement (a picture or a label), up to 4 samples, mean, std."""
    shown = [] if truth is None else [Column("truth", truth)]
    names = priors.labels(CLASSIFIER)
    shown.append(Column("measurement", y) if y.ndim == 4 else Column("label", [names[int(i)] for i in y]))
    shown += [Column(f"sample {k + 1}", solution.samples[:, k]) for k in range(min(4, solution.samples.shape[1]))]
    return [*shown, Column("mean", solution.mean), Column("std", solution.std, spread=True)]


def figures_of(
    name: str, task: Task, solution: Solution, operator: Operator, y: Tensor, truth: Tensor
) -> dict[str, str]:
    """One row of the demo's table; a dash where a figure does not apply."""
    row = {"task": name, "method": solution.method}
    n = solution.samples.shape[1]
    if task.reconstructs:
        each = torch.stack([psnr(solution.samples[:, k], truth) for k in range(n)])
        chi2 = torch.stack([residual_chi2(operator, y, solution.samples[:, k]) for k in range(n)])
        row |= {
            "PSNR mean, dB": f"{psnr(solution.mean, truth).mean():.2f}",
            "PSNR sample, dB": f"{each.mean():.2f}",
            "SSIM mean": f"{ssim(solution.mean, truth).mean():.3f}",
            "chi^2": f"{chi2.mean():.2f}",
        }
    else:
        row |= dict.fromkeys(("PSNR mean, dB", "PSNR sample, dB", "SSIM mean", "chi^2"), "-")
    return row | {"NFE + vjp": f"{solution.nfe} + {solution.nvjp}", "seconds": f"{solution.seconds:.1f}"}
