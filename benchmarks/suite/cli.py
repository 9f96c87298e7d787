"""`inverse-bench measure` and `inverse-bench run suite`: measurement sets, and the methods on them."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.defaults import CONFIGS
from benchmarks.suite import measurements, problems, runner, units
from benchmarks.suite.clock import Clock
from benchmarks.suite.methods import TRUTH
from benchmarks.suite.records import load
from priors.terminal import console, explained, say

ConfigArgument = Annotated[Path, typer.Argument(help="the benchmark's TOML; default: what is shipped")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="images in place of the TOML's: a set, packed pictures or a folder")
]
ProblemOption = Annotated[list[str] | None, typer.Option("--problem", help="only this; repeat for several")]


def measure(config: Path, out: Path, problem: list[str] | None, data: Path | None) -> None:
    """`inverse-bench measure`."""
    with explained():
        read = problems.read(config).of(data)
        for name in problem or read.problems:
            if name not in read.problems:
                raise ValueError(f"problem {name!r}: expected of {list(read.problems)}")
            spec, path = read.problems[name], out / f"{name}.h5"
            made = measurements.make(spec, units.prior_of(spec))
            measurements.write(spec, made, path)
            say(f"{path}: {len(made.y)} measurements of {spec.task}")


def run_suite(
    config: ConfigArgument = CONFIGS / "shipped.toml",
    records: Annotated[Path, typer.Option("--records", help="folder of the records; finished units are kept")] = Path(
        "runs/suite"
    ),
    measured: Annotated[
        Path | None, typer.Option(help="folder that `inverse-bench measure` wrote: read, in place of measuring")
    ] = None,
    problem: ProblemOption = None,
    method: Annotated[
        list[str] | None, typer.Option(help="only this row, which need not be in the TOML; repeat for several")
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="in place of the TOML's; repeat for several")] = None,
    smoke: Annotated[
        bool, typer.Option(help="smoke test: every method on a tiny problem (configs/smoke.toml)")
    ] = False,
    retry: Annotated[bool, typer.Option(help="repeat the units that failed")] = False,
    device: Annotated[str, typer.Option(help="auto (this process's GPU, else the CPU), cpu or cuda")] = "auto",
    data: DataOption = None,
    dry: Annotated[bool, typer.Option(help="only print what there is to do and the estimated time")] = False,
) -> None:
    """Run problems x methods x seeds and record each unit; a killed run resumes.

    Several processes: `torchrun --nproc-per-node 2 -m benchmarks.cli run suite`.
    """
    with explained():
        read = problems.read(CONFIGS / "smoke.toml" if smoke else config).of(data)
        chosen, left_out = units.plan(read, problem, method, seeds, measured, runner.device_of(device))
        if all(unit.row.name == TRUTH for unit in chosen):
            raise ValueError(f"nothing to run: {'; '.join(left_out) or 'the benchmark has no methods'}")
        if dry:
            _say(chosen, left_out, records)
            return
        ended = runner.run(chosen, records, retry, console if runner.first() else None)
        say(
            f"{ended.done} units done, {ended.found} found, {ended.failed} failed, {ended.elsewhere} left to other "
            f"processes; records are in {records}"
        )


def _say(chosen: list[units.Unit], left_out: list[str], folder: Path) -> None:
    """What a run would do, and its estimated cost from existing records."""
    clock = Clock()
    found = load(folder) if folder.is_dir() else []
    for record in found:
        clock.add(record)
    for name, count in Counter(unit.problem.name for unit in chosen).items():
        say(f"{name}: {count} units")
    say(f"{len(left_out)} rows left out, of operators that they do not serve")
    names = {record.name for record in found}
    pending = [unit for unit in chosen if unit.name not in names]
    text = clock.left(pending, runner.processes())
    say(f"{len(chosen)} units, {len(pending)} to do: {text}")
