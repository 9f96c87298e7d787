"""Quality against cost, on next to nothing."""

from dataclasses import replace

import pytest

from benchmarks.trained import efficiency, precision
from priors import load


def test_a_row_per_task_and_setting():
    settings = [(name, replace(method, n_steps=2), kind) for name, method, kind in efficiency.SETTINGS[1:5:3]]
    rows = efficiency.run("natural", 16, 1, 2, 0, settings)
    assert len(rows) == len(efficiency.tasks((3, 16, 16))) * len(settings)
    # two steps and the last draw: one evaluation each, and two or one backward passes, four of the draw
    assert {row["evaluations + passes"] for row in rows} == {"3 + 10", "3 + 7"}
    assert all(float(row["CRPS, thousandths"]) > 0 for row in rows)


@pytest.mark.parametrize("name", ["natural", "fashion-mnist"])
def test_the_loss_in_bfloat16_is_small_and_that_of_float32_is_none(name):
    prior = load(name)
    assert all(abs(loss) < 0.05 for loss in precision.losses(prior, name, (0.1, 1.0)))
    prior.in_bfloat16 = lambda: prior
    assert precision.losses(prior, name, (0.1,)) == [0.0]
