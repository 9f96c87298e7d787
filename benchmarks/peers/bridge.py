"""What of deepinv the bridge serves: every physics, how it is bridged, and what that costs."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

import operators
from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.peers.physics import EXAMPLES, SIZED, Example
from inverse import METHODS
from inverse.auto import serves
from operators import BridgedPhysics, InexactAdjoint, LinearOperator, OperatorCheckError, SVDOperator
from operators.bridges.physics import BridgedLinearPhysics
from operators.bridges.probing import tensor_list

ROWS = 256  # of the paired measurement: of one small row, most is Python
PAIR = 3e-3  # seconds of processor time of one side of a pair, at least
PICTURES = 4  # rows of images of a common size
MOST = 1.02  # overhead that is asked for


def bridged(example: Example) -> tuple[BridgedPhysics, list[str]]:
    """The operator of an example, and what its adjoint was warned of. Arguments: example."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InexactAdjoint)
        found = operators.from_deepinv(example.physics(), example.event_shape, **(example.arguments or {}))
    return found, [str(w.message) for w in caught]


def kind(operator: operators.Operator) -> str:
    """How a physics was bridged. Arguments: operator."""
    if isinstance(operator, SVDOperator):
        return "SVD"
    return "linear" if isinstance(operator, LinearOperator) else "nonlinear"


def overhead(example: Example, operator: BridgedPhysics, repeats: int, rows: int = ROWS) -> tuple[float, float]:
    """Processor time of A through the bridge over deepinv's own, and what it has more of, in seconds a call: medians of
    alternating pairs of some milliseconds each.

    Arguments: example; operator of it; repeats: pairs; rows: of x where the physics has no parameters of its own rows.
    """
    physics, rows = example.physics(), operator.batch or rows
    x = torch.rand(rows, *operator.events.shape, generator=torch.Generator().manual_seed(0))
    given = operator.events.unpack(x)
    theirs = tensor_list(given) if operator.events.listed else given
    calls: list[Callable[[], Any]] = [lambda: physics.A(theirs), lambda: operator(x)]
    if operator.layout.alone:
        parts = theirs.split(1)
        calls[0] = lambda: torch.cat([physics.A(part) for part in parts])

    def seconds(call: Callable[[], Any], times: int) -> float:
        start = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - start) / times

    with torch.no_grad():
        for call in calls:
            call()
        times = max(1, min(200, round(PAIR / max(seconds(calls[0], 1), 1e-6))))
        pairs: list[tuple[float, float]] = []
        for repeat in range(repeats):
            found = {i: seconds(calls[i], times) for i in ((0, 1) if repeat % 2 else (1, 0))}
            pairs.append((found[0], found[1]))
    return median(bridged / own for own, bridged in pairs), median(bridged - own for own, bridged in pairs)


def row_of(name: str, example: Example, repeats: int, slow: bool) -> dict[str, str]:
    """The row of a physics in the table.

    Arguments: name; example; repeats: pairs of the overhead; slow: whether `operators.check` may take minutes.
    """
    row = {"physics": name, "as": "-", "check": "-", "methods": "-", "not": "-", "A^T off by": "-"}
    row |= {"overhead": "-", "microseconds": "-"}
    if example.missing:
        return row | {"as": f"not installed: {', '.join(example.missing)}"}
    try:
        operator, warned = bridged(example)
    except ValueError as error:
        return row | {"as": f"refused: {str(error).removeprefix('from_deepinv: ')}"}
    conditional = {n: m for n, m in METHODS.items() if m.conditional and "noisy_likelihood" not in m.needs}
    served = [n for n, m in conditional.items() if serves(m, operator)]
    row |= {"as": kind(operator), "methods": f"{len(served)} of {len(conditional)}"}
    row["not"] = ", ".join(n for n in conditional if n not in served) or "-"
    if isinstance(operator, BridgedLinearPhysics):
        row["A^T off by"] = (
            f"{operator.adjoint_error:.0e}" if operator.exact else f"{operator.adjoint_error:.0e}, replaced"
        )
        if operator.exact and warned:
            row["A^T off by"] = "replaced by their exact one"
    ratio, more = overhead(example, operator, repeats)
    row |= {"overhead": f"{ratio:.3f}", "microseconds": f"{1e6 * more:.0f}"}
    if example.slow and not slow:
        return row | {"check": "not run, slow"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            operators.check(operator, operator.events.shape)
    except OperatorCheckError as error:
        return row | {"check": f"fails: {error}"}
    return row | {"check": "passes"}


def sized(name: str, example: Example, repeats: int) -> dict[str, str]:
    """The row of a physics at a size of images that people have: how it is bridged and what that costs.

    Arguments: name; example; repeats: pairs.
    """
    operator, _ = bridged(example)
    ratio, more = overhead(example, operator, repeats, PICTURES)
    row = {"physics": name, "as": kind(operator), "check": "-", "methods": "-", "not": "-", "A^T off by": "-"}
    return row | {"overhead": f"{ratio:.3f}", "microseconds": f"{1e6 * more:.0f}"}


def run_bridge(
    physics: Annotated[list[str] | None, typer.Option(help="names; default: all; repeat for several")] = None,
    repeats: Annotated[int, typer.Option(help="pairs of measurements of the overhead")] = 15,
    slow: Annotated[bool, typer.Option(help="check the slow ones too")] = False,
    out: Out = RESULTS,
) -> None:
    """Every physics of deepinv through the bridge: how, checked, by which methods, at which cost."""
    known = {**EXAMPLES, **SIZED}
    if unknown := sorted(set(physics or ()) - set(known)):
        raise ValueError(f"physics {unknown}: expected some of {'; '.join(known)}")
    chosen = physics or list(known)
    small = [row_of(name, EXAMPLES[name], repeats, slow) for name in chosen if name in EXAMPLES]
    table = small + [sized(name, SIZED[name], repeats) for name in chosen if name in SIZED]
    linear = sum(row["as"] in ("SVD", "linear") for row in small)
    other = sum(row["as"] == "nonlinear" for row in small)
    refused = sum(row["as"].startswith("refused") for row in small)
    notes = (
        f"{len(small)} physics of deepinv: {linear} bridged as linear operators, {other} as nonlinear ones, {refused} "
        f"refused, {len(small) - linear - other - refused} need a package that is not installed. Check: "
        "`operators.check`. Methods: those of `inverse.METHODS` that serve the operator, and those that do not. A^T "
        "off by: the relative difference of deepinv's A_adjoint from the derivative of its A, which replaces it above "
        f"1e-5. Overhead: processor time of A through the bridge over deepinv's own, {ROWS} rows of small images, or "
        f"as many as the physics has parameters for; the median of {repeats} alternating pairs on one thread. "
        "Microseconds: what a call through the bridge takes more, the median of the same pairs: mostly the check of "
        "arguments, whatever their size. It shows where A itself takes less than some milliseconds. The last rows, "
        f"whose names end in a shape, are {PICTURES} images of a size that people have"
    )
    if large := [float(row["overhead"]) for row in table[len(small) :]]:
        notes += f": {sum(v <= MOST for v in large)} of {len(large)} have an overhead of at most {MOST}"
    notes += "."
    finish("deepinv-bridge", "deepinv's physics through the bridge", table, notes, Path(out), repeats=repeats)
