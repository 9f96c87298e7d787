"""`inverse-bench`: every figure that the project claims, made again by one command."""

import typer

from benchmarks.common.baselines import moments
from benchmarks.exact.exactness import run_exactness
from benchmarks.exact.oracle_cli import run_oracle
from benchmarks.exact.plane_figures import run_plane
from benchmarks.exact.spread import run_spread
from benchmarks.suite import cli as suite
from benchmarks.suite import report_cli
from benchmarks.trained.calibration import run_calibration
from benchmarks.trained.colour import run_colour
from benchmarks.trained.denoising import run_denoising
from benchmarks.trained.identifiability import run_identifiability
from benchmarks.trained.labels import run_labels
from benchmarks.trained.large import run_large
from benchmarks.trained.likelihood import run_likelihood
from benchmarks.trained.matrix import run_matrix
from benchmarks.trained.noise_level import run_noise_level
from benchmarks.trained.plan_accuracy import run_plan
from benchmarks.trained.precision import run_precision
from benchmarks.trained.reconstruction import run_reconstruction
from benchmarks.trained.reliability import run_reliability
from benchmarks.trained.samplers import run_samplers
from benchmarks.trained.speed import run_speed

COMMANDS = {
    "suite": suite.run_suite,
    "reconstruction": run_reconstruction,
    "labels": run_labels,
    "colour": run_colour,
    "denoising": run_denoising,
    "samplers": run_samplers,
    "likelihood": run_likelihood,
    "identifiability": run_identifiability,
    "calibration": run_calibration,
    "reliability": run_reliability,
    "exactness": run_exactness,
    "oracle": run_oracle,
    "plane": run_plane,
    "speed": run_speed,
    "spread": run_spread,
    "matrix": run_matrix,
    "large": run_large,
    "plan": run_plan,
    "precision": run_precision,
    "noise-level": run_noise_level,
}
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True, help=__doc__)
run = typer.Typer(no_args_is_help=True, help="measure, and write a table to benchmarks/results")
app.add_typer(run, name="run")
app.command("report")(report_cli.report)
app.command("compare")(report_cli.compare)
app.command("measure")(suite.measure)
app.command("moments")(moments)
for name, command in COMMANDS.items():
    run.command(name)(command)

if __name__ == "__main__":
    app()
