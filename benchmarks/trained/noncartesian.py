"""k-space off the grid: accuracy of the transform, and a radial acquisition beside classical methods and columns."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import bootstrap
from benchmarks.common.keys import code_behind, key
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from benchmarks.common.tv import total_variation
from benchmarks.suite.scores import crps
from benchmarks.trained.denoising import load
from inverse import solve
from inverse.quality import psnr, residual_chi2, ssim
from inverse.quality.ranks import ranks
from operators import Fourier, GaussianNoise, LinearOperator, NonCartesian
from operators.nufft import nufft
from operators.solvers import conjugate_gradients
from operators.trajectories import radial_trajectory, spiral_trajectory
from priors.data import floats

PRIOR, COILS, SIGMA, FASTER = "brain-mri-224", 8, 0.02, 8
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # iterations of CG-SENSE
SIZES = (16, 17, 32, 64)  # pixels of the comparison with direct sums


def direct(z: Tensor, points: Tensor) -> Tensor:
    """The sums themselves, in double precision: z (..., H, W) complex, points (M, 2) -> (..., M)."""
    height, width = z.shape[-2:]
    down, across = (
        torch.exp(-2j * torch.pi * points[:, i : i + 1] * (torch.arange(n) - n // 2))
        for i, n in enumerate((height, width))
    )
    return torch.einsum("mh,...hw,mw->...m", down, z.to(down.dtype), across) / (height * width) ** 0.5


def accuracy(seed: int = 0) -> list[dict[str, str]]:
    """Rows of texts, per size and trajectory: error of the forward against the direct sums, dot test, and `gram`
    against the adjoint after the forward; in single precision, relative."""
    rows = []
    for n in SIZES:
        trajectories = {
            "radial": radial_trajectory((n, n), n // 2),
            "spiral": spiral_trajectory((n, n), 4),
            "random": torch.rand(n * n, 2, generator=torch.Generator().manual_seed(seed)) - 0.5,
        }
        for name, trajectory in trajectories.items():
            op = NonCartesian(trajectory, channels=2, event_shape=(2, n, n))
            x, v = (
                torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed + i))
                for i, shape in enumerate(((2, n, n), (2, len(trajectory))))
            )
            y, back = op(x), op.adjoint(v)
            exact = direct(torch.complex(x[:, 0], x[:, 1]), op.trajectory)
            dot = (y.double() * v.double()).sum() - (x.double() * back.double()).sum()
            twice = op.adjoint(y)
            away = torch.complex(y[:, 0], y[:, 1]) - exact
            rows.append(
                {
                    "trajectory": f"{name}, {len(trajectory)} points",
                    "pixels": f"{n} x {n}",
                    "forward - direct sum": f"{float(away.norm() / exact.norm()):.1e}",
                    "dot test": f"{abs(float(dot)) / float(y.norm() * v.norm()):.1e}",
                    "gram - adjoint forward": f"{float((op.gram(x) - twice).norm() / twice.norm()):.1e}",
                }
            )
    return rows


def cg_sense(operator: LinearOperator, y: Tensor, steps: int) -> Tensor:
    """CG-SENSE: conjugate gradients on A'A x = A'y from 0, stopped after a few steps, which regularises.

    Source: Pruessmann, Weiger, Boernert & Boesiger 2001.
    """
    gram: Callable[[Tensor], Tensor] = getattr(operator, "gram", lambda x: operator.adjoint(operator(x)))
    return conjugate_gradients(gram, operator.adjoint(y), rtol=0.0, max_steps=steps)


def acquisitions(side: int) -> dict[str, LinearOperator]:
    """The operators that are compared, by title: the same coils, noise and number of samples over that of pixels."""
    shape, noise = (1, side, side), GaussianNoise(SIGMA)
    spokes = round(math.pi / 2 * side / FASTER)  # full sampling: pi / 2 times as many as pixels along a side
    return {
        f"radial, {spokes} spokes (x{FASTER})": NonCartesian.radial(shape, spokes, coils=COILS, noise=noise),
        f"Cartesian columns, x{FASTER}": Fourier.cartesian(shape, FASTER, calibration=0.04, coils=COILS, noise=noise),
    }


METHODS = ("gridding", "CG-SENSE", "TV-SENSE", "solve")


def measured(operator: LinearOperator, truth: Tensor, method: str, samples: int, seed: int) -> dict[str, Any]:
    """One method on one picture (1, 1, H, W), as plain data; the picture's seed makes its noise."""
    y, facts = operator.measure(truth, seed=seed), {}
    start = time.process_time()
    if method == "gridding":
        found = operator.gridding(y) if isinstance(operator, NonCartesian) else operator.adjoint(y)
    elif method == "CG-SENSE":
        ladder = {n: cg_sense(operator, y, n) for n in LADDER}
        best = max(ladder, key=lambda n: psnr(ladder[n], truth).item())
        found, facts["steps"] = ladder[best], best
        start = time.process_time()
        cg_sense(operator, y, best)
    elif method == "TV-SENSE":
        found = total_variation(operator, y)
    else:
        prior = priors.load(PRIOR, event_shape=tuple(truth.shape[1:]))
        solution = solve(prior, operator, y, samples, seed=seed, progress=False)
        weights, judged = torch.full((1, samples), 1 / samples), ranks(truth, solution.samples)
        found = solution.mean
        facts = {
            "crps": crps(truth, solution.samples, weights).item(),
            "coverage80": judged.coverage(0.8).item(),
            "coverage95": judged.coverage(0.95).item(),
            "sample": psnr(solution.samples[:, 0], truth).item(),
            "method": f"{solution.method}, {solution.nfe} + {solution.nvjp} vjp",
        }
    seconds = time.process_time() - start
    return {
        "psnr": psnr(found, truth).item(),
        "ssim": ssim(found.clamp(0, 1), truth).item(),
        "crps": (found - truth).abs().mean().item(),  # of a single estimate: its absolute error
        "chi2": residual_chi2(operator, y, found).item(),
        "seconds": seconds / (samples if method == "solve" else 1),
    } | facts


def run(truth: Tensor, source: str, samples: int, seed: int, work: Path) -> list[dict[str, str]]:
    """A row of texts per acquisition and method, means over pictures (N, 1, n, n) of a source; finished runs in
    ``work`` are reused."""
    kept, rows = Records(work / "noncartesian.jsonl"), []
    for title, operator in acquisitions(truth.shape[-1]).items():
        for method in METHODS:
            found = []
            for i, x in enumerate(truth.split(1)):
                facts = {"acquisition": title, "method": method, "samples": samples, "seed": seed + i}
                facts |= {"pictures": source, "image": i, "side": x.shape[-1]}
                name = key("noncartesian", code=code_behind((type(operator), nufft, measured), ()), **facts)
                if name not in kept.found:
                    kept.add(name, measured(operator, x, method, samples, seed + i))
                found.append(kept.found[name])
            rows.append(_row(title, method, samples, found))
    return rows


def _row(title: str, method: str, samples: int, found: list[dict[str, Any]]) -> dict[str, str]:
    def mean(name: str, digits: int, factor: float = 1.0) -> str:
        return f"{factor * sum(one[name] for one in found) / len(found):.{digits}f}" if name in found[0] else "-"

    low, high = bootstrap(torch.tensor([one["psnr"] for one in found]))
    label = {
        "gridding": "gridding with density compensation" if "radial" in title else "zero-filled",
        "CG-SENSE": f"CG-SENSE, best of {LADDER[-1]} steps for each picture",
        "TV-SENSE": "TV-SENSE, residual at the noise level",
        "solve": f"solve, mean of {samples} samples ({found[0].get('method', '')})",
    }[method]
    return {
        "acquisition": title,
        "method": label,
        "PSNR, dB": f"{mean('psnr', 2)} [{low:.2f}, {high:.2f}]",
        "SSIM": mean("ssim", 3),
        "CRPS": mean("crps", 4),
        "coverage of 80 %": mean("coverage80", 1, 100),
        "coverage of 95 %": mean("coverage95", 1, 100),
        "chi^2": mean("chi2", 2),
        "PSNR of a sample": mean("sample", 2),
        "seconds": mean("seconds", 2),
    }


def run_noncartesian(
    data: Annotated[
        Path | None, typer.Option(help="grey pictures, as inverse-pack writes them; default: the prior's test pictures")
    ] = None,
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "",
    images: int = 8,
    samples: int = 8,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/noncartesian"),
    out: Out = RESULTS,
) -> None:
    """k-space off the grid: accuracy of the transform; radial x8 of 8 coils beside classical methods and columns x8."""
    write_table(
        "noncartesian-accuracy",
        "NonCartesian against direct sums",
        accuracy(seed),
        provenance(),
        "Complex normal pictures, in single precision. Relative: of the forward to sums in double precision; |<A x, v> "
        "- <x, A'v>| to |A x| |v|; `gram` to the adjoint after the forward.",
        out,
    )
    truth = _slices(data, split, images)
    side = truth.shape[-1]
    of = f"of {data.name}" if data else f"the test pictures of prior `{PRIOR}`"
    notes = (
        f"{len(truth)} brain slices of {side} x {side} pixels, {of}; {COILS} simulated coils, noise of standard "
        f"deviation {SIGMA} in both parts of every sample. Means over pictures, of PSNR with the 95 % bootstrap "
        "interval. CRPS of a single estimate is its mean absolute error. CG-SENSE is given the number of steps that is "
        "best for each picture, which needs the truth. TV-SENSE takes 1000 primal-dual steps: where its chi^2 is above "
        "1 it has not converged. Seconds: processor time per estimate or per sample."
    )
    source = data.name if data else PRIOR
    finish("noncartesian", "k-space off the grid", run(truth, source, samples, seed, work), notes, out, images=images,
            samples=samples, seed=seed)  # fmt: skip


def _slices(data: Path | None, split: str, images: int) -> Tensor:
    """Pictures (N, 1, n, n) in [0, 1]: of a file evenly spaced ones."""
    if data is None:
        return priors.samples(PRIOR).floats(slice(0, images))
    pictures = load(data, split or None).pictures
    chosen = pictures[:: max(1, len(pictures) // images)][:images]
    return torch.stack([floats(picture) for picture in chosen])
