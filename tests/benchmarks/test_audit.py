"""The audit: each method agrees with its paper's algorithm, and the comparison would see if it did not."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks.audit.audit import AGREE, Components, changed, compared, ours, run_audit, theirs
from benchmarks.audit.compare import Moments, difference, error
from benchmarks.audit.entries import CASES
from benchmarks.audit.gradients import gaussian_gain
from benchmarks.audit.problem import D, smooth, steps
from inverse import METHODS
from inverse.guidance import WienerMatching
from tests.cases import F64, normal

PRINTED = [(name, case) for name, cases in CASES.items() for case in cases[:-1]]


def test_every_method_is_audited():
    assert list(CASES) and set(CASES) == set(METHODS), "give a new method a reference in benchmarks/audit/entries.py"


@pytest.mark.parametrize("t", [0.1, 0.35, 0.6])
def test_the_step_of_a_gaussian_covariance_is_the_reference_s(t):
    """Row by row and not only in distribution: samples hardly tell C_s from the mixture's own Cov[x0 | x_t]."""
    p = smooth("vp")
    x = p.alpha(t) * p.prior.sample(5, seed=1, dtype=F64) + p.sigma(t) * normal(5, D)
    d, own = p.moments(x, t)
    operator, y = p.measured()
    found = WienerMatching().posterior(p.prior, operator, y.expand(5, -1)).denoise(x, torch.tensor(t, dtype=F64))
    residual = p.y - d @ p.matrix.mT
    torch.testing.assert_close(found, d + residual @ gaussian_gain(p, t), rtol=1e-3, atol=1e-4)
    gram = p.matrix @ own @ p.matrix.mT + p.sigma_y**2 * torch.eye(len(p.y), dtype=F64)
    other = d + (own @ p.matrix.mT @ torch.linalg.solve(gram, residual)[:, :, None])[:, :, 0]
    assert float((found - other).abs().max()) > 0.01


@pytest.mark.parametrize("name", CASES)
def test_it_agrees_with_its_paper(name):
    """Within 4.5 standard errors along every axis, and the same figure with another setting is outside."""
    case = CASES[name][-1]
    assert compared(case).largest < AGREE
    assert changed(case, (1 if case.other is None else 2) * case.sets).largest > AGREE


@pytest.mark.parametrize(("name", "case"), PRINTED, ids=[name for name, _ in PRINTED])
def test_what_differs_as_printed_is_explained(name, case):
    assert len(case.differs) > 60 and len(CASES[name]) == 2 and case.source != CASES[name][-1].source


def test_the_problem_s_closed_forms_are_those_of_the_prior():
    """Denoiser, score and curves of the audit, written apart from ours; the covariance by differences."""
    for kind in ("vp", "ve"):
        p = smooth(kind)
        assert p.prior.variance == pytest.approx(1.0, rel=1e-6)
        for t in (0.03, 0.4, 0.9):
            u = torch.tensor(t, dtype=F64)
            assert p.alpha(t) == pytest.approx(float(p.sde.alpha(u))) and p.sigma(t) == pytest.approx(
                float(p.sde.sigma(u))
            )
            x = p.alpha(t) * p.prior.sample(5, seed=1, dtype=F64) + p.sigma(t) * normal(5, D)
            torch.testing.assert_close(p.denoise(x, t), p.prior.denoise(x, u), rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(p.score(x, t), p.prior.score(x, u), rtol=1e-5, atol=1e-5)
            mean, covariance = p.moments(x, t)
            small = 1e-4 * p.sigma(t) * torch.eye(D, dtype=F64)
            slope = torch.stack([p.denoise(x + e, t) - p.denoise(x - e, t) for e in small], 2) / (2e-4 * p.sigma(t))
            torch.testing.assert_close(covariance * p.alpha(t) / p.sigma(t) ** 2, slope, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(mean, p.denoise(x, t))
    assert p.time(p.sigma(0.3)) == pytest.approx(0.3)


def test_an_ancestral_step_has_the_moments_of_its_bridge():
    """x_s = alpha_s x0 + sigma_s z comes out of a step from x_t given x0 itself, for both kinds."""
    for kind in ("vp", "ve"):
        p, n = smooth(kind), 20_000
        x0, (t, s) = torch.ones(n, D, dtype=F64), (0.6, 0.35)
        x = p.ancestral(p.alpha(t) * x0 + p.sigma(t) * p.z(n, D), x0, t, s)
        assert float(x.mean()) == pytest.approx(p.alpha(s), abs=5 * p.sigma(s) / (n * D) ** 0.5)
        assert float(x.std()) == pytest.approx(p.sigma(s), rel=0.01)
        assert torch.equal(p.ancestral(x, x0, s, 0.0), x0)
    assert steps([1.0, 0.5]) == [(1.0, 0.5), (0.5, 0.0)]


def test_components_are_those_of_the_posterior():
    """Averaged over p_t, the probability of a component is its weight."""
    p = smooth("vp")
    operator, t = Components(p), torch.tensor(0.3)
    x = p.alpha(0.3) * p.prior.sample(4000, seed=2, dtype=F64) + p.sigma(0.3) * normal(4000, D)
    for k in range(3):
        found = operator.noisy_log_likelihood(torch.full((4000,), k), x, t).exp()
        assert float(found.mean()) == pytest.approx(float(p.weights[k]), abs=4 * float(found.std()) / 4000**0.5)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.25, 1.0), (0.0, 1.25)])
def test_the_difference_of_two_known_laws(shift, scale):
    """Means .25 apart along each axis, spreads of ratio 1.25, in units of a covariance that is not diagonal."""
    p = smooth("vp")
    mean, covariance = p.means[0], p.covariances[0]
    root = torch.linalg.cholesky(covariance)
    values, axes = torch.linalg.eigh(covariance)
    a = mean + scale * normal(50, 40, D, seed=1) @ root.mT + shift * (axes * values.sqrt()).sum(1)
    b = mean + normal(50, 40, D, seed=2) @ root.mT
    found = difference(a, b, mean, covariance)
    assert found.chance == pytest.approx((2 / 2000) ** 0.5 * ((1 + scale**2) / 2) ** 0.5, rel=0.1)
    assert found.spreads_error == pytest.approx((1 / 2000 / D) ** 0.5, rel=0.3)
    assert found.means == pytest.approx((shift**2 + found.chance**2) ** 0.5, rel=0.25)
    assert found.spreads == pytest.approx(scale, rel=0.02)
    assert (found.largest > AGREE) == (shift > 0 or scale > 1)
    assert found.off[0] == pytest.approx((found.means, scale), abs=0.04)


def test_axes_that_a_measurement_fixes_are_left_out():
    p = smooth("vp", 0.0, mask=True)
    exact = p.prior.posterior(*p.measured())
    x = exact.sample(400, seed=1).double().view(20, 20, D)
    assert difference(x, exact.sample(400, seed=2).double().view(20, 20, D), exact.mean, exact.covariance).largest < 5


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = normal(30, 7, 3, seed=5)
    means = x.mean(1)
    torch.testing.assert_close(error(Moments.of(x).mean_without), means.std(0) / 30**0.5)


def test_runs_are_reproducible_and_apart():
    case = CASES["ddrm"][0]
    first, again, other = (ours(case, case.method, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(theirs(case, 4, 1), theirs(case, 4, 1))


def test_the_command_writes_a_row_per_comparison(tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, "ddrm", (SimpleNamespace(**{**vars(CASES["ddrm"][0]), "sets": 4}),))
    run_audit(["ddrm"], 1, tmp_path)
    text = (tmp_path / "audit.md").read_text()
    assert "| ddrm | Kawar, Elad, Ermon, Song | equations 4, 7, 8 |" in text and "1 methods, 1 comparisons" in text
    monkeypatch.setitem(CASES, "ddnm", (SimpleNamespace(**{**vars(CASES["ddnm"][0]), "sets": 4}),))
    run_audit(["ddnm"], 1, tmp_path)
    both = json.loads((tmp_path / "audit.json").read_text())["rows"]
    assert [row["method"] for row in both] == ["ddrm", "ddnm"], "the other row stays"
    with pytest.raises(ValueError, match=r"dddrm.*expected some of pc, predictor"):
        run_audit(["dddrm"], 1, tmp_path)
