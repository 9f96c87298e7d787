"""`inverse-bench`: commands that reproduce every figure of the project."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from benchmarks import commands
from priors.terminal import explained

EXPERIMENTS = {  # command of `inverse-bench run`: module and function, as an entry point has them
    "suite": "benchmarks.suite.cli:run_suite",
    "reconstruction": "benchmarks.trained.reconstruction:run_reconstruction",
    "labels": "benchmarks.trained.labels:run_labels",
    "colour": "benchmarks.trained.colour:run_colour",
    "denoising": "benchmarks.trained.denoising:run_denoising",
    "training": "benchmarks.trained.training:run_training",
    "samplers": "benchmarks.trained.samplers:run_samplers",
    "likelihood": "benchmarks.trained.likelihood:run_likelihood",
    "identifiability": "benchmarks.trained.identifiability:run_identifiability",
    "calibration": "benchmarks.trained.calibration:run_calibration",
    "conformal": "benchmarks.trained.conformal:run_conformal",
    "reliability": "benchmarks.trained.reliability:run_reliability",
    "exactness": "benchmarks.exact.exactness:run_exactness",
    "audit": "benchmarks.audit.audit:run_audit",
    "oracle": "benchmarks.exact.oracle_cli:run_oracle",
    "latent": "benchmarks.exact.latent:run_latent",
    "plane": "benchmarks.exact.plane_figures:run_plane",
    "speed": "benchmarks.trained.speed:run_speed",
    "spread": "benchmarks.exact.spread:run_spread",
    "photons": "benchmarks.exact.photons:run_photons",
    "empirical": "benchmarks.exact.empirical:run_empirical",
    "widefield": "benchmarks.trained.widefield:run_widefield",
    "unknown": "benchmarks.trained.unknown:run_unknown",
    "unknown-exact": "benchmarks.exact.unknown:run_unknown_exact",
    "blind": "benchmarks.trained.blind:run_blind",
    "matrix": "benchmarks.trained.matrix:run_matrix",
    "mistakes": "benchmarks.trained.mistakes:run_mistakes",
    "spectra": "benchmarks.trained.spectra:run_spectra",
    "sinograms": "benchmarks.trained.sinograms:run_sinograms",
    "compressed": "benchmarks.trained.compressed:run_compressed",
    "noise-mistakes": "benchmarks.trained.noise_mistakes:run_noise_mistakes",
    "scan-mistakes": "benchmarks.trained.scan_mistakes:run_scan_mistakes",
    "large": "benchmarks.trained.large:run_large",
    "tiles": "benchmarks.trained.tiles:run_tiles",
    "mean": "benchmarks.trained.mean:run_mean",
    "learning": "benchmarks.trained.learning:run_learning",
    "plan": "benchmarks.trained.plan_accuracy:run_plan",
    "memory": "benchmarks.trained.memory:run_memory",
    "precision": "benchmarks.trained.precision:run_precision",
    "complex-scan": "benchmarks.trained.complex_scan:run_complex_scan",
    "noncartesian": "benchmarks.trained.noncartesian:run_noncartesian",
    "volumes": "benchmarks.trained.volumes:run_volumes",
    "cone": "benchmarks.trained.cone:run_cone",
    "efficiency": "benchmarks.trained.efficiency:run_efficiency",
    "batch": "benchmarks.trained.batch_jobs:run_batch",
    "scaling": "benchmarks.trained.scaling:run_scaling",
    "batches": "benchmarks.trained.batches:run_batches",
    "noise-level": "benchmarks.trained.noise_level:run_noise_level",
    "foreign-prior": "benchmarks.trained.foreign:run_foreign",
    "deepinv-bridge": "benchmarks.peers.bridge:run_bridge",
    "deepinv-solve": "benchmarks.peers.solve_overhead:run_solve_overhead",
    "sbc": "benchmarks.peers.sbc:run_sbc",
    "curves": "benchmarks.peers.curves:run_curves",
}


class Experiments(TyperGroup):
    """The commands of `inverse-bench run`: the module of one is imported when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(EXPERIMENTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in EXPERIMENTS:
            return None
        module, function = EXPERIMENTS[cmd_name].split(":")
        alone = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None)
        alone.command(cmd_name)(explained()(getattr(import_module(module), function)))
        return typer.main.get_command(alone)


app = typer.Typer(
    add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__
)
run = typer.Typer(
    cls=Experiments,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="measure, and write a table to benchmarks/results",
)
app.add_typer(run, name="run")
app.command("report")(commands.report)
app.command("compare")(commands.compare)
app.command("measure")(commands.measure)
app.command("moments")(commands.moments)

if __name__ == "__main__":
    app()
