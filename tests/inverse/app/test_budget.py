"""--budget as a time: fewer steps, and as many of them when more samples are added."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.io import imsave

import inverse.app.settled as settled
from inverse import Solution
from inverse.app.budget import seconds_of
from priors.checkpoints import save
from tests.cases import normal, score_prior
from tests.inverse.app.test_cli import call, refused


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("2min", 120), ("1.5h", 5400), ("1e-3 s", 0.001), ("fast", None), (None, None), ("exact", None)],
)
def test_times_and_names(text, seconds):
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["60", "0s", "-3s", "60 sec", "1e400s", "1-2s", ".s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="60s, 2min or"):
        seconds_of(text)


@pytest.fixture
def lines(tmp_path):
    save(tmp_path / "prior", score_prior(), data="none", licence="none")
    imsave(tmp_path / "a.png", (255 * normal(8, 8, seed=1).sigmoid().numpy()).astype(np.uint8), check_contrast=False)
    return ["solve", tmp_path / "a.png", "--operator", "masking", "--prior", tmp_path / "prior", "--out"]


def test_as_many_steps_as_the_time_permits_and_the_same_for_more_samples(lines, tmp_path, monkeypatch):
    """The time that a step takes is measured once: a second call, on a busier machine, takes the steps of the file."""
    asked, plan = [], settled.make_plan

    def planned(prior, **given):
        asked.append((given["n_steps"], given["budget"]))
        if given["budget"] is None:
            return plan(prior, **given)
        found = plan(prior, **given | {"n_steps": 6, "budget": None})
        return replace(found, reason="6 steps, fewer than the default")

    monkeypatch.setattr(settled, "make_plan", planned)
    first = call(*lines, tmp_path / "o", "--samples", 1, "--budget", "2min")
    assert first.exit_code == 0, first.output
    assert asked == [(None, 120)] and "6 steps, fewer than the default" in first.output
    assert first.output.count("  picture  ") == 1
    more = call(*lines, tmp_path / "o", "--samples", 2, "--budget", "5s")
    assert more.exit_code == 0, more.output
    assert asked[1:] == [(6, None)]
    assert Solution.load(tmp_path / "o" / "solution.h5").samples.shape[1] == 2


def test_a_time_is_kept_by_the_library_s_plan(lines, tmp_path):
    """An hour is enough for the default; a microsecond is refused with what 5 steps take."""
    long = call(*lines, tmp_path / "long", "--samples", 1, "--budget", "1h")
    default = call(*lines, tmp_path / "default", "--samples", 1)
    assert long.exit_code == default.exit_code == 0, long.output
    held = [Solution.load(tmp_path / name / "solution.h5") for name in ("long", "default")]
    assert held[0].nfe == held[1].nfe and bool((held[0].samples == held[1].samples).all())
    short = call(*lines, tmp_path / "short", "--budget", "1e-6s")
    assert short.exit_code == 2 and "5 steps of" in short.output and "longer budget" in short.output
    refused(call(*lines, tmp_path / "both", "--budget", "60s", "--steps", 4), "--steps 4")
