"""Calibration of methods on an analytic prior, end to end, and what is kept on the way."""

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.common import problems
from benchmarks.exact.problems import smooth_covariance
from benchmarks.trained import calibration
from inverse import METHODS, Solution
from inverse.auto import choose
from operators import Blur, GaussianNoise, Masking
from priors import VESDE, Gaussian
from tests.cases import score_prior, stand_in

SHAPE = (1, 8, 8)
PRIOR = Gaussian(torch.full((64,), 0.4), smooth_covariance(8, 1.5, 0.3), VESDE(0.01, 10.0), event_shape=SHAPE)
TITLE = problems.TASKS["masking"].title


@pytest.fixture(autouse=True)
def analytic(monkeypatch):
    """The Gaussian in place of a trained prior, with test images of its own."""
    stand_in(monkeypatch, PRIOR, calibration)
    small = problems.Task("blur", lambda shape: Blur.gaussian(0.8, noise=GaussianNoise(0.05)))
    monkeypatch.setitem(problems.TASKS, "blur", small)  # the other's kernel is wider than these images


def run(work, *, tasks=("masking",), names=("pigdm",), truths=("prior",), images=12, samples=4, steps=4, **more):
    return calibration.run("p", tasks, names, truths, images, samples, steps, 0, work, progress=False, **more)


def solution(samples: torch.Tensor) -> Solution:
    return Solution(samples, torch.zeros(samples.shape[:2]), "exact", nfe=0, nvjp=0, seconds=0.0, seed=0)


def posterior_samples(truth: torch.Tensor, k: int, spread: float) -> Solution:
    operator = Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.1))
    y = operator.measure(truth, seed=1)
    found = []
    for i in range(len(truth)):
        posterior = PRIOR.posterior(operator, y[i : i + 1])
        mean = posterior.mean.float()
        found.append(mean + spread * (posterior.sample(k, seed=100 + i) - mean))
    return solution(torch.stack(found))


def test_exact_posterior_samples_are_calibrated_and_narrow_ones_are_not():
    """`prior.posterior(operator, y).sample` as the method, 40 draws of the prior, 9 samples each."""
    truth = PRIOR.sample(40, seed=7)
    right, narrow = (calibration.calibrate("", truth, [posterior_samples(truth, 9, s)]) for s in (1.0, 0.8))
    for what in ("pixels", "frequencies"):
        found, test = getattr(right, what)
        covered = found.coverage(0.8)
        assert covered.mean() == pytest.approx(0.8, abs=4 * covered.std().item() / 40**0.5)
        assert test.p_value > 0.01
    found, test = narrow.pixels
    assert test.p_value < 0.02 and found.coverage(0.8).mean() < 0.75


def test_resolution_forgives_what_is_finer_and_nothing_coarser():
    """A bias of .002 in pixels known to .001 is nothing beside noise of .02; samples too narrow stay so."""
    truth = PRIOR.sample(40, seed=7)
    noise = torch.randn(40, 9, *SHAPE, generator=torch.Generator().manual_seed(1))
    biased = solution(truth[:, None] + 0.002 + 0.001 * noise)
    assert calibration.calibrate("", truth, [biased]).pixels[0].coverage(0.8).mean() < 0.3
    forgiven = calibration.calibrate("", truth, [biased], resolution=0.02).pixels[0].coverage(0.8)
    assert forgiven.mean() == pytest.approx(0.8, abs=0.02)
    narrow = calibration.calibrate("", truth, [posterior_samples(truth, 9, 0.6)], resolution=0.01)
    assert narrow.pixels[1].p_value < 0.02


def test_rows_hold_what_was_asked_for(tmp_path):
    rows, found, left_out = run(tmp_path, tasks=("masking", "blur"), names=("auto", "pigdm"), truths=("test", "prior"))
    assert len(rows) == len(found) == 8 and not left_out
    assert [row["truths"] for row in rows[:4]] == ["test", "test", "prior", "prior"]
    first = rows[0]
    chosen = choose(problems.TASKS["masking"].operator(SHAPE), SHAPE, 4).method
    assert first["method"].startswith(f"auto ({chosen.name}), ") and "4 steps" in first["method"]
    assert first["images x samples"] == "12 x 4" and "vjp" in first["NFE"]
    for column in ("pixels, 95 %", "frequencies, 50 %"):
        low, high = first[column].split(" [")[1].rstrip("]").split(", ")
        assert float(low) <= float(first[column].split()[0]) <= float(high) <= 100
    assert all(0 < float(row["chi^2 p, pixels"]) <= 1 for row in rows)


def test_few_steps_are_caught_and_many_are_not(tmp_path):
    """MMPS is exact on a Gaussian but for its steps: the ranks of 20 draws of the prior see 15 ancestral ones."""
    few, many = (
        run(tmp_path, names=("mmps",), images=20, samples=9, steps=steps, predictor=predictor)[0][0]
        for steps, predictor in ((15, "ancestral"), (60, "stochastic_runge_kutta"))
    )
    assert float(few["chi^2 p, pixels"]) < 0.01 < float(many["chi^2 p, pixels"])
    assert float(few["pixels, 95 %"].split()[0]) < 93.5 < float(many["pixels, 95 %"].split()[0]) < 97


def test_finished_blocks_are_taken_up_again_and_more_images_keep_them(tmp_path, monkeypatch):
    first = run(tmp_path, images=10)[0]
    calls = []
    original = __import__("benchmarks.trained.reconstruction", fromlist=["solve"]).solve
    monkeypatch.setattr("benchmarks.trained.reconstruction.solve", lambda *a, **k: calls.append(a) or original(*a, **k))
    assert run(tmp_path, images=10)[0] == first and not calls
    run(tmp_path, images=12)
    assert len(calls) == 1


def test_images_do_not_share_their_samples_noise(tmp_path):
    """Two blocks of the same measurements: their samples differ."""
    operator = Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.1))
    y = operator.measure(PRIOR.sample(10), seed=0).repeat(2, 1, 1, 1)
    a, b = calibration._blocks(PRIOR, operator, y, METHODS["pigdm"], 2, 3, 0, tmp_path, False)
    assert (a.samples - b.samples).abs().min() > 0


def test_draws_of_a_trained_prior_are_kept(tmp_path, monkeypatch):
    calls, drawn = [], torch.rand(3, *SHAPE)
    monkeypatch.setattr(calibration, "sample", lambda *a, **k: calls.append(k["seed"]) or drawn)
    for seed in (0, 0, 1):
        found = calibration._truths("prior", score_prior(), "p", 3, seed, tmp_path, False)
        torch.testing.assert_close(found, drawn)
    assert len(calls) == 2 and 0 not in calls, "the seed of the samples would give them the truths' noise"


def test_settings_change_the_methods_that_have_them(tmp_path):
    plain, _, _ = run(tmp_path, names=("auto", "mmps"), images=2)
    changed, _, _ = run(tmp_path, names=("auto", "mmps", "pigdm"), images=2, n_cg=1, predictor="ancestral")
    assert changed[0] == plain[0] and changed[1] != plain[1], "what auto stands for is left as it is"
    assert [row["method"] for row in changed[1:]] == ["mmps, Ancestral, 4 steps, 1 CG", "pigdm, Ancestral, 4 steps"]


def test_methods_that_the_operator_cannot_serve_are_left_out_with_a_line(tmp_path):
    assert "replacement" in calibration.able() and "pc" not in calibration.able()
    rows, _, left_out = run(tmp_path, tasks=("blur",), names=("replacement", "pigdm"), truths=("test", "prior"))
    assert {row["method"].split(",")[0] for row in rows} == {"pigdm"}
    assert len(left_out) == 1 and "replacement" in left_out[0]


@pytest.mark.parametrize(
    "asked", [{"tasks": ["sharpen"]}, {"names": ["pc"]}, {"truths": ["none"]}, {"predictor": "leap"}]
)
def test_unknown_names_are_refused(tmp_path, asked):
    with pytest.raises(ValueError, match="expected of"):
        run(tmp_path, **asked)


def test_more_test_images_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 12"):
        run(tmp_path, images=13, truths=("test",))


def test_the_command_writes_table_and_figure(tmp_path):
    from skimage.io import imread

    options = {"task": "masking", "method": "pigdm", "images": "3", "samples": "3", "steps": "3", "out": str(tmp_path)}
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    work = ["--work", str(tmp_path / "work")]
    result = CliRunner().invoke(cli.app, ["run", "calibration", *arguments, *work])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "calibration-methods.md").read_text()
    assert (
        f"| {TITLE} | pigdm, Ancestral, 3 steps | test | 3 x 3 |" in text
        and (tmp_path / "calibration-methods.json").exists()
    )
    assert imread(tmp_path / "calibration-methods.png").std() > 5
