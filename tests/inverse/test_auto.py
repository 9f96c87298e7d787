"""method="auto" follows what was measured."""

import json

import pytest
import torch

from inverse import METHODS, auto, solve
from inverse.auto import BUDGETS, NETWORK_VARIANTS, VARIANTS, choose
from operators import Blur, GaussianNoise, LinearMap, Masking
from priors import load
from tests.cases import SDES, picture

SHAPE = (1, 8, 8)
MASK = Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.1))
FEW = LinearMap(torch.ones(2, 64), GaussianNoise(0.1), event_shape=SHAPE)


def row(candidate, passes, ratio, measured=32, samples=100, problem="p"):
    steps = (METHODS | VARIANTS)[candidate].n_steps
    return {"candidate": candidate, "problem": problem, "measured": measured, "n_steps": steps, "passes": passes,
            "samples": samples, "ratio": ratio}  # fmt: skip


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Writes evidence, which is then all that is known."""

    def write(*rows):
        path = tmp_path / "evidence.json"
        path.write_text(json.dumps(rows))
        monkeypatch.setattr(auto, "EVIDENCE", path)
        auto.evidence.cache_clear()

    yield write
    auto.evidence.cache_clear()


def test_the_nearest_within_the_budget_is_taken(measured):
    measured(row("mmps", 100, 1.1), row("mmps, fast", 30, 1.4), row("mmps, exact", 600, 1.0), row("ddnm", 100, 2.0))
    picked = {budget: choose(MASK, SHAPE, budget=budget) for budget in BUDGETS}
    assert {b: (c.method.name, c.n_steps) for b, c in picked.items()} == {
        "fast": ("mmps", 9), "balanced": ("mmps", 32), "exact": ("mmps", 100)}  # fmt: skip
    assert "1.40 on p" in picked["fast"].details and "1.40" not in picked["fast"].reason
    assert all(budget in c.reason and len(c.reason) < 100 for budget, c in picked.items())


def network_row(candidate, passes, ratio, values=64, measured=32, n_steps=10):
    row = {"candidate": candidate, "problem": f"{values} values", "values": values, "measured": measured}
    return row | {"n_steps": n_steps, "passes": passes, "samples": 1, "ratio": ratio}


def test_networks_have_evidence_of_their_own(measured, monkeypatch):
    """The cheapest of the settings within 1 % of the best, on images of the nearest size; the mixtures do not count."""
    measured(row("mmps", 100, 1.0), row("ddnm", 100, 1.0))
    rows = [network_row("mmps", 100, 1.0, n_steps=32), network_row("mmps, one pass", 26, 1.009)]
    rows += [network_row("mmps", 100, 1.0, 6400, n_steps=32), network_row("mmps, one pass", 26, 1.011, 6400)]
    monkeypatch.setattr(auto, "networks", lambda: rows)
    large = torch.Size((1, 80, 80))
    picked = {shape: choose(Masking.random(shape, 0.5, noise=GaussianNoise(0.1)), tuple(shape), network=True)
              for shape in (SHAPE, large)}  # fmt: skip
    assert {shape: (found.method.guidance.steps, found.n_steps) for shape, found in picked.items()} == {
        SHAPE: (1, 10), large: (2, 32)}  # fmt: skip
    assert "1.009 on 64 values" in picked[SHAPE].details and "balanced" in picked[SHAPE].reason
    fast = choose(Masking.random(large, 0.5, noise=GaussianNoise(0.1)), tuple(large), budget="fast", network=True)
    assert (fast.method.guidance.steps, fast.n_steps) == (1, 10)
    assert choose(MASK, SHAPE, budget="exact", network=True).method.name == "mmps"
    assert choose(MASK, SHAPE, differentiable=False, network=True).method.name == "ddnm"  # none of those serves


def test_the_shipped_evidence_of_networks_is_used_for_networks():
    known = METHODS | NETWORK_VARIANTS
    assert {row["candidate"] for row in auto.networks()} <= set(known)
    best = {}
    for found in auto.networks():
        best[found["problem"]] = min(best.get(found["problem"], 9), found["ratio"])
    assert best and set(best.values()) == {1}
    prior = load("fashion-mnist")
    operator = Masking.random(prior.event_shape, 0.5, noise=GaussianNoise(0.05))
    expected = choose(operator, prior.event_shape, network=True)
    solution = solve(prior, operator, operator.measure(torch.zeros(1, 1, 28, 28), seed=0), n_samples=1, progress=False)
    assert solution.reason == expected.reason and solution.nfe == expected.n_steps + 1


def test_particles_count_only_in_numbers(measured):
    """A population measured with 100 particles says nothing of 8."""
    measured(row("mmps", 100, 1.5), row("tds", 100, 1.0))
    assert [choose(MASK, SHAPE, n).method.name for n in (8, 99, 100)] == ["mmps", "mmps", "tds"]


def test_figures_of_as_many_samples_are_compared(measured):
    """What matters at 400 samples is below the floor of 50: each number of samples has its own nearest method."""
    few = [row("mmps", 100, 1.1, samples=50), row("tds", 100, 1.3, samples=50)]
    measured(*few, row("mmps", 100, 2.7, samples=400), row("tds", 100, 1.2, samples=400))
    picked = {n: choose(MASK, SHAPE, n) for n in (8, 50, 399, 400)}
    assert {n: c.method.name for n, c in picked.items()} == {8: "mmps", 50: "mmps", 399: "mmps", 400: "tds"}
    assert "1.10 on" in picked[8].details and "1.20 on" in picked[400].details


def test_the_budget_is_kept_on_the_nearest_problems(measured):
    """What pays per measured number is within the budget on small problems and must not be taken for large ones."""
    rows = [row("pivot", 90, 1.0, 20), row("mmps", 100, 1.5, 20), row("mmps", 100, 1.5, 64)]
    large = Masking.random(SHAPE, 0.99, noise=GaussianNoise(0.1))
    measured(*rows, row("pivot", 140, 1.0, 64))
    assert [choose(operator, SHAPE, 100).method.name for operator in (MASK, large)] == ["pivot", "mmps"]


def test_problems_of_alike_size_count(measured):
    measured(row("mmps", 100, 1.0), row("ddnm", 100, 3.0), row("mmps", 100, 9.0, 2), row("ddnm", 100, 2.0, 2))
    assert choose(MASK, SHAPE).method.name == "mmps"
    assert choose(FEW, SHAPE).method.name == "ddnm"


def test_easy_problems_earn_no_credit(measured):
    """Measured on the easy problem alone, and second there, is not better than best on both."""
    measured(row("ddnm", 100, 1.2, problem="easy"), row("mmps", 100, 1.0, problem="easy"),
             row("mmps", 100, 3.0, problem="hard"))  # fmt: skip
    found = choose(MASK, SHAPE)
    assert found.method.name == "mmps" and all(f" on {problem}" in found.details for problem in ("easy", "hard"))


def test_an_operator_is_served_or_falls_back(measured):
    reflected = Blur.gaussian(0.6, "reflect", noise=GaussianNoise(0.1))
    measured(row("ddnm", 100, 1.0))  # needs singular values
    found = choose(reflected, SHAPE)
    assert found.method.name == "mmps" and "no measurement" in found.reason
    measured(row("reddiff", 100, 1.0))  # an optimiser is no answer to a question for samples
    assert choose(MASK, SHAPE).method.name == "mmps"


def test_the_shipped_evidence_is_of_methods_that_are(monkeypatch):
    rows = auto.evidence()
    assert {r["candidate"] for r in rows} <= set(METHODS | VARIANTS) and len(rows) > 20
    assert all(r["ratio"] > 0.5 and r["passes"] > 0 and r["measured"] > 0 for r in rows)
    assert all((METHODS | VARIANTS)[r["candidate"]].n_steps >= r["n_steps"] > 0 for r in rows), (
        "measured with more steps than it takes: make it a variant"
    )


def test_numbers_of_a_measurement():
    assert MASK.measured_numbers(SHAPE) == 32 and FEW.measured_numbers(SHAPE) == 2


def test_the_reason_is_told(capfd):
    prior = picture(SDES["vp"])
    y = MASK.measure(prior.sample(1), seed=1)
    solution = solve(prior, MASK, y, n_samples=1, n_steps=2)
    assert "budget" in solution.reason and "auto: mmps" in capfd.readouterr().err.replace("\n", " ")
    assert solve(prior, MASK, y, 1, "mmps", 2, progress=False).reason == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "cheap"}, "'cheap': expected one of"),
        ({"budget": "fast", "method": "mmps"}, "a budget is for 'auto'"),
    ],
)
def test_a_wrong_budget(arguments, message):
    with pytest.raises(ValueError, match=message):
        solve(picture(SDES["vp"]), MASK, torch.zeros(1, *SHAPE), progress=False, **arguments)


def test_a_method_in_capitals():
    with pytest.raises(ValueError, match=r"method 'DPS' \(did you mean 'dps'\?\): expected 'auto'"):
        auto.resolve("DPS", MASK, SHAPE, 4, None, True)


@pytest.mark.parametrize(
    ("operator", "name"),
    [(Blur.gaussian(1.0), "Blur"), (Blur.gaussian(1.0, "valid"), "Blur"), (Masking(torch.ones(3)), "Masking")],
)
def test_a_reason_names_the_class_that_users_write(operator, name):
    assert auto.public(operator) == name


@pytest.mark.parametrize("n_samples", [8, 64, 1000])
def test_auto_takes_the_setting_of_most_steps_among_equals_and_a_right_spread(n_samples):
    """Nine steps of mmps have a standard deviation up to 1.08 of the exact one; chance decided for them."""
    operator = LinearMap(torch.ones(12, 64), GaussianNoise(0.1), event_shape=(64,))
    found = choose(operator, (64,), n_samples)
    assert found.method.calibrated and found.n_steps == METHODS[found.method.name].n_steps
