"""`inverse-bench`: every figure that the project claims, made again by one command."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

import priors
from benchmarks import (
    baselines,
    calibration,
    colour,
    denoising,
    exactness,
    features,
    identifiability,
    labels,
    large,
    likelihood,
    matrix,
    noise_level,
    oracle,
    oracle_problems,
    oracle_tables,
    plan_accuracy,
    plane,
    plane_figures,
    reconstruction,
    reliability,
    samplers,
    speed,
    spread,
)
from benchmarks.problems import IMAGE_TASKS
from benchmarks.provenance import RESULTS, provenance, write_table
from benchmarks.suite import cli as suite
from benchmarks.suite import report_cli
from inverse.choice import EVIDENCE
from priors.data import read
from priors.terminal import console, say

SMALL_PRIORS = Path(__file__).parent / "priors"  # trained alike under several SDEs: priors/configs/fashion-mnist-small
LIKELIHOOD_PRIORS = ("ve", "vp", "subvp", "vp-likelihood", "subvp-likelihood")
TRAINED_APART = ("ve", "ve-wide")
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True, help=__doc__)
run = typer.Typer(no_args_is_help=True, help="measure, and write a table to benchmarks/results")
app.add_typer(run, name="run")
app.command("report")(report_cli.report)
app.command("compare")(report_cli.compare)
app.command("measure")(suite.measure)
run.command("suite")(suite.run_suite)
run.command("large")(large.run_large)
run.command("plan")(plan_accuracy.run_plan)
run.command("matrix")(matrix.run_matrix)
run.command("noise-level")(noise_level.run_noise_level)
run.command("spread")(spread.run_spread)

Out = Annotated[Path, typer.Option(help="folder of the tables")]
Seed = Annotated[int, typer.Option(help="of measurements and samples")]


@run.command("reconstruction")
def run_reconstruction(
    prior: str = "fashion-mnist",
    images: int = 100,
    samples: int = 16,
    steps: int = 25,
    cg: Annotated[int, typer.Option(help="conjugate-gradient steps of MMPS")] = 2,
    seed: Seed = 0,
    task: Annotated[
        list[str] | None, typer.Option(help="only these; the others' finished images stay in --work")
    ] = None,
    work: Annotated[Path, typer.Option(help="finished images are kept here and taken up again")] = Path(
        "runs/reconstruction"
    ),
    out: Out = RESULTS,
) -> None:
    """PSNR of the posterior mean on masked and blurred test images, beside classical answers."""
    rows = reconstruction.run(prior, images, samples, steps, cg, seed, work, True, task or tuple(IMAGE_TASKS))
    notes = (
        f"{images} Fashion-MNIST test images, {samples} posterior samples each, {steps} ancestral steps, {cg} of CG. "
        "Gains are paired by image, with the 95 % bootstrap interval of their mean; chi^2 is the residual in units of "
        "the noise (about 1 for a posterior draw)."
    )
    _finish("reconstruction", "Reconstruction", rows, notes, out, images=images, samples=samples, steps=steps, cg=cg,
            seed=seed)  # fmt: skip


@run.command("labels")
def run_labels(
    prior: str = "fashion-mnist",
    per_class: int = 20,
    steps: int = 60,
    weight: Annotated[list[float], typer.Option(help="of the guidance; repeat for several")] = [1.0, 3.0],  # noqa: B006
    data: Annotated[
        Path | None, typer.Option(help="test images for the judge (test_images, test_labels); default: the shipped")
    ] = None,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """Class-conditional samples judged by a classifier that was trained apart."""
    test = priors.samples(prior) if data is None else read(data, "test")
    rows = labels.run(prior, per_class, steps, tuple(weight), seed, test)
    notes = (
        f"Prior {prior}: {per_class} samples per class, {steps} steps; the judge on {len(test)} test images. "
        "Exact draws of p(x | label) would be judged as labelled about as often as test images are, so weight 1, the "
        "paper's, is bounded by the judge; larger weights trade variety for agreement."
    )
    name = "labels" if prior == "fashion-mnist" else f"labels-{prior}"
    _finish(name, "Class-conditional samples", rows, notes, out, per_class=per_class, steps=steps, seed=seed)


@run.command("colour")
def run_colour(
    data: Annotated[Path, typer.Option(help="CIFAR-10: npz or HDF5 of train_images and test_images; none is shipped")],
    prior: str = "cifar10",
    images: int = 200,
    samples: int = 24,
    steps: int = 12,
    cg: Annotated[int, typer.Option(help="conjugate-gradient steps of MMPS")] = 2,
    seed: Seed = 0,
    method: Annotated[list[str], typer.Option(help="repeat for both")] = ["mmps", "replacement"],  # noqa: B006
    work: Annotated[Path, typer.Option(help="finished images are kept here")] = Path("runs/colour"),
    out: Out = RESULTS,
) -> None:
    """Chroma of colourised test images, beside linear MMSE fitted to the training images."""
    train, test = read(data, "train"), read(data, "test")[:images]
    rows = colour.run(prior, train, test, samples, steps, cg, seed, work, only=method)
    notes = (
        f"The first {images} test images of {data.name}, {samples} samples each; grey seen with sigma_y .02. Gains are "
        "paired by image, with the 95 % bootstrap interval of their mean, or of the ratio of the mean square errors of "
        "all images: what a posterior mean minimises."
    )
    _finish("colour", "Colourisation", rows, notes, out, images=images, samples=samples, steps=steps, cg=cg, seed=seed)


@run.command("denoising")
def run_denoising(
    data: Annotated[Path, typer.Option(help="pictures, as inverse-pack writes them, or an image set; none is shipped")],
    prior: str = "natural",
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "",
    limit: Annotated[int | None, typer.Option(help="only the first pictures")] = None,
    level: Annotated[list[float], typer.Option(help="sigma of 255; repeat for several")] = list(denoising.LEVELS),  # noqa: B006
    tile: Annotated[int, typer.Option(help="pixels, of pictures that do not fit in memory")] = 512,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    out: Out = RESULTS,
) -> None:
    """PSNR of natural pictures denoised by one evaluation of the prior, beside published networks."""
    found = denoising.load(data, split or None)[:limit]
    rows = denoising.run(prior, found, level, seed, tile, console.print)
    notes = denoising.notes(found, data.name, prior)
    _finish("denoising", f"Denoising: {data.stem}", rows, notes, out, pictures=len(found), seed=seed)


@run.command("samplers")
def run_samplers(
    data: Annotated[Path, typer.Option(help="Fashion-MNIST: npz or HDF5 of test_images")],
    prior: Annotated[list[Path] | None, typer.Option(help="checkpoint folders; default: the small VE and VP")] = None,
    samples: int = 250,
    evaluations: Annotated[list[int], typer.Option(help="per sample; repeat for several")] = [10, 30, 90],  # noqa: B006
    space: Annotated[
        str, typer.Option(help="features: inception, judge, or auto: inception if its weights are cached")
    ] = "auto",
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished cells are kept here")] = Path("runs/samplers"),
    out: Out = RESULTS,
) -> None:
    """Frechet distance of unconditional samples against evaluations: predictor, corrector, both, ODE."""
    found = features.find(space, "fashion-mnist-judge")
    folders = prior or [SMALL_PRIORS / "ve", SMALL_PRIORS / "vp"]
    rows = samplers.run(folders, read(data, "test"), found, samples, evaluations, seed, work)
    notes = (
        f"Frechet distance on the features of {found.title}, {samples} samples per cell against the other test images; "
        "the floor is the distance of as many real ones. Evaluations per sample, one more for the last denoising."
    )
    samplers.plot(rows, found.title, out / "samplers.png")
    _finish("samplers", "Samplers", rows, notes, out, samples=samples, evaluations=evaluations, seed=seed)


@run.command("likelihood")
def run_likelihood(
    prior: Annotated[list[Path] | None, typer.Option(help="checkpoint folders; default: the small ones")] = None,
    images: Annotated[int, typer.Option(help="of the shipped test images, at most 100")] = 100,
    seed: Annotated[int, typer.Option(help="of dequantisation and probes")] = 0,
    out: Out = RESULTS,
) -> None:
    """Bits per dimension of Fashion-MNIST test images, by the probability flow."""
    test = priors.samples("fashion-mnist")[:images]
    rows = likelihood.run(_folders(prior, LIKELIHOOD_PRIORS), test, seed)
    notes = (
        f"The first {len(test)} shipped test images (10 per class in turn), uniformly dequantised; +- is the standard "
        "error over images. p is that at t = 1e-5, for VE the data with noise sigma_min. Evaluations per image, each "
        "with a backward pass."
    )
    _finish("likelihood", "Likelihood", rows, notes, out, images=len(test), seed=seed)


@run.command("identifiability")
def run_identifiability(
    prior: Annotated[list[Path] | None, typer.Option(help="two checkpoint folders; default: ve and ve-wide")] = None,
    images: Annotated[int, typer.Option(help="of the shipped test images, at most 100")] = 100,
    seed: Annotated[int, typer.Option(help="of dequantisation")] = 0,
    out: Out = RESULTS,
) -> None:
    """How alike the latents of the same images are under two priors that were trained apart."""
    test = priors.samples("fashion-mnist")[:images]
    folders = _folders(prior, TRAINED_APART)
    rows = identifiability.run(folders, test, seed)
    notes = (
        f"Latents of the first {len(test)} shipped test images under {' and '.join(folders)}: the correlation over "
        "images of each of the latent dimensions, its mean and quantiles over dimensions, and the median distance "
        "relative to the latent's length. Independent latents correlate by 0 with a standard deviation of "
        f"{len(test) ** -0.5:.2f}."
    )
    _finish("identifiability", "Identifiability of latents", rows, notes, out, images=len(test), seed=seed)


@run.command("calibration")
def run_calibration(
    prior: str = "fashion-mnist",
    task: Annotated[list[str], typer.Option(help="repeat for several")] = list(IMAGE_TASKS),  # noqa: B006
    method: Annotated[list[str], typer.Option(help="of METHODS, or auto; repeat for several")] = ["auto"],  # noqa: B006
    truths: Annotated[list[str], typer.Option(help="test images, or draws of the prior; repeat for both")] = ["test"],  # noqa: B006
    images: int = 40,
    samples: int = 32,
    steps: Annotated[int | None, typer.Option(help="default: the method's own")] = None,
    cg: Annotated[int | None, typer.Option(help="conjugate-gradient steps of MMPS; not of auto")] = None,
    predictor: Annotated[str | None, typer.Option(help="in place of the methods' own; not of auto")] = None,
    resolution: Annotated[
        float | None, typer.Option(help="noise on truths and samples before they are ranked; default: sigma(t_min)")
    ] = None,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished images are kept here and taken up again")] = Path(
        "runs/calibration"
    ),
    out: Out = RESULTS,
) -> None:
    """Ranks of true images among their posterior samples, and the coverage of central intervals."""
    rows, found, left_out = calibration.run(
        prior, task, method, truths, images, samples, steps, seed, work, cg, predictor, resolution
    )
    notes = " ".join(
        (
            f"{images} images of prior {prior}, {samples} posterior samples each. Coverage in % of central intervals, "
            "with its 95 % bootstrap interval over images, per pixel and per DCT coefficient of the lowest 6 x 6; an "
            "exact sampler covers 50, 80 and 95 on average for any number of samples. Truths and samples are ranked "
            f"with added noise of standard deviation {'sigma(t_min)' if resolution is None else f'{resolution:g}'}. "
            "p-values: of the rank histograms, by replicas that put a sample in the truth's place (at least .001).",
            *(f"Left out: {line}." for line in left_out),
        )
    )
    name = "calibration" if method == ["auto"] else "calibration-methods"
    calibration.plot(found, out / f"{name}.png")
    _finish(name, "Calibration", rows, notes, out, images=images, samples=samples, steps=steps, seed=seed)


@run.command("reliability")
def run_reliability(
    prior: str = "fashion-mnist",
    task: str = "masking",
    images: int = 3,
    samples: int = 25,
    plain: Annotated[list[int], typer.Option(help="steps; repeat for several, as of the next three")] = [8, 16, 32],  # noqa: B006
    tempered: Annotated[list[int], typer.Option(help="steps of tds")] = [25, 50, 100],  # noqa: B006
    moved: Annotated[list[int], typer.Option(help="steps of tds with a Langevin move after each")] = [25, 50],  # noqa: B006
    exact: Annotated[list[int], typer.Option(help="steps, for the draws and again for their density")] = [8, 16, 32],  # noqa: B006
    probes: Annotated[int, typer.Option(help="of the determinants of exact")] = 2,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished settings are kept here")] = Path("runs/reliability"),
    out: Out = RESULTS,
) -> None:
    """Effective sample size and coverage against compute of the plain, tempered and exact modes."""
    chosen = reliability.settings(plain, tempered, moved, exact, probes)
    rows, found = reliability.run(prior, task, chosen, images, samples, seed, work)
    notes = (
        f"{IMAGE_TASKS[task].title}: {images} test images of prior {prior}, {samples} samples each, {probes} probes. "
        "Effective samples 1 / sum w^2, mean over images; of tds since its last resampling only: its particles share "
        "ancestors, which no weight shows and coverage does. Coverage with its 95 % bootstrap interval over images; "
        "right: 95 on average. No coverage is told of fewer than 10 effective samples."
    )
    reliability.plot(found, samples, out / "reliability.png")
    _finish("reliability", "How far samples are to be trusted, against compute", rows, notes, out, images=images,
            samples=samples, seed=seed)  # fmt: skip


@run.command("exactness")
def run_exactness(samples: int = 500, steps: int = 200, instances: int = 4, out: Out = RESULTS) -> None:
    """Distance to exact laws on analytic priors, beside the distance between two exact sets."""
    rows = exactness.run(samples, steps, instances)
    pairs = exactness.FLOOR_DRAWS
    notes = (
        f"{samples} samples per set; the floor is the mean distance between {pairs} pairs of exact sets of that size."
    )
    _finish("exactness", "Exactness", rows, notes, out, samples=samples, steps=steps, instances=instances)


@run.command("oracle")
def run_oracle(
    problem: Annotated[
        list[str], typer.Option(help="mixture-8, mixture-80, mixture-800, image-mixture, or one of them: mixture-8-2")
    ] = ["mixture-8", "mixture-80", "image-mixture"],  # noqa: B006
    method: Annotated[list[str] | None, typer.Option(help="names in METHODS; default: all that serve")] = None,
    peers: Annotated[bool, typer.Option(help="other toolkits too, at their defaults and at the best of a grid")] = True,
    instances: int = 20,
    samples: int = 1000,
    steps: Annotated[
        list[int], typer.Option(help="at most, of our methods; 0 for each one's own; repeat for several")
    ] = [100],  # noqa: B006
    workers: Annotated[int, typer.Option(help="processes, of one thread each")] = 1,
    evidence: Annotated[bool, typer.Option(help="let method='auto' choose by these figures from now on")] = False,
    smoke: Annotated[bool, typer.Option(help="every entry on little, in a minute, to a folder of --work")] = False,
    work: Annotated[Path, typer.Option(help="what is finished is kept here and taken up again")] = Path("runs/oracle"),
    out: Out = RESULTS,
) -> None:
    """Distance of every method, ours and others', to exact posteriors, beside that of exact draws."""
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
        _finish(f"oracle-{name}", f"Exactness of posterior samples: {name}", oracle_tables.table(found), notes, out,
                instances=instances, samples=samples, steps=steps)  # fmt: skip
        lines += found
    oracle_tables.write_summary(lines, out / "oracle.json")
    if evidence:
        oracle_tables.write_evidence(lines, EVIDENCE)


@run.command("plane")
def run_plane(
    measurements: Annotated[int, typer.Option(help="for PSNR and coverage")] = 200,
    samples: Annotated[int, typer.Option(help="per measurement, for PSNR and coverage")] = 64,
    pictured: Annotated[int, typer.Option(help="of the measurements, for distances; one is drawn")] = 4,
    draws: Annotated[int, typer.Option(help="per pictured measurement")] = 1000,
    seed: Seed = 0,
    out: Out = RESULTS,
) -> None:
    """PSNR beside the distance to an exact posterior in the plane, and pictures of it: docs/psnr.md."""
    rows, found = plane.run(measurements, samples, pictured, draws, seed)
    notes = (
        f"Pictures of two pixels in [0, 1] on two moons, seen through one noisy combination. PSNR, coverage and the "
        f"share outside the smallest region that holds 99 % of the posterior: {measurements} measurements, {samples} "
        f"draws of each; the interval is a bootstrap, paired by measurement. Floors (sliced W1 in units of that of "
        f"exact draws) and limb weights (total variation): {draws} draws for each of {pictured} of them. Every method "
        "at its defaults; `tds` and `mcgdiff` weigh as many particles as there are draws. `replacement` and `scoremri` "
        "also carry the Langevin corrector of Song et al., whose variances are (d + 2) / d too large: twice, in two "
        f"dimensions. {plane.summary(found)}"
    )
    plane_figures.plot_draws(found, out / "plane-draws.png")
    plane_figures.plot_figures(found, out / "plane.png")
    _finish("plane", "PSNR beside the distance to the posterior", rows, notes, out, measurements=measurements,
            samples=samples, pictured=pictured, draws=draws, seed=seed)  # fmt: skip


@run.command("speed")
def run_speed(
    prior: str = "fashion-mnist", rows: int = 16, steps: int = 10, repeats: int = 5, out: Out = RESULTS
) -> None:
    """Wall time of the engine over that of the evaluations it makes, and peak memory."""
    table = speed.run(prior, rows, steps, repeats)
    notes = f"{rows} rows, {steps} steps; medians of {repeats} pairs run in turn, the ratio with its least and largest."
    _finish("speed", "Overhead of the engine", table, notes, out, rows=rows, steps=steps)


@app.command()
def moments(data: Annotated[Path, typer.Option(help="the training images, HDF5 or npz")], split: str = "train") -> None:
    """Fit the Gaussian prior that linear MMSE takes: mean and covariance of the training images."""
    images = read(data, split or None)
    baselines.fit_moments(images)
    say(f"moments of {len(images)} images in {baselines.MOMENTS}")


def _folders(given: list[Path] | None, names: tuple[str, ...]) -> dict[str, Path]:
    """Prior name -> folder; without any given, those of the project's own."""
    folders = {str(folder): folder for folder in given} if given else {name: SMALL_PRIORS / name for name in names}
    try:
        likelihood.check_folders(folders)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from None
    return folders


def _finish(name: str, title: str, table: list[dict[str, str]], notes: str, out: Path, **settings) -> None:
    path = write_table(name, title, table, provenance(**settings), notes, out)
    console.print(Markdown(path.read_text()))
    say(f"written to {path}")


if __name__ == "__main__":
    app()
