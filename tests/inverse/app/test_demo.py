"""The demo on the shipped prior, in too few steps to be good but enough to be whole."""

from dataclasses import replace

import pytest
from skimage.io import imread

import priors
from inverse import METHODS, Solution
from inverse.app import demo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    brief = {True: replace(METHODS["mmps"], n_steps=4), False: replace(demo.STRONG_LABEL, n_steps=8)}
    tasks = {name: replace(task, method=brief[task.reconstructs]) for name, task in demo.TASKS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TASKS", tasks)
        rows = demo.run(out, n_images=1, n_samples=2, progress=False)
    return out, rows


def test_every_task_has_its_picture_its_solution_and_its_row(made):
    out, rows = made
    assert [row["task"] for row in rows] == list(demo.TASKS)
    for name, task in demo.TASKS.items():
        assert imread(out / f"{name}.png").std() > 10  # not a blank sheet
        assert Solution.load(out / f"{name}.h5").samples.shape == (1, 2, *priors.load(task.prior).event_shape)
    assert imread(out / "contact.png").shape[0] > imread(out / "masking.png").shape[0]


def test_figures_stand_where_they_mean_something(made):
    rows = {row["task"]: row for row in made[1]}
    assert rows["label"]["PSNR mean, dB"] == "-"
    for name in (name for name, task in demo.TASKS.items() if task.reconstructs):
        assert float(rows[name]["PSNR mean, dB"]) > 10
        assert float(rows[name]["chi^2"]) > 0


@pytest.mark.parametrize("bad", [{"n_samples": 1}, {"n_images": 0}, {"n_images": 10**6}])
def test_numbers_out_of_range_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="expected"):
        demo.run(tmp_path, **bad)
    assert not list(tmp_path.iterdir())
