"""Every method on measurements of real pictures, against the exact posterior of a data set."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.commands import Out, finish
from benchmarks.common.keys import code, code_behind, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.exact.empirical_problems import FEWEST, MOST, SDE, TASKS, Instance, Pictures, Task, instance
from benchmarks.exact.metrics import equally_weighted, sliced_wasserstein
from benchmarks.exact.oracle_entries import EXACT, PRIOR, Entry, Exact, PriorDraws, ours
from inverse import METHODS
from priors import Empirical
from priors.sets import read_images, training_split

REFERENCES = 4  # exact sets that each set is compared with
REFERENCE_SEED, FLOOR_SEED = 10**6, 2 * 10**6  # streams apart from those of the instances
LEAST_STD = 0.05  # of a pixel whose interval is judged: most pixels beside a picture's object are always 0
MOST_STEPS = 100  # of our methods, as in the oracle
SLOW = {"exact"}  # unless asked for: the determinant of its flow takes a backward pass per pixel and step


def references(posed: Instance, number: int, n: int) -> list[Tensor]:
    """Exact sets to compare with, (n, *E) each."""
    first = REFERENCE_SEED + REFERENCES * number
    return [posed.posterior.sample(n, seed=seed) for seed in range(first, first + REFERENCES)]


def measure(x: Tensor, posed: Instance, pictures: Pictures, sets: Sequence[Tensor]) -> dict[str, float]:
    """How far n samples are from the exact posterior.

    Formula: sw1 and sw2: sliced 1- and 2-Wasserstein distance to exact draws, mean over sets; classes: total variation
    between the exact probabilities of the classes and the shares of the samples, each with the class of the nearest
    picture; mean: |mean - E[x | y]| over the root of the exact total variance; held: the share of exact draws within
    the central 95 % interval of the samples, pixel by pixel, over pixels of a standard deviation of at least .05.
    Source: Cardoso et al. 2024 (sliced W1); see `benchmarks.exact.metrics`.
    Arguments: x (n, *E); the instance; the pictures of its prior; sets of as many exact draws.
    """
    law, found = posed.posterior, pictures.labels[posed.prior.nearest(x)]
    shares = torch.bincount(found, minlength=len(posed.classes)).double() / len(x)
    seen, drawn = law.std >= LEAST_STD, torch.cat(list(sets))[:, law.std >= LEAST_STD]
    low, high = (x[:, seen].float().quantile(q, 0) for q in (0.025, 0.975))
    distances = [[sliced_wasserstein(x, other, p) for other in sets] for p in (1, 2)]
    return {
        **{f"sw{p}": sum(of) / len(of) for p, of in enumerate(distances, 1)},
        "classes": float(0.5 * (shares - posed.classes).abs().sum()),
        "mean": float((x.double().mean(0) - law.mean).norm() / law.std.norm()),
        "held": float(((drawn >= low) & (drawn <= high)).double().mean()),
    }


def execute(entry: Entry, posed: Instance, pictures: Pictures, number: int, n: int) -> dict:
    """The record of n samples by an entry: its measures and costs, or the error that it ended with, as plain data."""
    sets, measured = references(posed, number, n), []
    first = number if entry.repeats == 1 else FLOOR_SEED + entry.repeats * number
    try:
        for repeat in range(entry.repeats):
            drawn = entry.draw(posed, n, first + repeat)
            if not bool(drawn.samples.isfinite().all()):
                raise ArithmeticError("samples are not finite")
            measured.append(measure(drawn.samples, posed, pictures, sets))
    except Exception as error:  # a failure is recorded, and the others continue
        return {"error": f"{type(error).__name__}: {error}"}
    record = {name: sum(found[name] for found in measured) / len(measured) for name in measured[0]}
    return record | {"nfe": drawn.nfe, "nvjp": drawn.nvjp, "seconds": drawn.seconds}


def run(
    pictures: Pictures, tasks: Sequence[Task], names: Sequence[str] | None, instances: int, n: int, work: Path
) -> list[dict]:
    """A record for every task, entry and instance, as plain data; finished ones in ``work`` are reused.

    Arguments: pictures; tasks; names of methods ("auto" is always included; None: all that serve the operator);
    instances; n samples; work (folder).
    Raises: ValueError for an unknown method or numbers below 1.
    """
    if min(instances, n - 1) < 1:
        raise ValueError(f"{instances} instances of {n} samples: expected at least 1 and 2")
    kept, found = Records(work / "empirical.jsonl"), []
    every = [name for name, method in METHODS.items() if method.conditional and name not in SLOW]
    chosen = ["auto", *(names or every)]
    measures = code(measure, execute, references, instance, sliced_wasserstein, equally_weighted)
    numbers = [REFERENCES, REFERENCE_SEED, FLOOR_SEED, LEAST_STD, FEWEST, MOST, SDE.spec()]
    for task in tasks:
        start = time.monotonic()
        for number in range(instances):
            posed = instance(task, pictures, number)
            law = (Empirical, type(posed.operator), type(posed.operator.noise))
            facts = {
                "task": [task.name, task.title, task.bandwidth],
                "pictures": pictures.identity,
                "instance": number,
                "samples": n,
                "numbers": numbers,
                "code": [measures, code_behind(law, ("priors", "operators"))],
            }
            for entry in [Exact(), PriorDraws(), *ours(posed, chosen, (MOST_STEPS,), n)]:
                name = key("empirical", entry=entry.identity, **facts)
                if name not in kept.found:
                    kept.add(name, execute(entry, posed, pictures, number, n))
                about = {"task": task.name, "title": task.title, "method": entry.name, "pictures": posed.posterior.ess}
                found.append(about | entry.facts | kept.found[name])
        typer.echo(f"{task.name}: {time.monotonic() - start:.0f} s")
    return found


def table(records: Sequence[dict]) -> list[dict[str, str]]:
    """A row of texts per task and method, means over the instances that did not fail, exact draws first; none for a
    method that refuses a task."""
    grouped: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        grouped.setdefault((record["task"], record["method"]), []).append(record)
    refused = {key for key, of in grouped.items() if all(r.get("error", "").startswith("ValueError") for r in of)}
    return [_row(of, grouped[task, EXACT]) for (task, name), of in grouped.items() if (task, name) not in refused]


def _row(records: list[dict], floors: list[dict]) -> dict[str, str]:
    both = [(record, floor) for record, floor in zip(records, floors, strict=True) if "error" not in record]
    known, one = records[0]["method"] in (EXACT, PRIOR), records[0]
    effective = sorted(record["pictures"] for record in records)
    setting = f" ({one['settings']['method']})" if one["method"] == "auto" and one["settings"] else ""

    def mean(name: str, of: int = 0) -> float:
        return sum(pair[of][name] for pair in both) / len(both)

    def text(name: str, form: str, relative: bool = False) -> str:
        return "-" if not both else format(mean(name) / (mean(name, 1) if relative else 1), form)

    return {
        "problem": f"{one['task']}: {one['title']}",
        "pictures": f"{effective[0]:.0f} to {effective[-1]:.0f}",
        "method": one["method"] + setting,
        "NFE": "-" if known else text("nfe", ".0f"),
        "vjp": "-" if known else text("nvjp", ".0f"),
        "seconds": "-" if known else text("seconds", ".1f"),
        "sliced W1": text("sw1", ".2f", relative=True),
        "sliced W2": text("sw2", ".2f", relative=True),
        "classes": text("classes", ".3f"),
        "classes, less exact draws'": "-" if not both else f"{mean('classes') - mean('classes', 1):+.3f}",
        "mean": text("mean", ".2f", relative=True),
        "95 % intervals hold": "-" if not both else f"{100 * mean('held'):.1f} %",
        "failed": f"{len(records) - len(both)} of {len(records)}" if len(both) < len(records) else "-",
    }


def run_empirical(
    data: Annotated[Path, typer.Option(help="labelled pictures, such as Fashion-MNIST's npz or an image set")],
    problem: Annotated[list[str] | None, typer.Option(help=", ".join(task.name for task in TASKS))] = None,
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS; default: all that serve")] = None,
    pictures: Annotated[int, typer.Option(help="of the prior, the first of the training set")] = 1000,
    side: Annotated[int, typer.Option(help="pixels of a side, to which pictures are averaged")] = 14,
    instances: Annotated[int, typer.Option(help="measurements of each problem")] = 3,
    samples: Annotated[int, typer.Option(help="per measurement")] = 128,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/empirical"),
    out: Out = RESULTS,
) -> None:
    """A data set as the prior: distance of every method's samples to the exact posterior of real pictures."""
    known = {task.name: task for task in TASKS}
    if wrong := set(problem or ()) - set(known):
        raise typer.BadParameter(f"{sorted(wrong)}: expected of {list(known)}", param_hint="--problem")
    held = Pictures.of(read_images(data, training_split(data)), pictures, side)
    torch.set_num_threads(1)  # which the last digits depend on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        records = run(held, [known[name] for name in problem or known], method, instances, samples, work)
    notes = (
        f"The prior is the law of {pictures} pictures of {side} x {side} pixels, whose exact posterior is known for "
        "every operator and noise. For masking, box and blur each picture is smoothed by a Gaussian of standard "
        "deviation .05; elsewhere, where the posterior of smoothed pictures has no closed form, the pictures are "
        "points. VE prior from .01, which all methods end at, to 30. Noise is large because pictures are far apart: "
        "with less the posterior is one picture. Pictures: their effective number under the exact posterior, least and "
        f"largest of {instances} measurements, the first ones that leave {FEWEST:g} to {MOST:g}. {samples} samples, at "
        f"most {MOST_STEPS} steps, other settings at their defaults. Sliced Wasserstein distances to exact draws and "
        "the error of the mean, relative to those of exact draws (1.00: a second set of exact draws). Classes: total "
        "variation of the class probabilities, of the nearest pictures of the samples; of exact draws it is the noise "
        "of their number. 95 % intervals hold: the exact posterior's probability of the samples' intervals, in pixels "
        "of a standard deviation of at least .05. Methods that refuse a problem are left out; exact is too slow for "
        "196 pixels."
    )
    finish("empirical", "A data set as the prior, against its exact posterior", table(records), notes, out,
           pictures=pictures, side=side, instances=instances, samples=samples)  # fmt: skip
