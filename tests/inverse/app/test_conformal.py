"""Conformal intervals end to end, with priors that are right and wrong."""

import linecache
import math
import warnings
from functools import partial

import h5py
import pytest
import torch

from inverse import Conformal, FewPictures, Solution, conformal, solve
from inverse.quality.risk import averaged, confident, enough, split
from operators import GaussianNoise, Identity, Masking
from priors import VPSDE, Gaussian
from tests.cases import picture

D, K, SIGMA = 12, 10, 0.5
WRONG = Gaussian(torch.full((D,), 1.0), 0.1 * torch.eye(D), VPSDE())  # of data that are N(0, I)
OPERATOR = Identity(noise=GaussianNoise(SIGMA))


def believes(operator, y, n, seed):
    """Exact draws of the wrong prior's posterior: too narrow, and shifted."""
    gain = 0.1 / (0.1 + SIGMA**2)
    mean = 1 + gain * (y - 1)
    z = torch.randn(n, D, generator=torch.Generator().manual_seed(seed % 2**62))
    return mean + math.sqrt(0.1 * (1 - gain)) * z


def data(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def solved(truths: torch.Tensor, seed: int) -> Solution:
    y = OPERATOR.measure(truths, seed=seed)
    samples = torch.stack([believes(OPERATOR, y[b : b + 1], K, 10**7 * seed + b) for b in range(len(y))])
    return Solution(samples, torch.zeros(samples.shape[:2]), "believes", 0, 0, 0.0, seed)


def first(x):
    return x[:, 0].abs()


def made(n: int, seed: int, **more) -> Conformal:
    how = {"method": believes, "n_samples": K, "seed": seed, "progress": False, "statistics": {"first": first}}
    return conformal(WRONG, OPERATOR, data(n, seed), **(how | more))


def test_guarantees_hold_over_many_calibrations_of_a_wrong_prior():
    """60 calibrations of 19 pictures at level .8, each on 40 new pictures; the plain 80 % intervals hold a third."""
    level, repeats = 0.8, 60
    inside, whole, statistic, before = [], [], [], []
    for seed in range(repeats):
        found = made(19, seed, level=level)
        new = data(40, 1000 + seed)
        solution = solved(new, 2000 + seed)
        low, high = found.interval(solution)
        inside.append(((new >= low) & (new <= high)).double().mean())
        for name, value, held in (("whole", new.mean(1), whole), ("first", first(new), statistic)):
            low, high = found.interval_of(solution, name)
            held.append(((value >= low) & (value <= high)).double().mean())
        before.append(found.before)
    for held in (inside, whole, statistic):
        values = torch.stack(held)
        assert values.mean() >= level - 3 * values.std() / repeats**0.5
        assert values.mean() < 0.92, "intervals that hold all are no use"
    assert sum(before) / repeats < 0.55


@pytest.mark.parametrize(("level", "guarantee"), [(0.9, "average"), (0.8, "average"), (0.8, "confident")])
def test_few_pictures_of_which_one_decides_are_warned_of(level, guarantee):
    """An outlier among them decides the factor below the number that is named, and not from it."""
    better = enough(level, guarantee, 0.1)
    with pytest.warns(FewPictures, match=f"give {better} or more") as caught:
        made(better - 1, 0, level=level, guarantee=guarantee)
    assert "return conformal(" in linecache.getline(caught[0].filename, caught[0].lineno)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FewPictures)
        made(better, 0, level=level, guarantee=guarantee)
    for n, decides in ((better - 1, guarantee == "average"), (better, False)):
        calm = torch.rand(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        wild = calm.clone()
        wild[int(calm[:, 0].argmax())] = 1e3
        assert (split(wild[:, 0], level) > 100) == decides
        of = averaged if guarantee == "average" else partial(confident, delta=0.1)
        assert (of(wild, 1 - level) > 100) == (n < better)


def test_confident_intervals_are_wider():
    average, sure = (made(40, 0, level=0.8, guarantee=g).factor for g in ("average", "confident"))
    assert sure > average > 0


def test_a_method_of_the_package_on_pictures(tmp_path):
    prior = picture(VPSDE())
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    upper = torch.arange(64).view(8, 8) < 32
    truths = prior.sample(19, seed=1)
    how = {"method": "ddrm", "n_samples": 4, "n_steps": 4, "progress": False}
    found = conformal(prior, operator, truths, 0.9, regions={"upper": upper}, work=tmp_path, **how)
    assert found.factor == conformal(prior, operator, truths, 0.9, work=tmp_path, **how).factor
    x = prior.sample(3, seed=9)
    solution = solve(prior, operator, operator.measure(x, seed=1), seed=5, **how)
    low, high = found.interval(solution)
    assert low.shape == x.shape and bool((low < high).all())
    low, high = found.interval_of(solution, "upper")
    middle = solution.mean[:, 0, :4].double().mean((1, 2))
    torch.testing.assert_close((low + high) / 2, middle, rtol=1e-5, atol=1e-6)


def test_it_is_saved_and_read_and_damage_is_seen(tmp_path):
    found = made(19, 0)
    found.save(tmp_path / "c.h5")
    solution = solved(data(2, 5), 6)
    read = Conformal.load(tmp_path / "c.h5", {"first": first})
    for name in ("whole", "first"):
        torch.testing.assert_close(read.interval_of(solution, name), found.interval_of(solution, name))
    torch.testing.assert_close(read.interval(solution), found.interval(solution))
    with pytest.raises(ValueError, match="not in the file"):
        Conformal.load(tmp_path / "c.h5").interval_of(solution, "first")
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file.attrs["facts"] = file.attrs["facts"].replace('"n": 19', '"n": 20')
    with pytest.raises(ValueError, match="calibrate again"):
        Conformal.load(tmp_path / "c.h5")


def test_solutions_of_another_kind_are_refused():
    found, solution = made(19, 0), solved(data(2, 5), 6)
    fewer = Solution(solution.samples[:, :4], solution.log_weights[:, :4], "believes", 0, 0, 0.0, 0)
    other = Solution(solution.samples, solution.log_weights, "mmps", 0, 0, 0.0, 0)
    larger = Solution(torch.zeros(1, K, 3), torch.zeros(1, K), "believes", 0, 0, 0.0, 0)
    for wrong, word in ((fewer, "4 samples"), (other, "mmps"), (larger, "events")):
        with pytest.raises(ValueError, match=word):
            found.interval(wrong)
    with pytest.raises(ValueError, match="expected one of whole, first"):
        found.interval_of(solution, "second")
    with pytest.raises(TypeError, match="Solution"):
        found.interval(3)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"level": 0.95}, "12 truths: level 0.95 needs 19 or more"),
        ({"guarantee": "confident"}, "delta 0.1 needs 22 or more"),
        ({"guarantee": "sure"}, "guarantee"),
        ({"level": 1.0}, "level"),
        ({"n_samples": 1}, "n_samples"),
        ({"regions": {"whole": torch.ones(D, dtype=torch.bool)}}, "taken"),
        ({"regions": {"first": torch.ones(D, dtype=torch.bool)}}, "taken"),
        ({"truths": 3}, "truths"),
    ],
)
def test_bad_arguments_are_refused(changed, word):
    with pytest.raises((ValueError, TypeError), match=word):
        conformal(**({"prior": WRONG, "operator": OPERATOR, "truths": data(12, 0), "method": believes, "n_samples": K,
                      "progress": False, "statistics": {"first": first}} | changed))  # fmt: skip
