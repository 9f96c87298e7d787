"""Reliability of samples of a trained prior against compute: plain, tempered and exact."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import bootstrap
from benchmarks.common.problems import TASKS
from benchmarks.common.provenance import RESULTS
from benchmarks.trained.calibration import calibrate
from benchmarks.trained.reconstruction import identity, solved
from inverse import METHODS, UnreliableWeights
from inverse.correctors import AnnealedLangevin
from inverse.methods import Sampler
from inverse.population import Importance
from inverse.predictors import Flow
from inverse.weights import LEAST_ESS
from priors.files import atomic

MOVE = AnnealedLangevin(0.2)


@dataclass(frozen=True)
class Setting:
    """A line of the table: its mode, the method and its steps."""

    mode: str
    method: Sampler
    n_steps: int


@dataclass(frozen=True)
class Trust:
    """The samples of one setting and their cost.

    Attributes: setting; seconds per image; ess (B,) effective sample sizes;
    warned: images for which `Solution.check` warns; covered (B,): fraction of pixels in their 95 % interval;
    nfe, nvjp per sample; lineages (B,): of particles, the effective number of first ones, else None.
    """

    setting: Setting
    seconds: float
    ess: Tensor
    warned: int
    covered: Tensor
    nfe: int
    nvjp: int
    lineages: Tensor | None = None

    @property
    def reported(self) -> bool:
        """Whether there are samples enough for intervals: one that carries all the weight is in any by construction."""
        return not self.setting.method.weighted or bool(self.ess.mean() >= LEAST_ESS)


def settings(
    plain: Sequence[int], tempered: Sequence[int], moved: Sequence[int], exact: Sequence[int], probes: int
) -> list[Setting]:
    """Every mode at each of its numbers of steps; "exact" takes as many for the prior's density as for its draws."""
    tds, flow = METHODS["tds"], METHODS["exact"]
    weighted = (replace(flow, predictor=Flow(probes=probes), population=Importance(n, probes)) for n in exact)
    return [
        *(Setting("plain (mmps)", METHODS["mmps"], n) for n in plain),
        *(Setting("tempered (tds)", tds, n) for n in tempered),
        *(Setting("tempered, moves (tds)", replace(tds, correctors=(MOVE,)), n) for n in moved),
        *(Setting("exact", method, n) for method, n in zip(weighted, exact, strict=True)),
    ]


def run(
    prior_name: str,
    task: str,
    chosen: Sequence[Setting],
    n_images: int,
    n_samples: int,
    seed: int,
    work: Path,
    progress: bool = True,
) -> tuple[list[dict[str, str]], list[Trust]]:
    """A row per setting: effective sample size, warnings and coverage beside the cost.

    Arguments: prior_name (shipped name or folder); task of `TASKS`; chosen (`settings`); n_images of its test
    images; n_samples K per image; seed; work (folder): what is finished is kept there and reused; progress.
    Returns: rows of texts, and what they were made of.
    Raises: ValueError for an unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r}: expected one of {list(TASKS)}")
    prior = priors.load(prior_name)
    truth = priors.samples(prior_name).floats(slice(0, n_images))
    operator = TASKS[task].operator(prior.event_shape)
    y = operator.measure(truth, seed=seed)
    resolution = float(prior.sde.sigma(prior.sde.t_min))
    found = []
    for setting in chosen:
        folder = work / f"{task}-{setting.method.name}-{identity(prior_name)}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableWeights)  # counted below
            blocks = solved(prior, operator, y, setting.method, n_samples, setting.n_steps, seed, folder, progress)
        counted = [b.lineages for b in blocks if b.lineages is not None]
        covered = calibrate(setting.mode, truth, blocks, seed, resolution).pixels[0].coverage(0.95)
        found.append(
            Trust(
                setting,
                sum(b.seconds for b in blocks) / n_images,
                torch.cat([b.ess for b in blocks]),
                sum(bool(text) for b in blocks for text in b.check()),
                covered,
                blocks[0].nfe,
                blocks[0].nvjp,
                torch.cat(counted) if counted else None,
            )
        )
    return [_row(trust, n_samples) for trust in found], found


def plot(found: Sequence[Trust], n_samples: int, path: Path) -> None:
    """Effective sample size and coverage against seconds per image; a PNG, written atomically."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(8.4, 3.4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, mode in enumerate(dict.fromkeys(trust.setting.mode for trust in found)):
        line = [trust for trust in found if trust.setting.mode == mode]
        if line[0].setting.method.weighted:  # equal weights have no effective number
            ess = [float((trust.ess if trust.lineages is None else trust.lineages).mean()) for trust in line]
            left.plot([trust.seconds for trust in line], ess, "o-", color=f"C{i}", label=mode)
        shown = [trust for trust in line if trust.reported]
        covered = [100 * float(trust.covered.mean()) for trust in shown]
        right.plot([trust.seconds for trust in shown], covered, "o-", color=f"C{i}", label=mode)
    left.axhline(n_samples, color="black", linewidth=0.7, linestyle=":")
    left.set(
        xscale="log", yscale="log", xlabel="seconds per image", ylabel=f"effective samples (lineages) of {n_samples}"
    )
    right.axhline(95, color="black", linewidth=0.7, linestyle=":")
    right.set(xscale="log", xlabel="seconds per image", ylabel="pixels in their 95 % interval, %")
    for axis in (left, right):
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.legend(fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _row(trust: Trust, n_samples: int) -> dict[str, str]:
    low, high = bootstrap(100 * trust.covered)
    weighted = trust.setting.method.weighted
    return {
        "mode": trust.setting.mode,
        "steps": str(trust.setting.n_steps),
        "NFE": f"{trust.nfe} + {trust.nvjp} vjp",
        "seconds per image": f"{trust.seconds:.1f}",
        "effective samples": f"{trust.ess.mean():.1f} of {n_samples}" if weighted else "-",
        "lineages": "-" if trust.lineages is None else f"{trust.lineages.mean():.1f} of {n_samples}",
        "images warned of": f"{trust.warned} of {len(trust.ess)}",
        "pixels in their 95 % interval": f"{100 * trust.covered.mean():.1f} [{low:.1f}, {high:.1f}]"
        if trust.reported
        else "-",
    }


def run_reliability(
    prior: str = "fashion-mnist",
    task: str = "masking",
    images: int = 3,
    samples: int = 25,
    plain: Annotated[list[int], typer.Option(help="steps; repeat for several, as of the next three")] = [8, 16, 32],  # noqa: B006
    tempered: Annotated[list[int], typer.Option(help="steps of tds")] = [25, 50, 100],  # noqa: B006
    moved: Annotated[list[int], typer.Option(help="steps of tds with a Langevin move after each")] = [25, 50],  # noqa: B006
    exact: Annotated[list[int], typer.Option(help="steps, for the draws and again for their density")] = [8, 16, 32],  # noqa: B006
    probes: Annotated[int, typer.Option(help="of the determinants of exact")] = 2,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished settings are stored here and reused")] = Path("runs/reliability"),
    out: Out = RESULTS,
) -> None:
    """Effective sample size and coverage against compute of the plain, tempered and exact modes."""
    chosen = settings(plain, tempered, moved, exact, probes)
    rows, found = run(prior, task, chosen, images, samples, seed, work)
    notes = (
        f"{TASKS[task].title}: {images} test images of prior {prior}, {samples} samples each, {probes} probes. "
        "Effective samples 1 / sum w^2, mean over images; of tds since its last resampling only: its particles share "
        "ancestors, which no weight shows and coverage does. Coverage with its 95 % bootstrap interval over images; "
        "right: 95 on average. Coverage is not reported for fewer than 10 effective samples."
    )
    plot(found, samples, out / "reliability.png")
    finish("reliability", "How far samples are to be trusted, against compute", rows, notes, out, images=images,
            samples=samples, seed=seed)  # fmt: skip
