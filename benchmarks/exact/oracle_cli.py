"""The command of the oracle."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact import oracle, oracle_problems, oracle_tables
from inverse.auto import EVIDENCE


def run_oracle(
    problem: Annotated[
        list[str], typer.Option(help="mixture-8, mixture-80, mixture-800, image-mixture, or one of them: mixture-8-2")
    ] = ["mixture-8", "mixture-80", "image-mixture"],  # noqa: B006
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS; default: all supported")] = None,
    peers: Annotated[bool, typer.Option(help="other toolkits too, at their defaults and at the best of a grid")] = True,
    instances: int = 20,
    samples: int = 1000,
    steps: Annotated[
        list[int],
        typer.Option(help="most steps of our methods; 0: their defaults; repeatable"),
    ] = [100],  # noqa: B006
    workers: Annotated[int, typer.Option(help="processes, of one thread each")] = 1,
    evidence: Annotated[bool, typer.Option(help="use these figures as the evidence for method='auto'")] = False,
    smoke: Annotated[bool, typer.Option(help="smoke test: every entry on a tiny problem, in --work")] = False,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/oracle"),
    out: Out = RESULTS,
) -> None:
    """Distance of every method, ours and other toolkits', to exact posteriors, relative to exact draws."""
    tuning = oracle.TUNING
    if smoke:
        problem, instances, samples, steps, tuning = ["mixture-8-2", "image-mixture-masking"], 2, 32, [4], ()
        work = work / "smoke"
        out = work
    budgets = [n or None for n in steps]
    lines = []
    for name in problem:
        records = oracle.run(
            oracle_problems.find(name), method, peers, instances, samples, budgets, work, workers, tuning,
            peer_steps=steps[0] if smoke else None,
        )  # fmt: skip
        found = oracle_tables.summary(records)
        notes = oracle_tables.notes(instances, samples, steps)
        finish(f"oracle-{name}", f"Exactness of posterior samples: {name}", oracle_tables.table(found), notes, out,
                instances=instances, samples=samples, steps=steps)  # fmt: skip
        lines += found
    oracle_tables.write_summary(lines, out / "oracle.json")
    if evidence:
        oracle_tables.write_evidence(lines, EVIDENCE)
