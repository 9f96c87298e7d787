"""Results that are kept in files, tests of methods and learned priors, from a pretend device."""

import importlib

import pytest
import torch

import inverse
import operators
import priors
from inverse import BatchResults, Calibration, Conformal, KernelPrior, Solution
from inverse.solve.unknown.blind import Length
from inverse.solve.unknown.inference import Effort
from operators import GaussianNoise, LinearMap, Masking
from priors import VESDE, Gaussian
from tests.inverse.app.test_learning import RECIPE
from tests.inverse.test_solve import problem
from tests.pretend import DEVICE, Pretend, pretended
from tests.priors.cases import score_prior
from tests.test_pretend import FEW, compare, there

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = (1, 4, 4)
PRIOR = Gaussian(torch.full((16,), 0.5), 0.04 * torch.eye(16) + 0.01, VESDE(), event_shape=SHAPE)
OPERATOR = Masking(torch.tensor([1.0, 0.0]).repeat(8).view(SHAPE), GaussianNoise(0.1))


def test_a_batch_is_read_as_one_from_the_cpu(tmp_path):
    prior, operator, y = problem("mmps")
    how = FEW | {"method": "mmps", "keep_samples": True, "block": 1}
    expected = inverse.solve_batch(prior, operator, y, tmp_path / "cpu.h5", **how)
    with pretended():
        inverse.solve_batch(there(prior), operator, y, tmp_path / "there.h5", **how)
        found = BatchResults(tmp_path / "there.h5")
        for name in ("mean", "std", "quantiles", "ess", "samples"):
            torch.testing.assert_close(getattr(found, name)[:], getattr(expected, name)[:], rtol=2e-3, atol=2e-3)
        assert found.calibrated == expected.calibrated and found.seconds > 0 and found.failures == {}
        assert found.cautions == expected.cautions and found.status.tolist() == expected.status.tolist()
        one = found.solution(found.number(-1))
        assert type(one.samples) is torch.Tensor and torch.equal(found.read("mean", [1]), found.mean[1:2])


def test_a_solution_is_read_again_and_cites(tmp_path):
    prior, operator, y = problem("mmps")
    with pretended():
        found = inverse.solve(there(prior), there(operator), there(y), method="mmps", **FEW)
        found.save(tmp_path / "s.h5", facts={"title": "of a device"})
        again = Solution.load(tmp_path / "s.h5")
        assert Solution.fact(tmp_path / "s.h5", "title") == "of a device" and "Rozet" in found.cite()
        assert torch.equal(again.samples, found.samples.cpu())


@pytest.mark.filterwarnings("ignore")
def test_calibration_and_conformal_intervals_are_kept(tmp_path):
    how = {"n_samples": 4, "n_steps": 3, "method": "ddrm", "progress": False}
    expected = inverse.calibrate(PRIOR, OPERATOR, n_draws=4, **how)
    truths = PRIOR.sample(4, seed=1)
    with pretended():
        found = inverse.calibrate(there(PRIOR), there(OPERATOR), n_draws=4, **how)
        for name, ranks in expected.ranks.items():  # ties of rounding aside
            assert (found.ranks[name] - ranks).abs().max() <= 0.26, name
        assert len(found.tests) == len(expected.tests) and found.passed == all(t.passed for t in found.tests)
        assert found.unseen == expected.unseen and found.coverage(next(iter(ranks_of(found))))[0] <= 1
        assert "tests" in found.summary()
        found.draw(tmp_path / "c.png")
        found.save(tmp_path / "c.h5")
        again = Calibration.load(tmp_path / "c.h5")
        assert again.p_values == found.p_values
        conformed = inverse.conformal(there(PRIOR), there(OPERATOR), there(truths), 0.5, **how)
        conformed.save(tmp_path / "f.h5")
        solved = inverse.solve(there(PRIOR), there(OPERATOR), there(OPERATOR.measure(truths)), 4, "ddrm", 3)
        ends = Conformal.load(tmp_path / "f.h5").interval(solved), conformed.interval(solved)
        assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(*ends, strict=True))
    own = inverse.conformal(PRIOR, OPERATOR, truths, 0.5, **how)
    solved = inverse.solve(PRIOR, OPERATOR, OPERATOR.measure(truths), 4, "ddrm", 3, progress=False)
    for a, b in zip(ends[1], own.interval(solved), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=5e-3, atol=5e-3)


def ranks_of(found: Calibration) -> list[str]:
    return [name for name, ranks in found.ranks.items() if ranks.numel()]


def test_comparisons():
    y = OPERATOR.measure(PRIOR.sample(1, seed=0), seed=0)
    few = {"n_samples": 4, "levels": 2, "method": "mmps", "n_steps": 3}
    others = {"stated": OPERATOR, "noisier": OPERATOR.with_noise(GaussianNoise(0.4))}
    expected = inverse.compare(PRIOR, others, y, **few)
    with pretended():
        found = inverse.compare(there(PRIOR), {n: there(o) for n, o in others.items()}, there(y), **few)
        assert found.best == expected.best
        torch.testing.assert_close(found.std.cpu(), expected.std, rtol=2e-2, atol=2e-2)
    kernel = torch.tensor([[0.5, 0.3, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.0]])
    blur, prior = operators.Blur(kernel, noise=GaussianNoise(0.05)), score_prior()
    y = blur.measure(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), seed=0)
    expected = inverse.compare_variants(prior, blur, y)
    with pretended():
        assert list(operators.variants(there(blur))) == list(expected)
        found = inverse.compare_variants(there(prior), there(blur), there(y))
    assert found == pytest.approx(expected, rel=2e-2, abs=2e-2)


def test_unknown_parameters_and_kernels(monkeypatch):
    """Of a few steps each: what is computed where, not how well."""
    monkeypatch.setattr(importlib.import_module("inverse.solve.unknown.joint"), "FORMULA", Effort(4, 3, 0.15))
    monkeypatch.setattr(importlib.import_module("inverse.solve.unknown.blind"), "FORMULA", Length(3, 1, 2))
    shape = (1, 6, 6)
    prior = Gaussian(torch.full((36,), 0.5), 0.04 * torch.eye(36), VESDE(), event_shape=shape)
    blur = operators.Blur(KernelPrior((1, 3)).start().float(), noise=GaussianNoise(0.1))
    y = blur.measure(prior.sample(1, seed=0).float(), seed=0)
    with pretended():
        kernel = KernelPrior((1, 3)).start()  # in double precision, on the CPU
        assert float(kernel.sum()) == pytest.approx(1.0)
        for unknown in ({"sigma": (0.03, 0.4)}, {"kernel": KernelPrior((1, 3))}):
            found = inverse.solve(there(prior), there(blur), there(y), 2, "mmps", 3, progress=False, unknown=unknown)
            assert isinstance(found.samples, Pretend) and bool(found.samples.isfinite().all())


def test_learned_priors(tmp_path):
    masks = torch.stack([Masking.random(SHAPE, 0.6, seed=k).mask for k in range(24)])
    operator = Masking(masks, GaussianNoise(0.1))
    y = operator.measure(PRIOR.sample(24, seed=0).float(), seed=0)
    expected = inverse.learn_gaussian(operator, y, VESDE(), SHAPE, 3)
    how = {"n_steps": 2, "method": "mmps", "progress": False, "rounds": 1, "event_shape": SHAPE}
    network = inverse.learn_prior(RECIPE, operator, y, tmp_path / "cpu", **how)
    with pretended():
        found = inverse.learn_gaussian(there(operator), there(y), VESDE(), SHAPE, 3)
        torch.testing.assert_close(found.covariance.cpu().float(), expected.covariance.float(), rtol=1e-3, atol=1e-4)
        trained = inverse.learn_prior(RECIPE, there(operator), there(y), tmp_path / "there", **how)
        for a, b in zip(trained.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(a.detach().cpu(), b.detach(), rtol=1e-3, atol=1e-3)


def test_linear_maps_of_matrices_keep_their_place():
    matrix = LinearMap(torch.rand(3, 16), GaussianNoise(0.1), SHAPE)
    compare(lambda op, x: op.gram_preconditioner(op(x), torch.tensor(0.5))(op(x)), matrix, torch.rand(2, *SHAPE))
    with pretended():
        assert priors.load("natural-grey").resized((1, 16, 16)).to(DEVICE).least_size == 9
