"""PSNR beside the distance, in the plane: the posterior is the true one, the figures mean what they say."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.common.intervals import db, gain
from benchmarks.common.provenance import RESULTS
from benchmarks.exact import plane
from benchmarks.exact.oracle_entries import EXACT, PRIOR
from benchmarks.exact.plane import MEAN, Plane
from benchmarks.exact.problems import two_moons
from inverse import METHODS
from inverse.auto import serves
from priors import VESDE

PAGE = Path(__file__).parents[2] / "docs" / "psnr.md"


@pytest.fixture(scope="module")
def small() -> Plane:
    return Plane(60)


@pytest.fixture(scope="module")
def judged(small):
    able, references = plane.samplers(small), plane.exact_sets(small, 2, 400)
    return {name: plane.judge(small, able[name], 40, *references) for name in (EXACT, MEAN, PRIOR)}


def test_the_moons_are_halves_of_circles_in_the_unit_square():
    law = two_moons(VESDE())
    first, second = law.means[:24], law.means[24:]
    for moon, centre in ((first, (0.36, 0.43)), (second, (0.64, 0.57))):
        radii = (moon - torch.tensor(centre).double()).norm(dim=1)
        torch.testing.assert_close(radii, torch.full_like(radii, 0.28))
    assert (first[:, 1] > 0.43).all() and (second[:, 1] < 0.57).all()
    assert law.weights[:24].sum().item() == pytest.approx(0.6)
    x = law.sample(500)
    assert x.min() > 0 and x.max() < 1
    with pytest.raises(ValueError, match="even"):
        two_moons(VESDE(), 7)


def test_the_posterior_is_bayes_rule_on_a_grid(small):
    """Prior density times likelihood, normalised by its sum over 160 x 160 cells: density, mean and limb weights."""
    line = (torch.arange(160, dtype=torch.float64) + 0.5) / 160
    grid = torch.cartesian_prod(line, line)
    likelihood = small.operator.log_likelihood(small.y[:1].expand(len(grid), -1).double(), grid)
    joint = (small.law.log_prob(grid) + likelihood).exp()
    brute, exact = joint / joint.sum(), small.posteriors[0]
    density = exact.log_prob(grid).exp() / len(grid)
    assert 0.5 * (brute - density).abs().sum() < 1e-4
    torch.testing.assert_close(brute @ grid, exact.mean, atol=1e-4, rtol=0)
    of_limbs = brute @ small.law.responsibilities(grid)
    found, expected = (plane.limb_weights(exact, small.limb, shares) for shares in (of_limbs, None))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_limbs_are_where_the_measurement_rises_or_falls(small):
    along = (small.law.means @ small.operator.matrix.double()[0]).view(2, -1).diff(dim=1)
    same = small.limb.view(2, -1).diff(dim=1) == 0
    for moon in range(2):
        for limb in (2 * moon, 2 * moon + 1):
            steps = along[moon][same[moon] & (small.limb.view(2, -1)[moon, 1:] == limb)]
            assert len(steps) > 5 and ((steps > 0).all() or (steps < 0).all())


def test_the_exact_mean_lies_between_the_modes(small):
    open_limbs = (plane.limb_weights(small.posteriors[0], small.limb) > 0.1).sum()
    assert open_limbs == 4 and small.posteriors[0].log_prob(small.posteriors[0].mean[None]) < small.thresholds[0]


def test_exact_draws_are_at_one_floor_and_covered(judged):
    score = judged[EXACT][0]
    assert score.relative == pytest.approx(1, abs=0.35) and score.weights < 0.06
    error = score.coverage.std().item() / len(score.coverage) ** 0.5
    assert score.coverage.mean().item() == pytest.approx(0.95, abs=4 * error)
    assert score.outside.mean().item() == pytest.approx(0.01, abs=0.008)


def test_a_draw_loses_three_decibels_to_the_mean(judged):
    """E|x - draw|^2 = 2 E|x - mean|^2, on 60 measurements within 4 standard errors."""
    draw, mean = judged[EXACT][0].of_sample, judged[MEAN][0].of_sample
    spread = (draw - 2 * mean).std().item() / len(draw) ** 0.5
    assert (draw - 2 * mean).mean().item() == pytest.approx(0, abs=4 * spread)


def test_the_mean_wins_psnr_and_loses_all_else(judged):
    exact, mean, prior = (judged[name][0] for name in (EXACT, MEAN, PRIOR))
    assert db(mean.of_sample) > db(exact.of_sample) + 2
    assert mean.relative > prior.relative > 3 and mean.coverage.mean() < 0.3 and mean.outside.mean() > 0.3
    assert prior.coverage.mean() > 0.9, "draws that ignore y are calibrated: coverage alone is not enough either"


def test_errors_by_hand():
    x = torch.tensor([[0.5, 0.5]])
    samples = torch.tensor([[[0.3, 0.5], [0.7, 0.5], [0.9, 0.9]]])
    weights = torch.tensor([[0.0, 0.0, -math.inf]])
    of_mean, of_sample, _ = plane.errors(x, samples, weights)
    assert of_mean.item() == pytest.approx(0, abs=1e-12) and of_sample.item() == pytest.approx(0.02, rel=1e-5)
    assert db(torch.tensor([0.01, 0.03])) == pytest.approx(10 * math.log10(50))


def test_gain_is_paired():
    e = torch.rand(50, generator=torch.Generator().manual_seed(0)) + 0.1
    found = gain(e / 2, e)
    assert found == pytest.approx((10 * math.log10(2),) * 3, abs=1e-4), "a constant ratio has no error"
    below, low, high = gain(e.flip(0) * 2, e)
    assert low < below < high < 0


def test_limb_error_by_hand(small):
    law = small.posteriors[0]
    exact = law.sample(4000, seed=3)
    assert plane.limb_error(exact, law, small.limb) < 0.03
    weights = plane.limb_weights(law, small.limb)
    inside = exact[small.limb[law.responsibilities(exact).argmax(1)] == 1]
    assert plane.limb_error(inside, law, small.limb) == pytest.approx(1 - weights[1].item(), abs=0.03)


def test_rank_correlation():
    assert plane.rank_correlation([1, 2, 3], [10, 30, 900]) == pytest.approx(1)
    assert plane.rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        plane.run(4, 1, 1, 8)
    with pytest.raises(ValueError, match="pictured"):
        plane.run(4, 4, 5, 8)


def test_the_command_writes_the_table_and_the_pictures(tmp_path, monkeypatch):
    """With few methods: that all of the registry that serve are listed is the next test's."""
    from skimage.io import imread

    for name in set(METHODS) - {"pigdm", "ddrm", "classifier", "pc"}:
        monkeypatch.delitem(METHODS, name)
    numbers = {"--measurements": 6, "--samples": 4, "--pictured": 2, "--draws": 16}
    arguments = [str(a) for pair in numbers.items() for a in pair]
    result = CliRunner().invoke(cli.app, ["run", "plane", *arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    rows = json.loads((tmp_path / "plane.json").read_text())["rows"]
    assert [row["draws"] for row in rows] == [EXACT, MEAN, PRIOR, "pigdm", "ddrm"]
    assert "6 measurements, 4 draws" in (tmp_path / "plane.md").read_text()
    for name in ("plane.png", "plane-draws.png"):
        assert imread(tmp_path / name).std() > 5


def test_every_method_that_serves_is_judged(small):
    able = [name for name, m in METHODS.items() if m.conditional and serves(m, small.operator)]
    assert list(plane.samplers(small)) == [EXACT, MEAN, PRIOR, *able] and len(able) > 10


def test_the_published_table_is_that_of_its_data():
    record, text = json.loads((RESULTS / "plane.json").read_text()), (RESULTS / "plane.md").read_text()
    lines = [re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == list(record["rows"][0])
    assert lines[2:] == [list(row.values()) for row in record["rows"]]
    assert record["facts"]["command"] in text


def test_the_page_s_claims_hold_in_the_published_table():
    """What the prose says in words, so that a new table that no longer says it is noticed."""
    rows = {row["draws"]: row for row in json.loads((RESULTS / "plane.json").read_text())["rows"]}
    psnr, one, relative, covered = (
        {name: float(row[key]) for name, row in rows.items()}
        for key in (
            "PSNR of their mean, dB", "PSNR of one, dB", "sliced W1, relative to exact draws",
            "coverage of 95 % intervals, %",
        )
    )  # fmt: skip
    methods = [name for name in rows if name not in (EXACT, MEAN, PRIOR)]
    assert "reddiff" in methods and "tds" in methods and PAGE.exists()
    assert one[MEAN] > one[EXACT] + 3 and one["reddiff"] > one[EXACT]
    assert max(one, key=one.__getitem__) == MEAN and max(relative, key=relative.__getitem__) == MEAN
    assert max(methods, key=one.__getitem__) == "reddiff" == max(methods, key=relative.__getitem__)
    assert min(methods, key=covered.__getitem__) == "reddiff" and covered["reddiff"] < 80
    assert min(methods, key=relative.__getitem__) == "tds" and abs(psnr["tds"] - psnr["reddiff"]) < 0.3
    assert relative["reddiff"] > 3 * relative["tds"] and covered[PRIOR] > 94
    gains = {name: rows[name]["above exact draws' mean, dB"] for name in methods}
    ends = {name: [float(end) for end in re.findall(r"[+-]\d+\.\d+", text)] for name, text in gains.items()}
    assert all(ends[name][1] < 0 < ends[name][2] for name in ("tds", "reddiff")), "not told from exact draws"
    assert all(ends[name][0] < 0 for name in methods) and all(ends[name][2] < 0 for name in ("replacement", "dps"))
