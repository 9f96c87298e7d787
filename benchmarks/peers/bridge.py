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
from benchmarks.peers.physics import EXAMPLES, Example
from inverse import METHODS
from inverse.auto import serves
from operators import BridgedPhysics, InexactAdjoint, LinearOperator, OperatorCheckError, SVDOperator
from operators.bridges.physics import BridgedLinearPhysics
from operators.bridges.probing import tensor_list

ROWS = 256  # of the paired measurement: of one small row, most is Python


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


def overhead(example: Example, operator: BridgedPhysics, repeats: int) -> float:
    """Processor time of A through the bridge over deepinv's own, the median of alternating pairs.

    Arguments: example; operator of it; repeats: pairs.
    """
    physics, rows = example.physics(), operator.batch or ROWS
    x = torch.rand(rows, *operator.events.shape, generator=torch.Generator().manual_seed(0))
    given = operator.events.unpack(x)
    theirs = tensor_list(given) if operator.events.listed else given
    calls: list[Callable[[], Any]] = [lambda: physics.A(theirs), lambda: operator(x)]
    if operator.layout.alone:
        parts = theirs.split(1)
        calls[0] = lambda: torch.cat([physics.A(part) for part in parts])
    ratios = []
    with torch.no_grad():
        for repeat in range(repeats + 1):
            seconds = {}
            for i in (0, 1) if repeat % 2 else (1, 0):
                start = time.process_time()
                calls[i]()
                seconds[i] = time.process_time() - start
            ratios.append(seconds[1] / seconds[0])
    return median(ratios[1:])


def row_of(name: str, example: Example, repeats: int, slow: bool) -> dict[str, str]:
    """The row of a physics in the table.

    Arguments: name; example; repeats: pairs of the overhead; slow: whether `operators.check` may take minutes.
    """
    row = {"physics": name, "as": "-", "check": "-", "methods": "-", "not": "-", "A^T off by": "-", "overhead": "-"}
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
    row["overhead"] = f"{overhead(example, operator, repeats):.3f}"
    if example.slow and not slow:
        return row | {"check": "not run, slow"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            operators.check(operator, operator.events.shape)
    except OperatorCheckError as error:
        return row | {"check": f"fails: {error}"}
    return row | {"check": "passes"}


def run_bridge(
    physics: Annotated[list[str] | None, typer.Option(help="names; default: all; repeat for several")] = None,
    repeats: Annotated[int, typer.Option(help="pairs of measurements of the overhead")] = 15,
    slow: Annotated[bool, typer.Option(help="check the slow ones too")] = False,
    out: Out = RESULTS,
) -> None:
    """Every physics of deepinv through the bridge: how, checked, by which methods, at which cost."""
    if unknown := sorted(set(physics or ()) - set(EXAMPLES)):
        raise ValueError(f"physics {unknown}: expected some of {', '.join(EXAMPLES)}")
    table = [row_of(name, EXAMPLES[name], repeats, slow) for name in physics or EXAMPLES]
    linear = sum(row["as"] in ("SVD", "linear") for row in table)
    other = sum(row["as"] == "nonlinear" for row in table)
    refused = sum(row["as"].startswith("refused") for row in table)
    notes = (
        f"{len(table)} physics of deepinv: {linear} bridged as linear operators, {other} as nonlinear ones, {refused} "
        f"refused, {len(table) - linear - other - refused} need a package that is not installed. Check: "
        "`operators.check`. Methods: those of `inverse.METHODS` that serve the operator, and those that do not. A^T "
        "off by: the relative difference of deepinv's A_adjoint from the derivative of its A, which replaces it above "
        f"1e-5. Overhead: processor time of A through the bridge over deepinv's own, {ROWS} rows of small images, or "
        "as many as the physics has parameters for; the median of "
        f"{repeats} alternating pairs on one thread."
    )
    finish("deepinv-bridge", "deepinv's physics through the bridge", table, notes, Path(out), repeats=repeats)
