"""Calibration of methods that are right, and of methods that are wrong in one way each."""

import math
from dataclasses import replace

import h5py
import pytest
import torch

import inverse
from inverse import Calibration, Solution, calibrate, solve
from inverse.app.calibration import draws
from inverse.app.calibration.quantities import DATA, DENSITY, INTENSITY, LIKELIHOOD, MEAN, RANDOM, SCORE, backprojected
from operators import Blur, Classifier, GaussianNoise, LinearMap, Masking, PhaseRetrieval
from priors import VPSDE, Gaussian, GaussianMixture, Latent
from tests.cases import normal, picture, score_prior, two_modes

PRIOR = two_modes(VPSDE(), 4)
OPERATOR = LinearMap(normal(2, 4, seed=3).float(), noise=GaussianNoise(0.5))
HOW = {"n_draws": 80, "n_samples": 19, "progress": False}
MODES = GaussianMixture(
    torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]]), 0.05 * torch.eye(3).expand(2, 3, 3), torch.tensor([0.2, 0.8]), VPSDE()
)


class Sampler:
    """Exact draws of a posterior, made wrong: spread about the mean, a shift, or another prior's posterior."""

    __name__ = "mine"

    def __init__(self, prior=PRIOR, spread: float = 1.0, shift: float = 0.0, ignores: bool = False):
        self.prior, self.spread, self.shift, self.ignores, self.calls = prior, spread, shift, ignores, 0

    def __call__(self, operator, y, n, seed):
        self.calls += 1
        if self.ignores:
            return self.prior.sample(n, seed)
        posterior = self.prior.posterior(operator, y)
        mean = posterior.mean.float()
        return mean + self.spread * (posterior.sample(n, seed) - mean) + self.shift


def failed(found: Calibration) -> set[str]:
    return {test.name for test in found.tests if not test.passed}


def test_exact_samples_pass():
    found = calibrate(PRIOR, OPERATOR, Sampler(), seed=2, **HOW)
    assert found.passed and found.method == "mine"
    assert set(found.p_values) == {
        "pixels", "projections", INTENSITY, LIKELIHOOD, DENSITY, RANDOM, DATA, MEAN, "classifier",
    }  # fmt: skip
    assert found.summary().startswith("Calibrated: mine, 80 draws, 19 samples each: all 9 tests pass")


@pytest.mark.slow
def test_exact_samples_fail_as_often_as_is_said():
    """200 calibrations at 20 %: the share that fails is at most that, within 3 standard errors, and not 0: Holm's
    method is conservative for tests that depend on each other."""
    how = HOW | {"n_draws": 40, "n_samples": 9, "false_alarm": 0.2}
    alarms = sum(not calibrate(PRIOR, OPERATOR, Sampler(), seed=seed, **how).passed for seed in range(200))
    assert 4 <= alarms <= 40 + 3 * math.sqrt(200 * 0.2 * 0.8)


@pytest.mark.parametrize(
    ("wrong", "seen", "said"),
    [
        ({"spread": 0.7}, {MEAN, LIKELIHOOD}, "samples are too narrow"),
        ({"spread": 1.4}, {MEAN, DENSITY}, "samples are too wide"),
        ({"shift": 0.3}, {INTENSITY, "classifier"}, "truths have smaller values than samples"),
    ],
)
def test_wrong_samples_are_found_and_described(wrong, seen, said):
    found = calibrate(PRIOR, OPERATOR, Sampler(**wrong), **HOW)
    assert not found.passed and seen <= failed(found)
    assert said in found.summary() and found.summary().startswith("Not calibrated")


def test_wrong_weights_of_modes_are_found():
    """The measurement sees nothing of the axis on which the modes are: their weights are .2 and .8, not a half."""
    operator = LinearMap(torch.tensor([[0.0, 1.0, 0.0]]), noise=GaussianNoise(0.1))
    equal = GaussianMixture(MODES.means, 0.05 * torch.eye(3).expand(2, 3, 3), torch.ones(2), VPSDE())
    share = {"the right mode": lambda x: (x[:, 0] > 0).float()}
    assert calibrate(MODES, operator, Sampler(MODES), statistics=share, **HOW).passed
    assert "the right mode" in failed(calibrate(MODES, operator, Sampler(equal), statistics=share, **HOW))


def test_draws_of_the_prior_pass_ranks_that_do_not_know_y_and_fail_those_that_do():
    """Truths and samples have the same law: no function of x alone can tell them apart."""
    found = calibrate(PRIOR, OPERATOR, Sampler(ignores=True), **HOW)
    assert failed(found) == {LIKELIHOOD, DATA, "classifier"}


def test_weights_of_samples_count():
    """Proposals of the posterior widened by 1.3, with importance weights and without."""

    def weighted(operator, y, n, seed):
        posterior = PRIOR.posterior(operator, y)
        mean, wide = posterior.mean, 1.3
        x = mean + wide * (posterior.sample(n, seed, dtype=torch.float64) - mean)
        log_w = posterior.log_prob(x) - posterior.log_prob(mean + (x - mean) / wide)
        return Solution(x[None].float(), log_w[None], "weighted", 0, 0, 0.0, seed)

    def unweighted(operator, y, n, seed):
        found = weighted(operator, y, n, seed)
        return replace(found, log_weights=torch.zeros_like(found.log_weights))

    how = HOW | {"n_samples": 60}
    assert calibrate(PRIOR, OPERATOR, weighted, **how).passed
    assert not calibrate(PRIOR, OPERATOR, unweighted, **how).passed


def test_truths_of_another_law_fail_though_the_posterior_is_exact():
    truths = PRIOR.sample(80, seed=5)
    assert calibrate(PRIOR, OPERATOR, Sampler(), truths=truths, **HOW).passed
    assert not calibrate(PRIOR, OPERATOR, Sampler(), truths=truths + 0.8, **HOW).passed


def test_measurements_of_another_noise_fail():
    truths = PRIOR.sample(80, seed=5)
    loud = OPERATOR.with_noise(GaussianNoise(1.0)).measure(truths, seed=1)
    assert LIKELIHOOD in failed(calibrate(PRIOR, OPERATOR, Sampler(), truths=truths, y=loud, **HOW))


def test_a_method_of_the_package_on_pictures(tmp_path):
    """MMPS in many steps is exact on a Gaussian; in three it is not. All built-in quantities of pictures are there."""
    prior = picture(VPSDE())
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:4] = True
    how = HOW | {"n_draws": 40, "n_samples": 9, "regions": {"upper": half}}
    good = calibrate(prior, operator, "mmps", **how)
    assert good.passed and {"frequencies", "region upper"} <= set(good.ranks) and good.nfe > 10
    assert not calibrate(prior, operator, "mmps", n_steps=3, **how).passed
    good.draw(tmp_path / "c.png", "pictures")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_prior_without_a_density_is_asked_for_its_score():
    prior = score_prior()
    shape = tuple(prior.event_shape)
    found = calibrate(
        prior, Masking.random(shape, 0.5, noise=GaussianNoise(0.1)), "ddrm", 3, 2, n_steps=2, progress=False
    )
    assert SCORE in found.ranks and DENSITY not in found.ranks and "classifier" in found.notes


def test_resolution_hides_what_is_finer_and_nothing_coarser():
    """A bias of .02 beside noise of .3 is nothing; one of 1 is still seen. The density is that of noised pictures."""
    prior = Gaussian(torch.zeros(4), 1e-4 * torch.eye(4), VPSDE())
    biased = {bias: Sampler(prior, shift=bias) for bias in (0.02, 1.0)}
    assert not calibrate(prior, OPERATOR, biased[0.02], **HOW).passed
    assert calibrate(prior, OPERATOR, biased[0.02], resolution=0.3, **HOW).passed
    assert DENSITY in failed(calibrate(prior, OPERATOR, biased[1.0], resolution=0.3, **HOW))


def test_a_singular_prior_is_asked_for_its_score():
    prior = Gaussian(torch.zeros(4), torch.diag(torch.tensor([1.0, 1.0, 0.5, 0.0])), VPSDE())
    found = calibrate(prior, OPERATOR, Sampler(prior), **HOW)
    assert "singular" in found.notes[DENSITY] and SCORE in found.ranks and found.passed


def test_noise_without_a_density_leaves_the_likelihood_out():
    found = calibrate(PRIOR, OPERATOR.with_noise(GaussianNoise(0.0)), Sampler(), 12, 4, progress=False)
    assert LIKELIHOOD in found.notes and LIKELIHOOD not in found.ranks and "not tested" in found.summary()


class Responsibilities(torch.nn.Module):
    n_classes = 2

    def forward(self, x, t):
        return PRIOR._log_components(x, None).log_softmax(1).float()


def test_labels_of_the_components_are_measurements_too():
    """The label is drawn from the responsibilities of x, so the posterior of a label is its component."""
    parts = [Gaussian(PRIOR.means[k], component_covariance(k), VPSDE()) for k in (0, 1)]

    def component(operator, y, n, seed):
        return parts[int(y)].sample(n, seed)

    operator = Classifier(Responsibilities())
    found = calibrate(PRIOR, operator, component, **HOW)
    assert found.passed and DATA not in found.ranks and LIKELIHOOD in found.ranks
    assert not calibrate(PRIOR, operator, Sampler(ignores=True), **HOW).passed


def component_covariance(k: int) -> torch.Tensor:
    basis = PRIOR.basis
    assert basis is not None and len(basis) == 2
    return basis[k] @ torch.diag(PRIOR.eigenvalues[k]) @ basis[k].mT


def test_a_prior_of_latents_is_tested_by_its_pictures():
    basis = normal(64, 3, seed=1).float()
    prior = Latent(Gaussian(torch.zeros(3), torch.eye(3), VPSDE()), None, lambda z: (z @ basis.mT).view(-1, 1, 8, 8))
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    found = calibrate(prior, operator, "dps", 12, 4, n_steps=3, progress=False)
    assert found.ranks["pixels"].shape == (12, 64) and not {DENSITY, SCORE} & set(found.ranks)


def test_few_draws_hide_errors():
    few, many = (calibrate(PRIOR, OPERATOR, Sampler(), n, 3, progress=False).unseen for n in (20, 80))
    assert 0.25 < few < 0.35 and few / 2.2 < many < few / 1.8  # as one over the root of their number


def test_finished_solves_are_kept_and_more_draws_need_only_more(tmp_path, monkeypatch):
    how = {"prior": PRIOR, "operator": OPERATOR, "method": "ddrm", "n_samples": 3, "n_steps": 2, "progress": False}
    first = calibrate(n_draws=12, work=tmp_path, **how)
    plain = calibrate(n_draws=12, **how)
    torch.testing.assert_close(first.ranks, plain.ranks)  # a folder changes nothing
    monkeypatch.setattr("inverse.app.batch.job.solve_there", None)
    again = calibrate(n_draws=12, work=tmp_path, statistics={"first": lambda x: x[:, 0]}, **how)
    torch.testing.assert_close(again.ranks[LIKELIHOOD], first.ranks[LIKELIHOOD])
    assert "first" in again.ranks
    monkeypatch.undo()
    with pytest.raises(ValueError, match="another problem"):
        calibrate(n_draws=12, work=tmp_path, **(how | {"n_steps": 3}))
    other = calibrate(n_draws=12, work=tmp_path, overwrite=True, **(how | {"n_steps": 3}))
    assert not torch.equal(other.ranks[LIKELIHOOD], first.ranks[LIKELIHOOD])


def test_a_function_that_is_killed_goes_on(tmp_path):
    class Killed(Sampler):
        def __call__(self, *given):
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().__call__(*given)

    with pytest.raises(KeyboardInterrupt):
        calibrate(PRIOR, OPERATOR, Killed(), 12, 3, work=tmp_path, progress=False)
    sampler = Sampler()
    found = calibrate(PRIOR, OPERATOR, sampler, 12, 3, work=tmp_path, progress=False)
    assert sampler.calls == 7
    torch.testing.assert_close(found.ranks, calibrate(PRIOR, OPERATOR, Sampler(), 12, 3, progress=False).ranks)


def test_drawn_truths_of_a_network_are_kept(tmp_path, monkeypatch):
    prior, calls = score_prior(), []
    monkeypatch.setattr(draws, "sample", lambda prior, n, *a, **k: calls.append(n) or torch.rand(n, *prior.event_shape))
    how = {"n_samples": 2, "n_steps": 2, "progress": False, "work": tmp_path}
    operator = Masking.random(tuple(prior.event_shape), 0.5, noise=GaussianNoise(0.1))
    one = calibrate(prior, operator, "ddrm", 4, **how)
    two = calibrate(prior, operator, "ddrm", 3, **how)  # the first three of the four
    assert calls == [4]
    torch.testing.assert_close(two.ranks[LIKELIHOOD], one.ranks[LIKELIHOOD][:3])


def test_it_is_saved_and_read_and_damage_is_seen(tmp_path):
    found = calibrate(PRIOR, OPERATOR, Sampler(), 12, 5, statistics={"a/b": lambda x: x[:, 1]}, progress=False)
    found.save(tmp_path / "c.h5")
    read = Calibration.load(tmp_path / "c.h5")
    assert read.summary() == found.summary() and read.p_values == found.p_values
    torch.testing.assert_close(read.ranks, found.ranks)
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file["ranks-0000"][0, 0] = 0.5
    with pytest.raises(ValueError, match="calibrate again"):
        Calibration.load(tmp_path / "c.h5")
    with pytest.raises(ValueError, match="HDF5"):
        found.save(tmp_path / "c.npz")


def test_coverage_of_a_quantity_has_an_interval():
    found = calibrate(PRIOR, OPERATOR, Sampler(), seed=1, **HOW)
    covered, low, high = found.coverage(INTENSITY, 0.5)
    inside = ((found.ranks[INTENSITY] - 0.5).abs() <= 0.25).double().mean().item()
    assert covered == inside and low < covered < high and low < 0.5 < high
    with pytest.raises(ValueError, match="expected one of"):
        found.coverage("brightness")


@pytest.mark.parametrize(
    "operator",
    [
        Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.01)),
        Blur.gaussian(0.6, noise=GaussianNoise(0.01)),
        PhaseRetrieval(2.0, noise=GaussianNoise(0.01)),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_a_point_made_of_y_explains_it_better_than_where_it_started(operator):
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y, middle = operator.measure(x, seed=0), torch.full((1, 8, 8), 0.5)
    point = backprojected(operator, y, middle)
    assert point is not None
    before, after = ((operator(m[None]) - y).flatten().norm() for m in (middle, point))
    assert after < (0.3 if isinstance(operator, Masking) else 0.95) * before


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"method": 3}, "expected a name"),
        ({"method": lambda operator, y, n, seed: torch.zeros(n, 9)}, "expected samples"),
        ({"n_draws": 1}, "n_draws"),
        ({"false_alarm": 0.0}, "false_alarm"),
        ({"resolution": -1.0}, "resolution"),
        ({"processes": 2}, "work="),
        ({"truths": torch.zeros(3, 5)}, "truths"),
        ({"y": torch.zeros(3, 2)}, "truths"),
        ({"truths": torch.zeros(3, 4), "y": torch.zeros(2, 2)}, "one of each"),
        ({"statistics": {"pixels": lambda x: x[:, 0]}}, "taken"),
        ({"statistics": {"mine": 3}}, "function"),
        ({"statistics": {"mine": lambda x: x}}, "returned"),
        ({"regions": {"all": torch.ones(4)}}, "bool"),
        ({"regions": {"all": torch.ones(3, dtype=torch.bool)}}, "broadcasts"),
        ({"regions": {"none": torch.zeros(4, dtype=torch.bool)}}, "empty"),
        ({"prior": 3}, "priors.Prior"),
        ({"operator": 3}, "operators.Operator"),
    ],
)
def test_bad_arguments_are_refused(changed, word):
    given = {"prior": PRIOR, "operator": OPERATOR, "method": Sampler(), "n_draws": 3, "n_samples": 4, "progress": False}
    with pytest.raises((ValueError, TypeError), match=word):
        calibrate(**(given | changed))


def test_a_function_without_a_name_is_not_kept(tmp_path):
    """Two lambdas would share the solves of the first."""
    with pytest.raises(ValueError, match="define it with def"):
        calibrate(PRIOR, OPERATOR, lambda op, y, n, seed: torch.zeros(n, 4), 3, 4, work=tmp_path, progress=False)


def test_a_solution_of_another_shape_is_refused():
    def few(op, y, n, seed):
        return solve(PRIOR, op, y, n - 1, "mmps", 2, progress=False)

    with pytest.raises(ValueError, match="in a Solution: expected"):
        calibrate(PRIOR, OPERATOR, few, 3, 4, progress=False)


def test_it_is_public():
    assert {"calibrate", "Calibration", "CalibrationTest"} <= set(inverse.__all__)
