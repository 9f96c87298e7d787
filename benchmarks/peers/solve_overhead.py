"""`solve` through the bridge to deepinv beside `solve` with our own operator of the same measurement."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.peers.bridge import MOST, bridged, kind
from benchmarks.peers.physics import Example, coils, generator, kernel, mask
from inverse import solve
from operators import GaussianNoise, Operator
from priors import Prior
from priors.nets.denoisers import FFDNet

SIDE, NOISE = 64, 0.05  # pixels; sigma_y, that of `Example.physics`
GREY, COLOUR, SCAN = (1, SIDE, SIDE), (3, SIDE, SIDE), (2, SIDE, SIDE)
LIGHT = 5  # pairs without a network for every pair with one, which takes that much longer
SIZES = {1: (64, 15), 2: (64, 15), 3: (96, 12)}  # width and depth of the published FFDNets


@dataclass(frozen=True)
class Twin:
    """One measurement, as deepinv has it and as we have it.

    Arguments: example of theirs; ours, made of nothing; turned: how a y of theirs becomes one of ours, None: it is one.
    """

    example: Example
    ours: Callable[[], Operator]
    turned: Callable[[Tensor], Tensor] | None = None


def sized(make: Callable[[Any], Any], event_shape: tuple[int, ...]) -> Example:
    """An example of this module's size."""
    return Example(make, event_shape)


def _noise() -> GaussianNoise:
    return GaussianNoise(NOISE)


TWINS: dict[str, Twin] = {
    "Denoising": Twin(sized(lambda p: p.Denoising(), COLOUR), lambda: operators.Identity(noise=_noise())),
    "Inpainting": Twin(
        sized(lambda p: p.Inpainting(COLOUR, mask=mask(1, SIDE, SIDE)), COLOUR),
        lambda: operators.Masking(mask(1, SIDE, SIDE), _noise()),
    ),
    "Demosaicing": Twin(
        sized(lambda p: p.Demosaicing(COLOUR), COLOUR),
        lambda: operators.Bayer("BGGR", _noise()),
        lambda y: y.sum(1, keepdim=True),
    ),
    "Decolorize": Twin(
        sized(lambda p: p.Decolorize(), COLOUR),
        lambda: operators.Grayscale(_noise(), TWINS["Decolorize"].example.physics().srf.flatten()),
    ),
    "Blur, circular": Twin(
        sized(lambda p: p.Blur(kernel(5, 3), padding="circular"), COLOUR),
        lambda: operators.Blur(kernel(5, 3)[0, 0], noise=_noise()),
    ),
    "Blur, valid": Twin(
        sized(lambda p: p.Blur(kernel(5, 3), padding="valid"), COLOUR),
        lambda: operators.Blur(kernel(5, 3)[0, 0], "valid", _noise()),
    ),
    "BlurFFT": Twin(
        sized(lambda p: p.BlurFFT(COLOUR, kernel(5, 3)), COLOUR),
        lambda: operators.Blur(kernel(5, 3)[0, 0], noise=_noise()),
    ),
    "MRI": Twin(
        sized(lambda p: p.MRI(mask=mask(SIDE, SIDE)), SCAN),
        lambda: operators.Fourier(mask(SIDE, SIDE), channels=2, noise=_noise()),
    ),
    "MultiCoilMRI": Twin(
        sized(lambda p: p.MultiCoilMRI(mask=mask(SIDE, SIDE), coil_maps=coils(4, SIDE, SIDE)), SCAN),
        lambda: operators.Fourier(mask(SIDE, SIDE), coils(4, SIDE, SIDE)[0], channels=2, noise=_noise()),
        lambda y: y.transpose(1, 2),
    ),
    "CompressedSensing": Twin(
        sized(lambda p: p.CompressedSensing(100, GREY, rng=generator()), GREY),
        lambda: operators.LinearMap(TWINS["CompressedSensing"].example.physics()._A, _noise(), event_shape=GREY),
    ),
}


def network(channels: int) -> Prior:
    """An FFDNet of its published size, of random weights, which take as long as trained ones. Arguments: channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = FFDNet(channels, *SIZES[channels]).eval().requires_grad_(False)
    return priors.from_denoiser(net, event_shape=(channels, SIDE, SIDE))


def closed(channels: int) -> Prior:
    """A denoiser that takes no time, that of N(0, I). Arguments: channels."""

    def denoise(x: Tensor, sigma: Tensor | float) -> Tensor:
        return x / (1 + torch.as_tensor(sigma).reshape(-1, 1, 1, 1) ** 2)

    return priors.from_denoiser(denoise, event_shape=(channels, SIDE, SIDE))


@dataclass(frozen=True)
class Overhead:
    """Medians over pairs: seconds of `solve` with our operator, what the bridge's takes more, in seconds, measured with
    a denoiser that takes no time, and the ratio of whole solves."""

    seconds: float
    more: float
    whole: float

    @property
    def ratio(self) -> float:
        """Of the bridge's `solve` to ours: the network takes the same time in both, whose chance is larger than what
        the bridge takes."""
        return 1 + self.more / self.seconds


def pairs(twin: Twin, prior: Callable[[int], Prior], repeats: int, method: str, n_steps: int) -> list[dict[int, float]]:
    """Processor time of `solve` with our operator, 0, and through the bridge, 1, in alternating order.

    Arguments: twin; prior: made of a number of channels; repeats: pairs; method; n_steps.
    """
    theirs, ours = bridged(twin.example)[0], twin.ours()
    made = prior(theirs.events.shape[0])
    x = torch.rand(1, *theirs.events.shape, generator=torch.Generator().manual_seed(0))
    y = theirs.measure(x, seed=1)
    given = [(ours, y if twin.turned is None else twin.turned(y)), (theirs, y)]

    def run(side: int) -> float:
        operator, measured = given[side]
        start = time.process_time()
        solve(made, operator, measured, n_samples=1, method=method, n_steps=n_steps, progress=False)
        return time.process_time() - start

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for side in (0, 1):
            run(side)
        return [{i: run(i) for i in ((0, 1) if repeat % 2 else (1, 0))} for repeat in range(repeats)]


def overhead(twin: Twin, repeats: int, method: str, n_steps: int) -> Overhead:
    """What the bridge costs a `solve`. Arguments: twin; repeats: pairs; method; n_steps."""
    heavy = pairs(twin, network, repeats, method, n_steps)
    light = pairs(twin, closed, LIGHT * repeats, method, n_steps)
    return Overhead(
        median(pair[0] for pair in heavy),
        median(pair[1] - pair[0] for pair in light),
        median(pair[1] / pair[0] for pair in heavy),
    )


def run_solve_overhead(
    physics: Annotated[list[str] | None, typer.Option(help="names; default: all ten; repeat for several")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="pairs of solves")] = 11,
    method: Annotated[str, typer.Option(help="a name in METHODS")] = "mmps",
    n_steps: Annotated[int, typer.Option(min=1)] = 4,
    out: Out = RESULTS,
) -> None:
    """What `solve` takes more through the bridge to deepinv than with our own operator."""
    if unknown := sorted(set(physics or ()) - set(TWINS)):
        raise ValueError(f"physics {unknown}: expected some of {'; '.join(TWINS)}")
    found = {name: overhead(TWINS[name], repeats, method, n_steps) for name in physics or TWINS}
    rows = [
        {
            "physics": name,
            "as": kind(bridged(TWINS[name].example)[0]),
            "seconds": f"{row.seconds:.2f}",
            "more, ms": f"{1e3 * row.more:.1f}",
            "overhead": f"{row.ratio:.3f}",
            "of whole solves": f"{row.whole:.3f}",
        }
        for name, row in found.items()
    ]
    good = sum(row.ratio <= MOST for row in found.values())
    notes = (
        f"`solve` with `operators.from_deepinv(physics)` over `solve` with our own operator of the same measurement: "
        f"{good} of {len(rows)} have an overhead of at most {MOST}. Pictures of {SIDE} x {SIDE} pixels, one sample by "
        f"{method} in {n_steps} steps, an FFDNet of the published size with random weights, a light network: heavier "
        "ones make the overhead smaller. Seconds: processor time with our operator. More: what the bridge's solve "
        "takes beyond ours with a denoiser that takes no time, so that the chance of the network's time does not "
        f"hide it; the median of {LIGHT * repeats} alternating pairs, one thread. Overhead: 1 + more / seconds. Of "
        f"whole solves: the median of the ratios of {repeats} pairs with the network, which varies by some percent."
    )
    finish("deepinv-solve", "solve through the bridge to deepinv", rows, notes, Path(out), repeats=repeats)
