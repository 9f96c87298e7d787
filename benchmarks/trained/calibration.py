"""Calibration: ranks of true images among their posterior samples, on any prior."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import bootstrap
from benchmarks.common.keys import key
from benchmarks.common.problems import TASKS
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.reconstruction import BLOCK, identity, solved
from inverse import METHODS, Method, Solution, sample
from inverse.app.calibration.draws import DRAWING
from inverse.auto import resolve
from inverse.guidance import MMPS
from inverse.methods import Sampler, composition
from inverse.predictors import PREDICTORS
from inverse.quality.ranks import LEVELS, Ranks, Uniformity, frequencies, ranks, uniformity
from operators import Operator
from priors import GaussianMixture, Prior, RowRNG
from priors.files import atomic

TRUTHS = ("test", "prior")
ACROSS = 7  # columns of the figure
# truths, noise of the ranks and tests draw from streams of their own: a truth that shares noise with its samples is no
# independent draw
TRUTH_SEED, RANK_SEED, TEST_SEED = 10**6, 2 * 10**6, 3 * 10**6


@dataclass(frozen=True)
class Calibration:
    """The ranks of one method on one task.

    Attributes: title; pixels, frequencies: `Ranks` and their `Uniformity`.
    """

    title: str
    pixels: tuple[Ranks, Uniformity]
    frequencies: tuple[Ranks, Uniformity]


def run(
    prior_name: str,
    tasks: Sequence[str],
    names: Sequence[str],
    truths: Sequence[str],
    n_images: int,
    n_samples: int,
    n_steps: int | None,
    seed: int,
    work: Path,
    n_cg: int | None = None,
    predictor: str | None = None,
    resolution: float | None = None,
    progress: bool = True,
) -> tuple[list[dict[str, str]], list[Calibration], list[str]]:
    """A row per task, truths and method.

    Arguments: prior_name (shipped name or folder); tasks of `TASKS`; names in METHODS or "auto"; truths: "test",
    the shipped test images, which tests prior and method together, or "prior", draws of the prior, which tests the
    method alone; n_images of either; n_samples K; n_steps, n_cg (of MMPS), predictor (a name in PREDICTORS): default
    the method's own; seed; work (folder): finished blocks of images, and draws of the prior, are kept there and
    reused; resolution: as `calibrate`, default the sigma of the prior's noising at its last time; progress.
    Returns: rows of texts, the `Calibration` of each, and a line for each method that the task's operator cannot serve.
    Raises: ValueError for an unknown name and for more test images than there are.
    """
    predictors = [] if predictor is None else [predictor]
    for given, known in ((tasks, TASKS), (names, ["auto", *able()]), (truths, TRUTHS), (predictors, PREDICTORS)):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"{unknown}: expected of {list(known)}")
    prior = priors.load(prior_name)
    resolution = float(prior.sde.sigma(prior.sde.t_min)) if resolution is None else resolution
    rows, found, left_out = [], [], []
    for name in tasks:
        task = TASKS[name]
        operator = task.operator(prior.event_shape)
        for origin in truths:
            truth = _truths(origin, prior, prior_name, n_images, seed, work, progress)
            y = operator.measure(truth, seed=seed)
            for method_name in names:
                try:
                    method = _method(method_name, operator, prior, n_samples, n_cg, predictor)
                except ValueError as error:
                    left_out.append(f"{task.title}: {error}")
                    continue
                steps = n_steps or method.n_steps
                folder = work / f"{name}-{method.name}-{identity(prior_name)}"
                blocks = list(_blocks(prior, operator, y, method, n_samples, steps, seed, folder, progress))
                label = _label(method_name, method, steps)
                calibrated = calibrate(f"{name}, {label}, {origin} images", truth, blocks, seed, resolution)
                found.append(calibrated)
                about = {"task": task.title, "method": label, "truths": origin,
                         "images x samples": f"{n_images} x {n_samples}"}  # fmt: skip
                rows.append(about | _figures(calibrated) | {
                    "NFE": f"{blocks[0].nfe} + {blocks[0].nvjp} vjp", "seconds": f"{sum(b.seconds for b in blocks):.0f}"
                })  # fmt: skip
    return rows, found, list(dict.fromkeys(left_out))


def able() -> list[str]:
    """The names in METHODS of conditional samplers."""
    return [name for name, m in METHODS.items() if m.conditional and m.samples]


def calibrate(
    title: str, truth: Tensor, blocks: Sequence[Solution], seed: int = 0, resolution: float = 0.0
) -> Calibration:
    """Ranks per pixel and per low frequency, and whether they are uniform.

    Formula: truth + resolution z among samples + resolution z', z and z' ~ N(0, I). Equal noise on all members leaves
    the ranks of exact samples uniform and excludes finer detail from the test: an 8-bit image has pixels of exactly 0
    where samples have 0 +- .002, and a score-based prior models p(x0) only down to the noise of its last time.
    Source: Talts et al. 2018.
    Arguments: title; truth (B, *E); blocks: solutions of the truths' measurements, in turn; seed; resolution (float >=
    0) in data units.
    """
    samples = torch.cat([s.samples for s in blocks])
    log_weights = torch.cat([s.log_weights for s in blocks])
    members = torch.cat([truth[:, None], samples.to(truth)], 1)
    if resolution:
        rng = RowRNG.rows(seed + RANK_SEED, len(members))
        members = members + resolution * rng.normal(tuple(members.shape))
    slow = frequencies(members.flatten(0, 1)).view(*members.shape[:2], -1)
    pixels, low = (ranks(x[:, 0], x[:, 1:], log_weights) for x in (members, slow))
    return Calibration(title, *((r, uniformity(r, seed=seed + TEST_SEED)) for r in (pixels, low)))


def plot(found: Sequence[Calibration], path: Path) -> None:
    """Rank histograms with the 99 % band of right samples, a column per method, `ACROSS` to a line; a PNG, atomically.

    Arguments: found as `run` returns it; path.
    Raises: ValueError for nothing to draw.
    """
    if not found:
        raise ValueError("no method to calibrate: none of those given supports the operator")
    from matplotlib.figure import Figure

    wide = min(len(found), ACROSS)
    bands = -(-len(found) // wide)
    figure = Figure(figsize=(max(2.6 * wide, 4.0), 4.6 * bands), dpi=130, layout="constrained")
    axes = figure.subplots(2 * bands, wide, squeeze=False, sharex=True)
    for k, calibrated in enumerate(found):
        upper = 2 * (k // wide)
        column = axes[upper : upper + 2, k % wide]
        column[0].set_title(calibrated.title.replace(", ", "\n"), fontsize=7)
        for axis, (_, test) in zip(column, (calibrated.pixels, calibrated.frequencies), strict=True):
            edges = torch.linspace(0, 1, len(test.histogram) + 1)
            axis.stairs(len(test.histogram) * test.histogram, edges, fill=True, alpha=0.5)
            low, high = len(test.histogram) * test.band
            axis.stairs(high, edges, baseline=low.numpy(), fill=True, color="black", alpha=0.25, label="99 % if right")
            axis.axhline(1, color="black", linewidth=0.7)
            axis.text(0.5, 0.04, f"p = {test.p_value:.3f}", transform=axis.transAxes, ha="center", fontsize=7)
        column[1].set_xlabel("rank of the truth among its samples", fontsize=8)
        column[1].tick_params(labelbottom=True)
    for axis in axes[-2:, len(found) - wide * (bands - 1) :].flat:
        axis.remove()
    top = max(axis.get_ylim()[1] for axis in figure.axes)
    for axis in figure.axes:
        axis.set_ylim(0, top)  # one scale: how far a histogram is from flat is what they are compared by
    for row, what in zip(axes, ("pixels", "low frequencies") * bands, strict=True):
        row[0].set_ylabel(f"density of ranks, {what}", fontsize=8)
    axes[0, 0].legend(fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _method(
    name: str, operator: Operator, prior: Prior, n_samples: int, n_cg: int | None, predictor: str | None
) -> Sampler:
    choice = resolve(name, operator, tuple(prior.event_shape), n_samples, network=not prior.has_log_prob)
    method = choice.method
    if name == "auto":  # what a user of solve() gets, untouched
        return replace(method, n_steps=choice.n_steps)
    if n_cg is not None and isinstance(method, Method) and isinstance(method.guidance, MMPS):
        method = replace(method, guidance=replace(method.guidance, steps=n_cg))
    return method if predictor is None else replace(method, predictor=PREDICTORS[predictor]())


def _label(name: str, method: Sampler, steps: int) -> str:
    title = method.name if name != "auto" else f"auto ({method.name})"
    if not isinstance(method, Method):
        return f"{title}, {steps} steps"
    cg = [f"{method.guidance.steps} CG"] if isinstance(method.guidance, MMPS) else []
    return ", ".join([title, repr(method.predictor).removesuffix("()"), f"{steps} steps", *cg])


def _truths(origin: str, prior: Prior, prior_name: str, n: int, seed: int, work: Path, progress: bool) -> Tensor:
    if origin == "test":
        images = priors.samples(prior_name)
        if n > len(images):
            raise ValueError(f"{n} images: expected at most {len(images)}, the test images shipped with {prior_name!r}")
        return images.floats(slice(0, n))
    if isinstance(prior, GaussianMixture):
        return prior.sample(n, seed + TRUTH_SEED)
    records, facts = Records(work / "truths.jsonl"), {"method": composition(DRAWING), "n": n, "seed": seed}
    place = key("truths", prior=identity(prior_name), **facts)
    if place not in records.found:
        drawn = sample(prior, n, DRAWING, seed=seed + TRUTH_SEED, progress=progress)
        records.add(place, facts, {"truths": drawn.numpy()})
    return torch.from_numpy(records.arrays(place)["truths"])


def _blocks(prior, operator, y, method, n_samples, n_steps, seed, work, progress) -> Iterator[Solution]:
    for start in range(0, len(y), BLOCK):
        # a seed per block: images that share their samples' noise are not independent. So more images take up fewer's
        part = y[start : start + BLOCK]
        yield from solved(prior, operator, part, method, n_samples, n_steps, seed + start, work, progress)


def _figures(calibrated: Calibration) -> dict[str, str]:
    columns = {}
    for what in ("pixels", "frequencies"):
        found = getattr(calibrated, what)[0]
        for level in LEVELS:
            covered = 100 * found.coverage(level)
            low, high = bootstrap(covered)
            columns[f"{what}, {100 * level:.0f} %"] = f"{covered.mean():.1f} [{low:.1f}, {high:.1f}]"
    tests = {f"chi^2 p, {what}": f"{getattr(calibrated, what)[1].p_value:.3f}" for what in ("pixels", "frequencies")}
    return columns | tests


def run_calibration(
    prior: str = "fashion-mnist",
    task: Annotated[list[str], typer.Option(help="repeat for several")] = list(TASKS),  # noqa: B006
    method: Annotated[list[str], typer.Option(help="of METHODS, or auto; repeat for several")] = ["auto"],  # noqa: B006
    truths: Annotated[list[str], typer.Option(help="test images, or draws of the prior; repeat for both")] = ["test"],  # noqa: B006
    images: int = 40,
    samples: int = 32,
    steps: Annotated[int | None, typer.Option(help="default: the method's own")] = None,
    cg: Annotated[int | None, typer.Option(help="conjugate-gradient steps of MMPS; not of auto")] = None,
    predictor: Annotated[str | None, typer.Option(help="in place of the methods' own; not of auto")] = None,
    resolution: Annotated[
        float | None, typer.Option(help="noise on truths and samples before they are ranked; default: sigma(t_min)")
    ] = None,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished images are stored here and reused")] = Path("runs/calibration"),
    out: Out = RESULTS,
) -> None:
    """Ranks of true images among their posterior samples, and the coverage of central intervals."""
    rows, found, left_out = run(
        prior, task, method, truths, images, samples, steps, seed, work, cg, predictor, resolution
    )
    notes = " ".join(
        (
            f"{images} images of prior {prior}, {samples} posterior samples each. Coverage in % of central intervals, "
            "with its 95 % bootstrap interval over images, per pixel and per DCT coefficient of the lowest 6 x 6; an "
            "exact sampler covers 50, 80 and 95 on average for any number of samples. Truths and samples are ranked "
            f"with added noise of standard deviation {'sigma(t_min)' if resolution is None else f'{resolution:g}'}. "
            "p-values: of the rank histograms, by replicas that put a sample in the truth's place (at least .001).",
            *(f"Left out: {line}." for line in left_out),
        )
    )
    name = "calibration" if method == ["auto"] else "calibration-methods"
    plot(found, out / f"{name}.png")
    finish(name, "Calibration", rows, notes, out, images=images, samples=samples, steps=steps, seed=seed)
