"""Memory predicted by `inverse.plan` for every method and every shipped prior, against that of the solve."""

import math
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.keys import code, key
from benchmarks.common.provenance import RESULTS, provenance, write_table
from benchmarks.common.records import Records
from benchmarks.trained.large import photograph
from benchmarks.trained.plan_accuracy import Growth
from inverse import METHODS, plan, solve
from operators import Blur, Classifier, GaussianNoise, LinearMap, Masking, Operator
from priors.heap import separate_blocks

SIGMA, FEW, CLASSES = 0.03, 12, 10  # of the noise; measured values of "exact" and "pivot"; labels
SAMPLES, STEPS, MORE = 2, 3, 20  # MORE: of methods that look at the state at a noise level within their walk
DEAR = ("exact", "pivot", "pivot-ep", "pivot-linearized")  # methods of few measured values
FIXED = ("cifar10", "fashion-mnist")  # priors of one size
SMALL = (*FIXED, "brain-mri")  # of few enough numbers for the singular values of a matrix
NETWORKS = (
    "natural", "natural-grey", "natural-small", "brain-mri", "brain-mri-224", "ct", "cifar10", "fashion-mnist",
)  # fmt: skip
LARGE = (192, 256)  # a picture that the plan predicts from smaller ones
WITHIN, NEAR = 0.2, 20.0  # NEAR: MB, of which torch's libraries take a part that depends on the processor
COLUMN = f"within {100 * WITHIN:.0f} %"
NOTES = (
    f"Methods that take a measurement, and auto, with shipped priors: {SAMPLES} samples of {STEPS} steps ({MORE} of "
    f"{', '.join(DEAR)}), of a picture of the prior's size with .3 of its pixels measured ({FEW} sums of pixels for "
    f"the same; a label for classifier), and of {LARGE[1]} x {LARGE[0]} pixels, blurred with a circular boundary. A "
    "process of its own for each, of one thread. Memory is the peak resident set of the solve less what is resident "
    "before, in MB; predicted: by `inverse.plan`, before the solve. Pairs that a method refuses have no line."
)


@dataclass(frozen=True)
class Case:
    """A solve: shipped prior, method, whether the picture is large, and steps."""

    prior: str
    method: str
    large: bool = False
    steps: int = STEPS


class Logits(torch.nn.Module):
    """Log-probabilities of labels that depend on single pixels, in place of a network."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1)[:, :CLASSES])


def cases(methods: list[str] | None = None, networks: list[str] | None = None) -> list[Case]:
    """All pairs, first of small pictures, then of large ones where a prior has them and the method serves the blur."""
    chosen = methods or ["auto", *(name for name, method in METHODS.items() if method.conditional)]
    small = [
        Case(prior, method, steps=MORE if method in DEAR else STEPS)
        for prior in networks or NETWORKS
        for method in chosen
        if prior in SMALL or method not in DEAR
    ]
    return small + [
        Case(case.prior, case.method, True)
        for case in small
        if case.method not in (*DEAR, "classifier") and case.prior not in FIXED
    ]


def pose(case: Case) -> tuple[priors.Prior, Operator, Tensor]:
    """Prior, operator and y of a case."""
    prior: priors.Prior = priors.load(case.prior)
    if case.large:
        prior = prior.resized((prior.event_shape[0], *LARGE))
    shape = tuple(prior.event_shape)
    truth = photograph((shape[1], shape[2]))
    truth = truth.mean(1, keepdim=True) if shape[0] == 1 else truth
    noise = GaussianNoise(SIGMA)
    if case.method == "classifier":
        operator: Operator = Classifier(Logits())
        return prior, operator, torch.tensor([3])
    if case.large:
        operator = Blur.gaussian(1.5, "circular", noise=noise)
    elif case.method in DEAR:
        rows = torch.randn(FEW, math.prod(shape), generator=torch.Generator().manual_seed(0)) / math.prod(shape) ** 0.5
        operator = LinearMap(rows, noise, shape)
    else:
        operator = Masking.random((1, *shape[1:]), 0.3, noise=noise)
    return prior, operator, operator.measure(truth, seed=0)


def _measure(case: Case) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    separate_blocks()  # as the command line
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x.square(), x, torch.ones(2))  # torch's first derivative of all imports a library
    given = (*pose(case), SAMPLES, case.method, case.steps)
    predicted = plan(*given)
    with Growth() as growth:
        solve(*given, progress=False)
    return {"method": predicted.method.name, "predicted": predicted.bytes, "measured": growth.bytes}


def table(records: Records, wanted: list[Case], stored: bool = False) -> list[dict[str, str]]:
    """The table, a line a case; what is in the records already is not measured again, and nothing else with stored."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    own, found = code(_measure, pose, Growth), []
    for case in wanted:
        name = key("memory", case=asdict(case), code=own)
        if name not in records.found:
            if stored:
                continue
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                try:
                    got = pool.submit(_measure, case).result()
                except ValueError as error:  # the method refuses this problem
                    got = {"refused": str(error)}
                records.add(name, got)
        if "refused" not in records.found[name]:
            found.append(_row(case, records.found[name]))
    return found


def _row(case: Case, got: dict[str, Any]) -> dict[str, str]:
    ratio = got["predicted"] / got["measured"]
    return {
        "prior": case.prior,
        "picture": "large" if case.large else "its own size",
        "method": case.method if case.method == got["method"] else f"{case.method}: {got['method']}",
        "predicted, MB": f"{got['predicted'] / 1e6:.1f}",
        "measured, MB": f"{got['measured'] / 1e6:.1f}",
        "predicted / measured": f"{ratio:.2f}",
        COLUMN: "yes" if abs(ratio - 1) <= WITHIN else "no",
    }


def run_memory(
    method: Annotated[list[str] | None, typer.Option(help="only these; default: all that take a measurement")] = None,
    prior: Annotated[list[str] | None, typer.Option(help="only these; default: all that are shipped")] = None,
    stored: Annotated[bool, typer.Option("--stored", help="only cases that were measured before")] = False,
    records: Annotated[Path, typer.Option(help="finished cases are stored here")] = Path("runs/memory.jsonl"),
    out: Annotated[Path, typer.Option(help="folder of the table")] = RESULTS,
) -> None:
    """Memory predicted by `inverse.plan` and measured, for every method and every shipped prior."""
    wanted = cases(method, prior)
    rows = table(Records(records), wanted, stored)
    away = [float(row["predicted, MB"]) - float(row["measured, MB"]) for row in rows]
    within = sum(row[COLUMN] == "yes" for row in rows)
    near = sum(row[COLUMN] == "yes" or abs(mb) <= NEAR for row, mb in zip(rows, away, strict=True))
    notes = (
        f"{NOTES} {COLUMN.capitalize()}: {within} of {len(rows)} solves, of {len(wanted)} cases; or within {NEAR:.0f} "
        f"MB, which torch's libraries take, more or less on other processors: {near}."
    )
    typer.echo(write_table("memory", "Memory of a solve", rows, provenance(sigma=SIGMA), notes, out).read_text())
