"""`inverse-bench measure` and `inverse-bench run suite`: measurement sets, and the methods on them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks.suite import measurements, problems, runner, units
from benchmarks.suite.clock import Clock
from benchmarks.suite.methods import TRUTH
from benchmarks.suite.problems import CONFIGS
from benchmarks.suite.records import load

console = Console()

ConfigArgument = Annotated[Path, typer.Argument(help="the benchmark's TOML; default: what is shipped")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="images in place of the TOML's: a set, packed pictures or a folder")
]
ProblemOption = Annotated[list[str] | None, typer.Option("--problem", help="only this; repeat for several")]


def measure(
    config: ConfigArgument = CONFIGS / "shipped.toml",
    out: Annotated[Path, typer.Option(help="folder of the measurement sets, one HDF5 file per problem")] = Path(
        "measured"
    ),
    problem: ProblemOption = None,
    data: DataOption = None,
) -> None:
    """Write the measurements of a benchmark once, for others to read: truths, y, operator, noise, checksums."""
    with explained():
        read = problems.read(config).of(data)
        for name in problem or read.problems:
            if name not in read.problems:
                raise ValueError(f"problem {name!r}: expected of {list(read.problems)}")
            held = read.problems[name]
            path = out / f"{name}.h5"
            measured = measurements.make(held, tuple(units.prior_of(held).event_shape))
            measurements.write(measured, path)
            console.print(f"{path}: {len(measured.y)} measurements of {held.task}", highlight=False)


def run_suite(
    config: ConfigArgument = CONFIGS / "shipped.toml",
    records: Annotated[
        Path, typer.Option("--records", help="folder of the records; what is finished there is not done again")
    ] = Path("runs/suite"),
    measured: Annotated[
        Path | None, typer.Option(help="folder that `inverse-bench measure` wrote: read, in place of measuring")
    ] = None,
    problem: ProblemOption = None,
    method: Annotated[
        list[str] | None, typer.Option(help="only this row, or one that the TOML has not; repeat for several")
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="in place of the TOML's; repeat for several")] = None,
    smoke: Annotated[bool, typer.Option(help="every method on next to nothing: configs/smoke.toml")] = False,
    retry: Annotated[bool, typer.Option(help="do the units again that ended with an error")] = False,
    device: Annotated[str, typer.Option(help="auto (this process's GPU, else the CPU), cpu or cuda")] = "auto",
    data: DataOption = None,
    dry: Annotated[bool, typer.Option(help="only say what there is to do, and how long it will take")] = False,
) -> None:
    """Run problems x methods x seeds and keep a record of each unit; kill it when you like, and it resumes.

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
        console.print(
            f"{ended.done} units done, {ended.found} found, {ended.failed} failed, {ended.elsewhere} left to other "
            f"processes; records are in {records}",
            highlight=False,
            soft_wrap=True,
        )


def _say(chosen: list[units.Unit], left_out: list[str], folder: Path) -> None:
    """What a run would do, and what it would cost by the records that there are."""
    clock = Clock()
    for record in load(folder) if folder.is_dir() else ():
        clock.add(record)
    for name, count in Counter(unit.task.problem.name for unit in chosen).items():
        console.print(f"{name}: {count} units", highlight=False)
    console.print(f"{len(left_out)} rows left out, of operators that they do not serve", highlight=False)
    pending = [unit for unit in chosen if not (folder / unit.file).exists()]
    text = clock.left(pending, runner.processes())
    console.print(f"{len(chosen)} units, {len(pending)} to do: {text}", highlight=False)


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors that a user can mend into one line and exit status 2."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, markup=True, soft_wrap=True)
        raise typer.Exit(2) from error
