"""Quality of unconditional samples against evaluations: predictor, corrector, both, and probability flow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

import priors
from benchmarks.common import features
from benchmarks.common.commands import Out, Seed, finish, small_priors
from benchmarks.common.features import Features
from benchmarks.common.keys import key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.exact.metrics import frechet
from benchmarks.trained.reconstruction import identity
from inverse import Method, sample
from inverse.correctors import Langevin
from inverse.grids import Grid, karras, uniform
from inverse.guidance import Unconditional
from inverse.methods import composition
from inverse.predictors import ProbabilityFlow, ReverseDiffusion
from inverse.protocols import Kernel
from priors.data import ImageSet, read
from priors.files import atomic

SNR = {"VESDE": 0.16, "VPSDE": 0.02, "SubVPSDE": 0.02}  # the paper's best, VP's between its .01 and .04


@dataclass(frozen=True)
class Sampler:
    """A kind of sampler and the evaluations of one of its steps."""

    predictor: Kernel | None
    corrected: bool
    cost: int
    grid: Grid = uniform

    def method(self, name: str, sde: str) -> Method:
        correctors = (Langevin(SNR[sde]),) if self.corrected else ()
        return Method(name, Unconditional(), self.predictor, correctors, self.grid)


SAMPLERS = {
    "predictor: reverse diffusion": Sampler(ReverseDiffusion(), False, 1),
    "corrector: Langevin": Sampler(None, True, 1),
    "PC: reverse diffusion + Langevin": Sampler(ReverseDiffusion(), True, 2),
    "ODE: Heun": Sampler(ProbabilityFlow(), False, 2, karras),
}


def run(
    folders: Sequence[Path],
    real: ImageSet,
    features: Features,
    n: int,
    evaluations: Sequence[int],
    seed: int,
    work: Path,
    progress: bool = True,
) -> list[dict[str, str]]:
    """Frechet distance to real images for every prior, sampler and number of evaluations.

    Arguments: folders: checkpoints of the priors; real: images: the distance of the first n to the others is the
    reference for a perfect sampler; features; n samples per cell; evaluations of the network per sample, the last
    denoising not counted; seed; work (folder): the features of finished cells are kept there and reused;
    progress.
    Returns: table rows: prior, sampler, distance per number of evaluations; the reference first.
    Raises: ValueError for too few real images.
    """
    if len(real) < 2 * n:
        raise ValueError(f"{len(real)} real images: expected at least {2 * n}, for {n} samples per cell")
    seen = features.of(real.floats())
    reference, floor = seen[n:], frechet(seen[:n], seen[n:])
    columns = [f"{nfe} evaluations" for nfe in evaluations]
    rows = [{"prior": "-", "sampler": "real images (reference)", **dict.fromkeys(columns, f"{floor:.3f}")}]
    records = Records(work / "samplers.jsonl")
    for folder in folders:
        prior = priors.load(folder)
        for name, sampler in SAMPLERS.items():
            row = {"prior": folder.name, "sampler": name}
            method = sampler.method(name, type(prior.sde).__name__)
            for column, nfe in zip(columns, evaluations, strict=True):
                steps = nfe // sampler.cost
                facts = {"method": composition(method), "steps": steps, "samples": n, "seed": seed}
                place = key("samplers", prior=identity(folder), features=features.title, **facts)
                if place not in records.found:
                    found = features.of(sample(prior, n, method, steps, seed, progress=progress))
                    records.add(place, facts, {"features": found.numpy()})
                kept = torch.from_numpy(records.arrays(place)["features"])
                row[column] = f"{frechet(kept, reference):.3f}"
            rows.append(row)
    return rows


def plot(rows: list[dict[str, str]], title: str, path: Path) -> None:
    """Distance against evaluations, one panel per prior, the reference dashed; a PNG, written atomically.

    Arguments: rows as `run` returns them; title: what the distance is; path.
    """
    from matplotlib.figure import Figure

    floor, *cells = rows
    columns = [key for key in floor if key.endswith("evaluations")]
    names = list(dict.fromkeys(row["prior"] for row in cells))
    figure = Figure(figsize=(4.2 * len(names), 3.6), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, names, strict=True):
        for row in (row for row in cells if row["prior"] == name):
            x, y = zip(*((int(key.split()[0]), float(row[key])) for key in columns), strict=True)
            axis.loglog(x, y, marker="o", label=row["sampler"])
        axis.axhline(float(floor[columns[0]]), color="black", linestyle="--", linewidth=1, label=floor["sampler"])
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("evaluations of the network per sample")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel(f"Frechet distance, {title}", fontsize=8)
    axes[-1].legend(fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def run_samplers(
    data: Annotated[Path, typer.Option(help="Fashion-MNIST: npz or HDF5 of test_images")],
    prior: Annotated[list[Path] | None, typer.Option(help="checkpoint folders; default: the small VE and VP")] = None,
    samples: int = 250,
    evaluations: Annotated[list[int], typer.Option(help="per sample; repeat for several")] = [10, 30, 90],  # noqa: B006
    space: Annotated[
        str, typer.Option(help="features: inception, judge, or auto: inception if its weights are cached")
    ] = "auto",
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished cells are stored here and reused")] = Path("runs/samplers"),
    out: Out = RESULTS,
) -> None:
    """Frechet distance of unconditional samples against evaluations: predictor, corrector, both, ODE."""
    found = features.find(space, "fashion-mnist-judge")
    folders = prior or list(small_priors("ve", "vp").values())
    rows = run(folders, read(data, "test"), found, samples, evaluations, seed, work)
    notes = (
        f"Frechet distance on the features of {found.title}, {samples} samples per cell against the other test images; "
        "reference: the distance of as many real images. Evaluations per sample, one more for the last denoising."
    )
    plot(rows, found.title, out / "samplers.png")
    finish("samplers", "Samplers", rows, notes, out, samples=samples, evaluations=evaluations, seed=seed)
