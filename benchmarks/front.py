"""The console script `inverse-bench`: the benchmarks are imported when one of its commands is called."""

import sys
from importlib import import_module

import typer

AS_GIVEN = {"ignore_unknown_options": True, "allow_extra_args": True}
app = typer.Typer(
    add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True,
    help="`inverse-bench`: every figure that the project claims, made again by one command.",
)  # fmt: skip


def _onward() -> None:
    import_module("benchmarks.cli").app(sys.argv[1:])


@app.command(context_settings=AS_GIVEN, add_help_option=False)
def run() -> None:
    """measure, and write a table to benchmarks/results"""
    _onward()


@app.command(context_settings=AS_GIVEN, add_help_option=False)
def measure() -> None:
    """Write the measurements of a benchmark once, for others to read: truths, y, operator, noise, checksums."""
    _onward()


@app.command(context_settings=AS_GIVEN, add_help_option=False)
def report() -> None:
    """Tables, plots and galleries of a benchmark's records, to look at and to cite."""
    _onward()


@app.command(context_settings=AS_GIVEN, add_help_option=False)
def compare() -> None:
    """What changed between two folders of records; exit 1 on a significant regression, 2 on bad input."""
    _onward()
