"""Solution: statistics against brute force, and a file that is whole or not there."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch

from inverse import Solution
from tests.cases import normal

SAMPLES = normal(2, 10, 1, 3, 2, seed=0).float()
WEIGHTS = {
    "equal": torch.zeros(2, 10),
    "unequal": normal(2, 10, seed=1).float(),
    "shifted": normal(2, 10).float() - 500,
}


def solution(samples=SAMPLES, log_weights=WEIGHTS["equal"], **fields) -> Solution:
    fields = {
        "method": "mmps",
        "nfe": 7,
        "nvjp": 35,
        "seconds": 0.25,
        "seed": 3,
        "citation": "Rozet et al. 2024",
    } | fields
    return Solution(samples, log_weights, **fields)


@pytest.fixture(params=WEIGHTS)
def weighted(request):
    log_w = WEIGHTS[request.param]
    w = np.exp(log_w.double().numpy() - log_w.double().numpy().max(1, keepdims=True))
    return solution(log_weights=log_w), w / w.sum(1, keepdims=True), SAMPLES.double().numpy()


def test_mean_and_std(weighted):
    s, w, x = weighted
    for b in range(2):
        mean = np.average(x[b], axis=0, weights=w[b])
        variance = np.average((x[b] - mean) ** 2, axis=0, weights=w[b]) / (1 - (w[b] ** 2).sum())
        np.testing.assert_allclose(s.mean[b], mean, atol=1e-6)
        np.testing.assert_allclose(s.std[b], variance**0.5, atol=1e-6)


def test_equal_weights_are_the_plain_statistics():
    s = solution()
    torch.testing.assert_close(s.mean, SAMPLES.mean(1))
    torch.testing.assert_close(s.std, SAMPLES.std(1))
    torch.testing.assert_close(s.ess, torch.full((2,), 10.0, dtype=torch.float64))


def test_ess(weighted):
    s, w, _ = weighted
    np.testing.assert_allclose(s.ess, 1 / (w**2).sum(1), rtol=1e-5)


def test_one_sample_that_has_all_the_weight():
    log_w = torch.full((2, 10), -torch.inf)
    log_w[:, 4] = 0
    s = solution(log_weights=log_w)
    torch.testing.assert_close(s.ess, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(s.mean, SAMPLES[:, 4])
    torch.testing.assert_close(s.quantiles([0.01, 0.5, 1.0]), SAMPLES[:, 4].expand(3, *s.mean.shape))


PROBABILITIES = [0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.95, 1.0]


def test_quantiles(weighted):
    """The least sample whose cumulated weight reaches q, found by walking through the sorted samples."""
    s, w, x = weighted
    found = s.quantiles(PROBABILITIES)
    assert found.shape == (len(PROBABILITIES), 2, 1, 3, 2)
    for i, q in enumerate(PROBABILITIES):
        for b, *where in np.ndindex(2, 1, 3, 2):
            pairs = sorted((x[(b, k, *where)], w[b, k]) for k in range(10))
            total, expected = 0.0, pairs[-1][0]
            for value, weight in pairs:
                total += weight
                if total >= q - 1e-9:
                    expected = value
                    break
            assert found[(i, b, *where)].item() == pytest.approx(expected), (q, b, where)


def test_one_probability_gives_no_axis():
    s = solution()
    torch.testing.assert_close(s.quantiles(0.5), s.quantiles([0.5])[0])
    torch.testing.assert_close(s.quantiles(torch.tensor(0.5)), s.quantiles(0.5))
    assert s.quantiles(torch.tensor([0.1, 0.9])).shape == (2, 2, 1, 3, 2)


@pytest.mark.parametrize("q", [-0.1, 1.1, [0.5, 2.0], float("nan")])
def test_quantiles_are_of_probabilities(q):
    with pytest.raises(ValueError, match=r"(probabilities|number) in \[0, 1\]"):
        solution().quantiles(q)


def test_one_sample_has_no_spread():
    with pytest.raises(ValueError, match="n_samples >= 2"):
        _ = solution(SAMPLES[:, :1], torch.zeros(2, 1)).std


@pytest.mark.parametrize("log_weights", WEIGHTS.values(), ids=WEIGHTS)
def test_a_file_says_what_was_saved(tmp_path, log_weights):
    saved = solution(log_weights=log_weights)
    saved.save(tmp_path / "new" / "run.h5")
    loaded = Solution.load(tmp_path / "new" / "run.h5")
    for field in dataclasses.fields(Solution):
        a, b = getattr(saved, field.name), getattr(loaded, field.name)
        assert type(a) is type(b)
        assert torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b
    assert loaded.cite() == "Rozet et al. 2024"


def test_a_file_keeps_the_evidence(tmp_path):
    """Of a method that estimates it; the file of one that does not says nothing."""
    evidence = torch.tensor([-3.25, 1e-9], dtype=torch.float64)
    for name, saved in (("with", solution(log_evidence=evidence)), ("without", solution())):
        saved.save(tmp_path / name)
    assert torch.equal(Solution.load(tmp_path / "with").log_evidence, evidence)
    assert Solution.load(tmp_path / "without").log_evidence is None
    with h5py.File(tmp_path / "with") as file, h5py.File(tmp_path / "without") as other:
        assert set(file) - set(other) == {"log_evidence"}


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path, part):
    solution().save(tmp_path / "run.h5")
    whole = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "run.h5").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"run\.h5 is not a readable solution, or is truncated.*solve again"):
        Solution.load(tmp_path / "run.h5")


@pytest.mark.parametrize("name", ["samples", "log_weights", "method", "nfe"])
def test_a_foreign_file(tmp_path, name):
    solution().save(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "a") as file:
        del (file if name in file else file.attrs)[name]
    with pytest.raises(ValueError, match=r"run\.h5.*expected a dataset|not a readable solution"):
        Solution.load(str(tmp_path / "run.h5"))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no solution at .*nowhere\.h5"):
        Solution.load(tmp_path / "nowhere.h5")


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    old = solution(seed=5)
    old.save(tmp_path / "run.h5")
    with pytest.raises(TypeError):
        solution(citation=object()).save(tmp_path / "run.h5")  # fails at the last attribute
    assert Solution.load(tmp_path / "run.h5").seed == 5
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_samples_that_follow_are_those_of_one_solve(tmp_path):
    first, more = solution(SAMPLES[:, :4], torch.zeros(2, 4)), solution(SAMPLES[:, 4:], torch.zeros(2, 6), seconds=1.0)
    both = first.followed_by(more)
    assert torch.equal(both.samples, SAMPLES) and both.log_weights.shape == (2, 10) and both.seconds == 1.25
    for other in (solution(seed=4), solution(nfe=8), solution(method="dps"), solution(log_weights=WEIGHTS["unequal"])):
        with pytest.raises(ValueError, match="expected equal weights"):
            first.followed_by(other)


def test_facts_are_kept_beside_the_samples(tmp_path):
    path = tmp_path / "s.h5"
    solution().save(path, {"y": SAMPLES[:, 0], "command": "inverse solve", "sigma_y": 0.1})
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["y"], SAMPLES[:, 0])
    assert Solution.fact(path, "command") == "inverse solve" and Solution.fact(path, "sigma_y") == 0.1
    assert Solution.fact(path, "nothing") is None and Solution.fact(tmp_path / "absent.h5", "command") is None
    assert torch.equal(Solution.load(path).samples, SAMPLES)
