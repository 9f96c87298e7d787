"""The audit: every method beside its paper's algorithm on one tiny problem, and the table of it."""

import json
import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.audit.compare import Difference, difference
from benchmarks.audit.entries import CASES, Case
from benchmarks.audit.problem import D, Problem
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from inverse import METHODS
from inverse.methods import Sampler
from operators import Operator
from priors import Evaluations

AGREE = 4.5  # standard errors of the largest of 33 differences: less than once in a thousand times by chance


class Components(Operator):
    """Which component of the problem's mixture an image is from; y (B,), its number. Only p_t(y | x_t) is known."""

    structure = Operator.structure | {"noisy_likelihood"}

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities of the components, (N, K), without noise."""
        return self.problem.components(x.double(), 1e-6)[0].log().to(x)

    def noisy_log_likelihood(self, y: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(y | x_t), (N,)."""
        shares = self.problem.components(x.double(), float(t))[0]
        return shares.gather(1, y[:, None])[:, 0].log().to(x)


class Stream:
    """One stream of random numbers for all rows: `inverse.solve` has one each, which takes longer than this problem."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers of this shape."""
        return torch.randn(shape, generator=self.generator)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers of [0, 1) of this shape."""
        return torch.rand(shape, generator=self.generator)


@torch.no_grad()
def ours(case: Case, method: Sampler, sets: int, seed: int, shift: float = 0.0) -> Tensor:
    """Samples of a method of ours, (B, K, d), of B independent runs.

    Arguments: case; method; sets B; seed; shift: added to every entry of y.
    """
    p, k = case.problem, case.rows
    runs = sets if method.separate else 1
    together = sets // runs
    found = [_run(case, method.sized(k), together, seed + i, shift).view(together, k, D) for i in range(runs)]
    return torch.cat(found).to(p.y)


def _run(case: Case, method: Sampler, sets: int, seed: int, shift: float) -> Tensor:
    p, n, stream = case.problem, sets * case.rows, Stream(seed)
    operator, y = (None, None) if not method.conditional else p.measured()
    if case.label is not None:
        operator, y = Components(p), torch.tensor([case.label])
    elif operator is not None and y is not None:
        operator, y = operator.float(), (y + shift).float()
    given = None if y is None else y.expand(n, *y.shape[1:])
    state = method.carry(Evaluations(p.prior.float()), operator, given, stream, n, case.n_steps)
    log_w = state.log_w.view(sets, case.rows)
    if not bool((log_w != log_w[:, :1]).any()):
        return state.x
    index = torch.multinomial(log_w.softmax(1), case.rows, replacement=True, generator=stream.generator)
    return state.x.view(sets, case.rows, D).gather(1, index[:, :, None].expand(-1, -1, D))


@torch.no_grad()
def theirs(case: Case, sets: int, seed: int) -> Tensor:
    """Samples of the reference, (B, K, d). Arguments: case; sets B; seed."""
    p = case.problem.seeded(seed)
    times = getattr(case.method, "times", None)  # a method of two runs has none: its reference is exact
    return case.reference(p, [] if times is None else times(p.prior, case.n_steps).tolist(), sets, case.rows)


def compared(case: Case, sets: int | None = None, seed: int = 0) -> Difference:
    """Ours beside the reference. Arguments: case; sets, default those of a quick run; seed."""
    sets = sets or case.sets
    mean, covariance = target(case)
    return difference(ours(case, case.method, sets, 10 + seed), theirs(case, sets, 30 + seed), mean, covariance)


def target(case: Case) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of the exact posterior. Arguments: case."""
    p = case.problem
    if case.label is not None:
        return p.means[case.label], p.covariances[case.label]
    found = p.prior.posterior(*p.measured()) if case.method.conditional else p.prior
    return found.mean, found.covariance


def row_of(name: str, case: Case, sets: int) -> dict[str, str]:
    """A row of the table. Arguments: name of the method; case; sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        d = compared(case, sets)
    agree = d.largest < AGREE
    (mine, my_spread), (other, other_spread) = d.off
    return {
        "method": name,
        "paper": METHODS[name].citation.split(":")[0],
        "reference": case.source,
        "means apart": f"{d.means:.3f} ({d.chance:.3f})",
        "spreads": f"{d.spreads:.3f} +- {d.spreads * d.spreads_error:.3f}",
        "largest": f"{d.largest:.1f}",
        "off exact: ours": f"{mine:.2f}, {my_spread:.2f}",
        "off exact: reference": f"{other:.2f}, {other_spread:.2f}",
        "agree": "yes" if agree else "no",
        "why not": "-" if agree else case.differs or "not explained",
    }


def run_audit(
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS; default: all; repeat for several")] = None,
    times: Annotated[int, typer.Option(min=1, help="sets of samples, as a multiple of the test's")] = 4,
    out: Out = RESULTS,
) -> None:
    """Every method against its paper's algorithm, or where it is ours against the exact posterior.

    With --method the other rows of the table in ``out`` stay.
    """
    if unknown := sorted(set(method or ()) - set(CASES)):
        raise ValueError(f"method {unknown}: expected some of {', '.join(CASES)}")
    rows = [row_of(name, case, times * case.sets) for name in method or CASES for case in CASES[name]]
    kept = json.loads((out / "audit.json").read_text())["rows"] if method and (out / "audit.json").is_file() else []
    rows += [row for row in kept if row["method"] in set(CASES) - set(method or ())]
    rows.sort(key=lambda row: list(CASES).index(row["method"]))
    agreeing = sum(row["agree"] == "yes" for row in rows)
    notes = (
        f"{len({row['method'] for row in rows})} methods, {len(rows)} comparisons, {agreeing} agree. Smooth pictures "
        "of 4 x 4 pixels, a mixture of three Gaussians (of one for ep and linearized), six blurred pixels measured "
        "with noise .3 of the prior's standard deviation, or six pixels without noise for methods whose papers have "
        "none. Reference: the algorithm of the paper, written again in benchmarks/audit in dense matrices, with exact "
        "Jacobians, on the same time grid; for methods of this library the exact posterior. Means apart: root mean "
        "square difference over the posterior's axes, in its standard deviations, and in brackets what chance makes "
        "of it. Spreads: geometric mean of our standard deviations over the reference's. Largest: of the 33 "
        "differences of means and spreads, in standard errors (jackknife over sets); they agree below "
        f"{AGREE}. Off exact: distance of the mean from that of the exact posterior, likewise, and the ratio of "
        "spreads: what the method itself errs by. A method with two rows differs from its paper as printed for the "
        "reason that is given; its second row has that one difference removed."
    )
    finish("audit", "Methods against their papers", rows, notes, Path(out), times=times)


def changed(case: Case, sets: int | None = None) -> Difference:
    """Ours with another setting beside the reference: what the audit must tell apart. Arguments: case; sets."""
    sets = sets or case.sets
    shift = 0.0 if case.other is not None else 0.5 * max(case.problem.sigma_y, 0.1)
    samples = ours(case, case.other or case.method, sets, 10, shift)
    return difference(samples, theirs(case, sets, 30), *target(case))
