"""Quality against cost, on next to nothing."""

from dataclasses import replace

import pytest

from benchmarks.trained import efficiency, precision
from priors import load


def test_a_row_per_measurement_and_setting(tmp_path):
    settings = [replace(setting, method=replace(setting.method, n_steps=2)) for setting in efficiency.SETTINGS[::3]]
    scene = replace(efficiency.SCENES[0], side=16, images=2, samples=2)
    found = efficiency.run([scene], settings, tmp_path)
    rows = efficiency.table(found)
    assert len(rows) == len(scene.operators) * len(settings)
    # two steps and the last draw: one evaluation each, and two or one backward passes, four of the draw
    assert {row["evaluations + passes"] for row in rows} == {"3 + 10", "3 + 7"}
    assert all(row["CRPS over first"].startswith("1.000 ± 0.000") for row in rows[::2])
    candidates = efficiency.evidence(found)
    assert {row["candidate"] for row in candidates} == {"mmps, one pass"} and {row["ratio"] for row in candidates} == {
        1
    }
    assert {row["passes"] for row in candidates} == {10} and {row["values"] for row in candidates} == {3 * 16**2}
    assert efficiency.run([scene], settings, tmp_path) == found  # read, not made again


@pytest.mark.parametrize("name", [pytest.param("natural", marks=pytest.mark.slow), "fashion-mnist"])
def test_the_loss_in_bfloat16_is_small_and_that_of_float32_is_none(name):
    prior = load(name)
    assert all(abs(loss) < 0.05 for loss in precision.losses(prior, name, (0.1, 1.0)))
    prior.in_bfloat16 = lambda: prior
    assert precision.losses(prior, name, (0.1,)) == [0.0]
