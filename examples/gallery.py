"""Make the pictures of the documentation: one per operator, one per method, and that of the README.

Run: uv run python examples/gallery.py            (all, about half an hour on one core)
     uv run python examples/gallery.py hero method-dps operator-blur   (only these)
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skimage.transform import resize
from torch import Tensor
from torch.nn.functional import interpolate, pad

import operators
import priors
from inverse import METHODS, sample, solve
from inverse.methods import Sampler
from operators import GaussianNoise, Operator

OUT = Path(__file__).parents[1] / "docs" / "gallery"
SIDE = 96  # pixels of a picture in a strip
MOST = 200  # steps of the methods' pictures
IN_THE_PLANE = ("pivot", "pivot-ep", "pivot-linearized", "exact")  # methods for few measured values, or few dimensions
NONLINEAR = ("linearized",)  # methods for nonlinear operators
Picture = tuple[str, Operator, str]  # prior, operator, method

COLOUR, GREY = (3, SIDE, SIDE), (1, SIDE, SIDE)
NOISE = GaussianNoise(0.02)
AVERAGES = torch.kron(torch.eye(7), torch.ones(1, 4)) / 4  # (7, 28), means over 4 pixels


def _angles() -> Operator:
    return operators.Radon.sparse_view(SIDE, views=30, noise=GaussianNoise(0.1))


OPERATORS: dict[str, Callable[[], Picture]] = {
    "bayer": lambda: ("natural", operators.Bayer(noise=NOISE), "mmps"),
    "blur": lambda: ("natural", operators.Blur.motion(11, seed=3, boundary="reflect", noise=NOISE), "mmps"),
    "classifier": lambda: (
        "fashion-mnist",
        operators.Classifier(priors.load_classifier("fashion-mnist-classifier")),
        "classifier",
    ),
    "compressed_sensing": lambda: (
        "natural",
        operators.CompressedSensing(0.3, "dct", seed=1, noise=NOISE),
        "mmps",
    ),
    "downsampling": lambda: ("natural", operators.Downsampling(3, noise=NOISE), "mmps"),
    "fan_beam": lambda: ("ct", operators.FanBeam(30, 2.0 * SIDE, SIDE, SIDE, noise=GaussianNoise(0.1)), "mmps"),
    "fourier": lambda: (
        "brain-mri",
        operators.Fourier.cartesian((1, 64, 64), acceleration=3, seed=0, noise=NOISE),
        "mmps",
    ),
    "grayscale": lambda: ("natural", operators.Grayscale(noise=NOISE), "mmps"),
    "identity": lambda: ("natural", operators.Identity(GaussianNoise(0.15)), "mmps"),
    "jpeg": lambda: ("natural", operators.JPEG(15, noise=GaussianNoise(0.03)), "dps"),
    "linear": lambda: (
        "fashion-mnist",
        operators.LinearMap(torch.kron(AVERAGES, AVERAGES), NOISE, event_shape=(1, 28, 28)),
        "mmps",
    ),
    "masking": lambda: ("natural", operators.Masking.random(COLOUR, keep=0.3, noise=NOISE), "mmps"),
    "noncartesian": lambda: ("brain-mri", operators.NonCartesian.radial((1, 64, 64), 33, noise=NOISE), "mmps"),
    "phase_retrieval": lambda: (
        "fashion-mnist",
        operators.PhaseRetrieval(2.0, noise=GaussianNoise(0.1)),
        "dps",
    ),
    "radon": lambda: ("ct", _angles(), "mmps"),
    "resize": lambda: ("natural", operators.Resize(4, noise=GaussianNoise(0.01)), "mmps"),
    "saturation": lambda: (
        "natural",
        operators.Saturation(2.0, softness=0.05, noise=NOISE),
        "dps",
    ),
    "transmission": lambda: (
        "ct",
        operators.Transmission(operators.PoissonNoise(1e4)) @ operators.Radon(30, SIDE, pixel=0.05),
        "mmps",
    ),
    "varying_blur": lambda: (
        "natural",
        operators.VaryingBlur.rotation(COLOUR, degrees=10, noise=NOISE),
        "mmps",
    ),
}


HERO: tuple[Picture, ...] = (
    ("natural", operators.Blur.motion(15, seed=3, boundary="reflect", noise=NOISE), "mmps"),
    ("natural", operators.Resize(4, noise=GaussianNoise(0.01)), "mmps"),
    ("natural", operators.Masking.random(COLOUR, keep=0.3, noise=NOISE), "mmps"),
    ("brain-mri", operators.Fourier.cartesian((1, 64, 64), acceleration=4, seed=0, noise=NOISE), "mmps"),
)
HEADINGS = ("truth", "measurement", "sample 1", "sample 2", "mean", "std")


def cell(x: Tensor, spread: bool = False, window: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """A picture (C, H, W) as (SIDE, SIDE, 3), scaled to the window of values; a standard deviation in the colour map
    magma."""
    x = x.detach().float()
    x = x.norm(dim=0, keepdim=True) if len(x) == 2 else x
    if spread:
        from matplotlib import colormaps

        x = x.mean(0)
        image = torch.from_numpy(np.asarray(colormaps["magma"]((x / x.max()).numpy()))[..., :3]).float()
    else:
        x = ((x - window[0]) / (window[1] - window[0])).clamp(0, 1)
        image = x.expand(3, *x.shape[1:]).permute(1, 2, 0)
    order = 0 if max(image.shape[:2]) < SIDE else 1
    return torch.from_numpy(resize(image.numpy(), (SIDE, SIDE), order=order, anti_aliasing=False)).float()


def seen(operator: Operator, y: Tensor, event_shape: tuple[int, ...]) -> Tensor:
    """The measurement as a picture (C, H, W): itself, its magnitude, or the minimum-norm picture."""
    if y.is_floating_point() and y.ndim == 4 and y.shape[1] in (1, 3):
        return y[0] / max(1.0, y.max().item())
    operator = operator.at(event_shape)
    if isinstance(operator, operators.NonCartesian):
        return operator.gridding(y)[0]
    if isinstance(operator, operators.LinearOperator):
        return operator.pinv(y)[0]
    return torch.ones(1, SIDE, SIDE)  # a label


def solved(prior_name: str, operator: Operator, method: str | Sampler, image: int = 0) -> list[Tensor]:
    """Cells: truth, measurement, two samples, mean, standard deviation."""
    prior, picture = priors.load(prior_name), priors.samples(prior_name)[torch.tensor([image])]
    x = picture.floats()
    if x.shape[-1] > SIDE:
        prior = priors.load(prior_name, event_shape=(x.shape[1], SIDE, SIDE))
        x = interpolate(x, (SIDE, SIDE), mode="area")
    y = operator.measure(x, seed=1)
    if "noisy_likelihood" in operator.capabilities and picture.labels is not None:
        y = picture.labels
    shown = seen(operator, y, prior.event_shape)
    if isinstance(operator, operators.Composition) and isinstance(operator.outer, operators.Transmission):
        line, noise = operator.outer.line_integrals(y)  # linear, with Gaussian noise: see docs/ct.md
        operator, y = operators.Radon(30, SIDE, noise=noise, pixel=0.05), line
    solution = solve(prior, operator, y, n_samples=4, method=method, progress=False)
    window = (0.15, 0.3) if prior_name == "ct" else (0.0, 1.0)  # -410 to 205 HU
    pictures = [cell(s, window=window) for s in (x[0], *solution.samples[0, :2], solution.mean[0])]
    return [pictures[0], cell(shown), *pictures[1:], cell(solution.samples[0].std(0), spread=True)]


def method_row(name: str) -> list[Tensor]:
    """Samples of a method with the Fashion-MNIST prior: for half of the pixels, clipped values, a label, or nothing."""
    method = METHODS[name]
    method = replace(method, n_steps=min(method.n_steps, MOST))
    if not method.conditional:
        drawn = sample(priors.load("fashion-mnist"), n_samples=6, method=method, progress=False)
        return [cell(x) for x in drawn]
    if "noisy_likelihood" in method.needs:
        return solved(*OPERATORS["classifier"]())
    if name == "ep":
        photons = operators.PoissonNoise(10.0)
        return solved("natural-grey", operators.Blur.gaussian(1.5, boundary="reflect", noise=photons), method)
    operator: Operator = operators.Masking.random((1, 28, 28), keep=0.5, noise=GaussianNoise(0.05))
    if name in NONLINEAR:
        operator = operators.Saturation(2.0, softness=0.05, noise=GaussianNoise(0.05))
    return solved("fashion-mnist", operator, method, image=2)


def plane_row(name: str) -> list[Tensor]:
    """Exact and a method's samples of a posterior with separate modes: the sum of two pixels is measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = [[0.25, 0.3], [0.7, 0.25], [0.3, 0.75], [0.8, 0.7]]
    prior = priors.GaussianMixture(means, 0.006 * torch.eye(2).expand(4, 2, 2), [0.2, 0.3, 0.2, 0.3], priors.VESDE())
    counted = name == "pivot-ep"
    noise = operators.PoissonNoise(400.0) if counted else GaussianNoise(0.02)
    operator = operators.LinearMap(torch.tensor([[0.5, 0.5]]), noise)
    y = torch.tensor([[0.5]])
    if counted:  # no formula: draws of the prior, weighted by the likelihood
        drawn = prior.sample(200_000, seed=0)
        weights = operator.log_likelihood(y, drawn).softmax(0)
        generator = torch.Generator().manual_seed(0)
        exact = drawn[torch.multinomial(weights, 300, replacement=True, generator=generator)]
    else:
        exact = prior.posterior(operator, y).sample(300, seed=0)
    solution = solve(prior, operator, y, n_samples=300, method=name, progress=False)
    cells = []
    for points in (prior.sample(300, seed=1), exact, solution.resample(300)[0]):
        figure = Figure(figsize=(1, 1), dpi=2 * SIDE)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        axes.scatter(*points.T, s=0.6, color="black", alpha=0.6)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1) / 255
        cells.append(interpolate(image[None], (SIDE, SIDE), mode="area")[0].permute(1, 2, 0))
    return cells


def strip(path: Path, rows: list[list[Tensor]], headings: tuple[str, ...] = (), scale: int = 1) -> None:
    """Write pictures to a PNG of at most 128 colours, enlarging each pixel ``scale`` times."""
    from PIL import Image, ImageDraw, ImageFont

    framed = [torch.cat([pad(c, (0, 0, 2, 2, 2, 2), value=1.0) for c in row], 1) for row in rows]
    pixels = (255 * torch.cat(framed)).round().byte().numpy()
    image = Image.fromarray(pixels).resize((pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.BICUBIC)
    if headings:
        below, image = image, Image.new("RGB", (image.width, image.height + 22), "white")
        image.paste(below, (0, 22))
        for j, text in enumerate(headings):
            middle = (j + 0.5) * image.width / len(headings), 11
            ImageDraw.Draw(image).text(middle, text, fill="black", font=ImageFont.load_default(15), anchor="mm")
    path.parent.mkdir(exist_ok=True)
    image.quantize(128 if headings else 64).save(path, optimize=True)


def main(wanted: list[str]) -> None:
    """Make all pictures, or those of the named operators and methods."""
    jobs: dict[str, Callable[[], list[Tensor]]] = {}
    for name, make in OPERATORS.items():
        jobs[f"operator-{name}"] = partial(lambda make: solved(*make()), make)
    for name in METHODS:
        jobs[f"method-{name}"] = partial(plane_row if name in IN_THE_PLANE else method_row, name)
    for name, job in jobs.items():
        if not wanted or name in wanted:
            strip(OUT / f"{name}.png", [job()])
            print(name, flush=True)
    if not wanted or "hero" in wanted:
        rows = [solved(*picture, image) for image, picture in zip((0, 4, 2, 1), HERO, strict=True)]
        strip(OUT / "hero.png", rows, HEADINGS)


if __name__ == "__main__":
    main(sys.argv[1:])
