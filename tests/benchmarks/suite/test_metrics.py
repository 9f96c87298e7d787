"""Every metric against a closed form or brute force, and one visit to all that are registered."""

import math

import numpy as np
import pytest
import torch

from benchmarks.suite import metrics, perceptual
from benchmarks.suite.metrics import METRICS, Judged, Missing, histogram, measure, metric
from benchmarks.suite.records import Scale
from benchmarks.suite.scores import crps, detail, interval_width, label_agreement
from inverse.quality import psnr
from inverse.quality.ranks import ranks
from operators import Classifier, GaussianNoise, Masking

SHAPE = (1, 9, 9)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal(samples):
    return torch.full(samples.shape[:2], 1 / samples.shape[1], dtype=torch.float64)


def judged(k: int | None = 5, log_weights=None, n: int = 3, **changes) -> Judged:
    """Pictures of noise in which truth and samples are draws of one law."""
    truth = (0.5 + 0.15 * normal(n, *SHAPE)).float()
    operator = Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.1))
    samples = None if k is None else (0.5 + 0.15 * normal(n, k, *SHAPE, seed=1)).float()
    mean = truth.new_full(truth.shape, 0.5) if samples is None else samples.mean(1)
    return Judged(truth, operator.measure(truth, seed=2), operator, mean, samples, log_weights, **changes)


class Judge(torch.nn.Module):
    """Class 1 where a picture is bright."""

    n_classes = 2

    def forward(self, x, t):
        return torch.stack([x.new_full((len(x),), 0.5), x.flatten(1).mean(1)], 1)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_a_number_per_image_of_what_it_is_for(name):
    x, labels = judged(), torch.tensor([0, 1, 1])
    labelled = Judged(x.truth, labels, Classifier(Judge()), x.mean, x.samples, judge=Judge())  # type: ignore[arg-type]
    cases = {
        "posterior": judged(),
        "weighed": judged(log_weights=normal(3, 5)),
        "estimate": judged(None),
        "label": labelled,
    }
    given = {}
    for case, answer in cases.items():
        found, scales, missing = measure(answer)
        assert set(found) | set(missing) == set(scales) and not set(found) & set(missing)
        if name in missing:
            assert len(missing[name]) > 20, "a reason, not a word"
        given[case] = name in found or name in missing
        if name in found:
            assert found[name].shape == (3,) and found[name].dtype == np.float64 and np.isfinite(found[name]).all()
    assert any(given.values()) and METRICS[name].scale.title
    assert name.isidentifier() and METRICS[name].scale == measure(cases["posterior"])[1].get(name, METRICS[name].scale)


def test_psnr_and_chi2_are_those_of_the_mean_and_of_the_first_sample():
    answer = judged()
    found, _, _ = measure(answer)
    assert answer.samples is not None
    np.testing.assert_allclose(found["psnr_mean"], psnr(answer.mean, answer.truth).numpy())
    np.testing.assert_allclose(found["psnr_sample"], psnr(answer.samples[:, 0], answer.truth).numpy())
    seen = answer.operator.support[0].expand(SHAPE)
    expected = ((answer.y - answer.samples[:, 0])[:, seen] / 0.1).square().mean(1)
    np.testing.assert_allclose(found["chi2"], expected.numpy(), rtol=1e-5)


def test_one_sample_is_drawn_by_its_weight_and_not_by_the_truth():
    n, k = 1000, 3
    weights = torch.tensor([0.2, 0.5, 0.3]).log().expand(n, k)
    samples = torch.arange(k).view(1, k, 1).expand(n, k, 1).float()
    answer = Judged(torch.zeros(n, 1), torch.zeros(n, 1), Masking([1]), samples.mean(1), samples, weights)
    shares = answer.one.flatten().long().bincount(minlength=k) / n
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.5, 0.3]), atol=4 * 0.5 / math.sqrt(n), rtol=0)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_crps_is_that_of_a_gaussian_whatever_the_number_of_samples(k):
    """E CRPS(N(m, s), x0) = s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (x0 - m) / s (Gneiting & Raftery)."""
    n, m, s = 4000, 0.3, 0.7
    truth = normal(n, 10)
    samples = m + s * normal(n, k, 10, seed=1)
    law = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    z = (truth - m) / s
    exact = s * (z * (2 * law.cdf(z) - 1) + 2 * law.log_prob(z).exp() - 1 / math.sqrt(math.pi))
    difference = crps(truth, samples, equal(samples)) - exact.mean(1)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(n)


def test_crps_of_weighted_samples_is_that_of_repeated_ones_but_for_fairness():
    truth, x = normal(2, 6), normal(2, 3, 6, seed=1)
    w = torch.tensor([0.5, 0.3, 0.2]).double().expand(2, 3)
    pairs = (w[:, :, None, None] * w[:, None, :, None] * (x[:, :, None] - x[:, None]).abs()).sum((1, 2))
    error = (w[:, :, None] * (x - truth[:, None]).abs()).sum(1)
    expected = (error - 0.5 * pairs / (1 - 0.38)).mean(1)  # sum of squares: .25 + .09 + .04
    torch.testing.assert_close(crps(truth, x, w), expected)


@pytest.mark.parametrize(("name", "level"), [("coverage80", 0.8), ("coverage95", 0.95)])
@pytest.mark.parametrize("k", [3, 8])
def test_exact_draws_cover_as_told(name, level, k):
    answer = judged(k, n=200)
    covered = torch.from_numpy(measure(answer)[0][name])
    assert abs(covered.mean() - level) < 4 * covered.std() / math.sqrt(len(covered))
    assert METRICS[name].scale.better == level


def test_samples_without_spread_do_not_cover_and_noise_of_the_resolution_hides_what_is_finer():
    answer = judged(8, n=20)
    assert answer.samples is not None
    narrow = 0.5 + 0.01 * (answer.samples - 0.5)
    rough = [
        measure(Judged(answer.truth, answer.y, answer.operator, answer.mean, narrow, resolution=r))[0]
        for r in (0.0, 5.0)
    ]
    assert rough[0]["coverage80"].mean() < 0.2
    assert rough[1]["coverage80"].mean() == pytest.approx(0.8, abs=0.03)


def test_interval_width_is_between_the_quantiles():
    samples = normal(2, 400, 30)
    width = interval_width(samples, equal(samples))
    torch.testing.assert_close(width, torch.full((2,), 2 * 1.96).double(), atol=0.12, rtol=0)
    few = samples[:, :5]
    torch.testing.assert_close(interval_width(few, equal(few)), (few.amax(1) - few.amin(1)).mean(1))
    one = torch.zeros(2, 5).double()
    one[:, 3] = 1  # all weight on one sample
    assert interval_width(few, one).max() == 0


def test_detail_is_a_ratio_of_energies():
    truth = normal(2, 1, 6, 6).mul(0.1).add(0.5)
    energies = [sum(float((np.diff(x[0], axis=a) ** 2).sum()) for a in (0, 1)) for x in truth.numpy()]
    flat = 0.5 + 0.5 * (truth - 0.5)
    torch.testing.assert_close(detail(flat, truth), torch.full((2,), 0.25).double())
    assert energies[0] > 0 and detail(truth, truth).tolist() == pytest.approx([1, 1])
    assert detail(truth, torch.full_like(truth, 0.5)).isnan().all()


def test_label_agreement_counts_by_weight():
    samples = torch.tensor([0.9, 0.9, 0.1]).view(1, 3, 1, 1, 1).expand(2, 3, 1, 2, 2)
    weights = torch.tensor([[0.5, 0.25, 0.25]]).expand(2, 3)
    found = label_agreement(Judge(), samples, weights, torch.tensor([1, 0]))
    assert found.tolist() == [0.75, 0.25]


def test_a_histogram_counts_every_coordinate_once():
    truth, samples = normal(3, 40), normal(3, 4, 40, seed=1)
    found = ranks(truth, samples)
    held = histogram(found)
    assert held.shape == (3, metrics.BINS) and held.sum(1) == pytest.approx([40] * 3)
    five = histogram(found, bins=5)  # as many bins as ranks: each cell is a bin
    below = (samples < truth[:, None]).sum(1)
    assert five[0] == pytest.approx(below[0].bincount(minlength=5).double().numpy())


def test_lpips_says_why_it_is_missing_and_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("it downloads"))
    with pytest.raises(Missing, match="nothing is downloaded"):
        perceptual.lpips(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    assert "lpips_sample" in measure(judged())[2]


def test_lpips_is_the_packages_own_where_the_weights_are(tmp_path, monkeypatch):
    from torchvision.models import alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = alexnet(weights=None)
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / "alexnet-owt-00000000.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = perceptual.lpips(x, x.flip(0))
    network = perceptual._network(tmp_path / "checkpoints" / "alexnet-owt-00000000.pth")
    held = dict(theirs.state_dict())
    for name, value in network.net.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, held[f"features.{name.split('.', 1)[1]}"])
    assert torch.equal(found, network(2 * x - 1, 2 * x.flip(0) - 1).flatten().detach())
    assert perceptual.lpips(x, x).abs().max() < 1e-6 < found.min()
    assert perceptual.lpips(x[:, :1, :28, :28], x[:, :1, :28, :28]).shape == (2,)


def test_names_and_results_are_checked(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", dict(METRICS))
    with pytest.raises(ValueError, match="expected letters"):
        metric("psnr/mean", Scale("x"))
    with pytest.raises(ValueError, match=r"that of benchmarks\.suite\.scores\._crps"):
        metric("crps", Scale("x"))(lambda answer: None)
    metric("wrong", Scale("x"))(lambda answer: torch.zeros(7))
    with pytest.raises(ValueError, match=r"metric 'wrong' gave \(7,\): expected \(3,\)"):
        measure(judged())
