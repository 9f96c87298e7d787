"""The checkpoint of another project as a prior, beside a shipped one on the same crops of pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import operators
import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.intervals import interval
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.efficiency import scored
from inverse import solve
from inverse.quality import residual_chi2
from operators import GaussianNoise, LinearOperator
from priors import Prior, pictures
from priors.data import floats
from priors.hdf5 import checksum

Shape = tuple[int, ...]
SIGMA = 0.02
TASKS: dict[str, Callable[[Shape], LinearOperator]] = {
    "motion blur, 9 px": lambda shape: operators.Blur.motion(9, seed=1, noise=GaussianNoise(SIGMA)),
    "70 % of pixels missing": lambda shape: operators.Masking.random(shape, 0.3, seed=0, noise=GaussianNoise(SIGMA)),
}
Found = dict[tuple[str, str], list[dict]]  # task and prior -> a record of each crop


def crops(data: Path, side: int, n: int) -> Tensor:
    """n crops (n, C, side, side), each of another picture in turn, at places drawn with a fixed seed.

    Arguments: data: pictures, as inverse-pack writes them; side (pixels); n.
    Raises: ValueError for a picture that is smaller.
    """
    kept, generator, found = pictures.read(data).pictures, torch.Generator().manual_seed(1), []
    for i in range(n):
        picture = kept[i % len(kept)]
        if min(picture.shape[1:]) < side:
            raise ValueError(
                f"{data}: picture {i % len(kept)} of {tuple(picture.shape)}: expected {side} pixels a side"
            )
        top, left = (int(torch.randint(0, size - side + 1, (1,), generator=generator)) for size in picture.shape[1:])
        found.append(floats(picture[:, top : top + side, left : left + side]))
    return torch.stack(found)


def run(sources: Sequence[str], truth: Tensor, method: str, samples: int, work: Path, seed: int = 0) -> Found:
    """Records of every task and prior; those that lie in ``work`` are read.

    Arguments: sources: of `priors.load`; truth (n, C, H, W); method; samples of each crop; work: folder of the records;
    seed of measurements and samples of the first crop.
    """
    kept, found, shape = Records(work / "foreign.jsonl"), Found(), tuple(truth.shape[1:])
    loaded = {source: priors.load(source, event_shape=shape) for source in sources}
    for i in range(len(truth)):
        one = truth[i : i + 1]
        for task, make in TASKS.items():
            for source, prior in loaded.items():
                facts = {"prior": fingerprint(prior), "truth": checksum({}, {"truth": one.numpy()})}
                name = key("foreign", task=task, method=method, samples=samples, seed=seed + i, shape=shape, **facts)
                if name not in kept.found:
                    kept.add(name, measured(prior, make(shape), one, method, samples, seed + i))
                found.setdefault((task, source), []).append(kept.found[name])
    return found


def measured(prior: Prior, operator: LinearOperator, truth: Tensor, method: str, samples: int, seed: int) -> dict:
    """What the samples of one crop (1, *E) are worth, as plain data."""
    y = operator.measure(truth, seed=seed)
    solution = solve(prior, operator, y, samples, method, seed=seed, progress=False)
    chi2 = [residual_chi2(operator, y, x).item() for x in solution.samples.unbind(1)]
    facts = {"method": solution.method, "nfe": solution.nfe, "nvjp": solution.nvjp, "chi2": sum(chi2) / samples}
    return scored(solution.samples, truth) | facts


def table(found: Found) -> list[dict[str, str]]:
    """A row per task and prior; differences of PSNR are to the last prior, paired by crop."""
    rows, last = [], list(found)[-1][1]
    for task in TASKS:
        other = torch.tensor([r["psnr"] for r in found[task, last]])
        for (of, source), records in found.items():
            if of != task:
                continue
            values = torch.tensor([[r["psnr"], r["crps"], *r["covers"], r["chi2"]] for r in records])
            mean, ahead = values.mean(0).tolist(), values[:, 0] - other
            rows.append(
                {
                    "measurement": task,
                    "prior": shown(source),
                    "PSNR of the mean, dB": f"{mean[0]:.2f}",
                    f"over {shown(last)}, dB": "-"
                    if source == last
                    else f"{ahead.mean().item():+.2f} [{interval(ahead)}]",
                    "CRPS, thousandths": f"{mean[1]:.2f}",
                    "80 % intervals cover": f"{mean[2]:.1f}",
                    "95 % intervals cover": f"{mean[3]:.1f}",
                    "chi^2": f"{mean[4]:.2f}",
                    "method": records[0]["method"],
                    "evaluations + passes": f"{records[0]['nfe']} + {records[0]['nvjp']}",
                }
            )
    return rows


def shown(source: str) -> str:
    """A source without the folders of its file, which are of one machine."""
    kind, colon, where = source.partition(":")
    return f"{kind}:{Path(where).name}" if colon else Path(source).name


def run_foreign(
    prior: Annotated[list[str], typer.Option(help="of other projects, as priors.load takes them; repeat")],
    data: Annotated[Path, typer.Option(help="pictures, as inverse-pack writes them; none are shipped")],
    beside: Annotated[str, typer.Option(help="the prior that they are compared with")] = "natural",
    images: Annotated[int, typer.Option(min=2, help="crops, each of another picture in turn")] = 12,
    side: Annotated[int, typer.Option(help="of a crop, in pixels")] = 128,
    samples: Annotated[int, typer.Option(min=2, help="of each crop")] = 8,
    method: Annotated[str, typer.Option(help="of inverse.METHODS, or auto")] = "auto",
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = Path(
        "runs/foreign"
    ),
    out: Out = RESULTS,
) -> None:
    """Checkpoints of other projects as priors: PSNR, CRPS and coverage beside a shipped prior on the same crops."""
    found = run([*prior, beside], crops(data, side, images), method, samples, work, seed)
    notes = (
        f"{images} crops of {side} x {side} pixels of {data.name}, sigma_y {SIGMA:g}, {samples} samples of each; the "
        f"priors have the same measurements, and method = {method!r} at its default steps. CRPS and coverage (in %, of "
        "central intervals) are per pixel; the difference of PSNR is paired by crop, with a 95 % bootstrap interval. "
        "chi^2: mean squared residual over the variance of the noise, about 1 for samples of the posterior."
    )
    finish("foreign-prior", "Checkpoints of other projects as priors", table(found), notes, out, seed=seed)
