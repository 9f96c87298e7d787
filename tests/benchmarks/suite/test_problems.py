"""What a TOML may say, and what it hears when it is wrong."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.suite import images, measurements, problems, units
from benchmarks.suite.problems import CONFIGS
from operators import Blur, GaussianNoise, Masking, PoissonNoise
from priors import VESDE, Gaussian
from priors import pictures as sets

from .conftest import SHAPE, TOML, pictures

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.toml")))
def test_what_is_shipped_can_be_planned(name):
    config = problems.read(CONFIGS / name)
    if elsewhere := [p.data for p in config.problems.values() if p.data != problems.SHIPPED]:
        with pytest.raises(FileNotFoundError, match=f"no data {elsewhere[0]!r}"):
            units.plan(config)
        return
    chosen, left_out = units.plan(config)
    assert {u.problem.name for u in chosen} == set(config.problems)
    assert {u.row.name for u in chosen} == {*config.methods, "truth"}, "a row that no problem can be served by"
    assert all("does not serve" in line for line in left_out)
    assert len({u.name for u in chosen}) == len(chosen)


def test_a_benchmark_is_read(config, bench):
    problem = config.problems["mask"]
    assert (problem.images, problem.seed, problem.data, problem.prior) == (5, 0, "shipped", str(bench / "prior"))
    assert config.problems["motion"].data == str(bench / "images.h5"), "paths are relative to the TOML"
    assert (config.samples, config.seeds, config.block) == (4, (0,), 2) and config.methods["dps"] == {"steps": 3}


def test_the_operator_is_what_the_toml_says(config):
    prior = Gaussian(torch.zeros(64), torch.eye(64), sde=VESDE(), event_shape=SHAPE)
    mask, motion = (measurements.make(config.problems[name], prior) for name in ("mask", "motion"))
    expected = Masking.random(SHAPE, 0.5, seed=3, noise=GaussianNoise(0.1))
    assert isinstance(mask.operator, Masking) and torch.equal(mask.operator.mask, expected.mask)
    assert torch.equal(mask.y, expected.measure(mask.truth, seed=0))
    assert torch.equal(motion.operator.kernel, Blur.motion(5, seed=1).kernel)
    torch.testing.assert_close(mask.truth, (pictures(5) * 255).round() / 255)
    photons = problems.Spec("p", "p", "prior", {"name": "blur", "kernel": [[0.5, 0.5]]}, {"poisson": 30})
    operator = measurements.make_operator(photons, SHAPE)
    assert isinstance(operator, Blur) and isinstance(operator.noise, PoissonNoise) and operator.noise.peak == 30


WRONG = [
    ("samples = 4", "samples = 1", r"samples = 1: expected a whole number >= 2"),
    ("samples = 4", 'samples = "4"', r"samples = '4': expected a whole number"),
    ("samples = 4", "sample = 4", r"sample = 4: expected no such key"),
    ("seeds = [0]", "seeds = [-1]", r"seeds = \[-1\]: expected a list of whole numbers"),
    ("block = 2", "block = 0", r"block = 0: expected a whole number >= 1"),
    ("block = 2", 'modules = ["no_such_module"]', r"modules = 'no_such_module': expected the name of a module"),
    ("block = 2", "block = [2", r"is not a readable benchmark.*correct the TOML"),
    ('task = "random mask"', "task = 3", r"problems\.mask\.task = 3: expected a text"),
    ('prior = "prior"\nimages', "images", r"problems\.mask\.prior = None: expected a text"),
    ("images = 5", "images = 0", r"problems\.mask\.images = 0: expected a whole number >= 1"),
    ("images = 5", 'fit = "stretch"', r"problems\.mask\.fit = 'stretch': expected one of \['resize', 'crop'\]"),
    ("images = 5", 'methods = ["dpss"]', r"problems\.mask\.methods = \['dpss'\]: expected rows of this file"),
    ("images = 5", "settings = { dpss = {} }", r"problems\.mask\.settings = \['dpss'\]: expected rows of this file"),
    ("noise = { gaussian = 0.1 }", "noise = { gaussian = 0 }", r"problems\.mask\.noise = .*: expected .* a number > 0"),
    ("noise = { gaussian = 0.1 }", "noise = { laplace = 1 }", r"problems\.mask\.noise = .*gaussian = SIGMA"),
    ("noise = { gaussian = 0.1 }", "noise = 0.1", r"problems\.mask\.noise = 0\.1: expected a table"),
    ("[problems.mask]", '[problems."ma/sk"]', r"problem 'ma/sk': expected letters"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[new for _, new, _ in WRONG])
def test_errors_name_file_key_and_what_is_expected(bench, tmp_path, old, new, message):
    assert old in TOML
    path = tmp_path / "wrong.toml"
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{message}"):
        problems.read(path)


LATE = [  # what only priors, images and operators can tell
    ("images = 5", "images = 50", r"problem mask: images = 50, but 'shipped' has 6"),
    ("keep = 0.5", "keep = 2.0", r"problem mask: operator = .*keep = 2.0: expected"),
    ("keep = 0.5", "kept = 0.5", r"problem mask: operator = .*unexpected keyword argument 'kept'"),
    ('"random"', '"randm"', r"recipe = 'randm': 'masking' has no such classmethod"),
    ('"masking"', '"maskin"', r"no operator named 'maskin'. Did you mean 'masking'"),
    ('data = "images.h5"', 'data = "none.h5"', r"no data .none\.h5"),
    ('data = "images.h5"', 'data = "nowhere"', r"no data 'nowhere': expected 'shipped'"),
    ("[methods.tv]\nsteps", "[methods.tv]\nstep", r"wrong\.toml: methods\.tv: .*unexpected keyword argument 'step'"),
    ("[methods.tv]", "[methods.tvv]", r"wrong\.toml: methods\.tvv: method 'tvv': expected one of"),
    ("images = 2\n[methods.mmps]", "steps = 2\n[methods.mmps]", r"methods\.auto: .*'auto' chooses steps"),
    (
        "images = 2\n[methods.mmps]",
        "samples = 1\n[methods.mmps]",
        r"methods\.auto\.samples = 1: expected .* at least 2",
    ),
    ("[methods.dps]", "[methods.dps]\nguidance = { zta = 1 }", r"methods\.dps: .*guidance \['zta'\]: expected of"),
    ("[methods.dps]", '[methods.dps]\nbudget = "fast"', r"methods\.dps: .*is for 'auto'"),
]


@pytest.mark.parametrize(("old", "new", "message"), LATE, ids=[new for _, new, _ in LATE])
def test_errors_of_operators_images_and_settings_name_the_problem(bench, tmp_path, old, new, message):
    assert old in TOML
    for name in ("prior", "images.h5"):
        (tmp_path / name).symlink_to(bench / name)
    path = tmp_path / "wrong.toml"
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        units.plan(problems.read(path))


def test_unknown_problems_and_rows_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"problems \['masc'\]: expected of \['mask', 'motion'\]"):
        units.plan(config, ["masc"])
    with pytest.raises(ValueError, match="method 'no-such': expected one of"):
        units.plan(config, rows=["no-such"])
    with pytest.raises(FileNotFoundError, match=r"shipped\.toml"):
        problems.read(tmp_path / "none.toml")


def test_rows_that_do_not_serve_are_left_out_and_said(config):
    chosen, left_out = units.plan(config, rows=["biharmonic", "wiener", "classifier"])
    assert {(u.problem.name, u.row.name) for u in chosen} == {("mask", "biharmonic"), ("motion", "wiener")}
    assert "mask: classifier does not serve Masking" in left_out and len(left_out) == 4


@pytest.mark.parametrize(("fit", "size"), [("resize", (13, 10)), ("crop", (13, 10)), (None, (8, 8))])
def test_folders_of_images_are_fitted_only_where_the_toml_says_so(tmp_path, fit, size):
    from skimage.io import imsave

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, *size, 3), np.uint8)
    for i, x in enumerate(pixels):
        imsave(tmp_path / f"{i}.png", x, check_contrast=False)
    (tmp_path / "notes.txt").write_text("no image")
    problem = problems.Spec("p", "p", "prior", {"name": "grayscale"}, data=str(tmp_path), fit=fit, images=2)
    truth, labels = images.images_of(problem, (3, 8, 8))
    assert truth.shape == (2, 3, 8, 8) and labels is None
    colour = torch.from_numpy(pixels[:2].transpose(0, 3, 1, 2).copy()).float() / 255
    if fit == "crop":
        torch.testing.assert_close(truth, colour[..., 2:10, 1:9])
    grey, _ = images.images_of(problem, SHAPE)
    assert grey.shape == (2, *SHAPE)
    if fit is None:
        torch.testing.assert_close(truth, colour)
        torch.testing.assert_close(grey, colour.mean(1, keepdim=True), atol=0.6 / 255, rtol=0)
        return
    unfitted = problems.Spec("p", "p", "prior", {"name": "grayscale"}, data=str(tmp_path), images=2)
    with pytest.raises(ValueError, match="fit = 'resize' or 'crop'"):
        images.images_of(unfitted, (3, 8, 8))


def test_pictures_of_several_sizes_for_a_prior_of_any_size(tmp_path):
    sizes = [(30, 21), (24, 40)]
    held = [
        torch.randint(256, (3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(h)) for h, w in sizes
    ]
    sets.write(tmp_path / "set.h5", sets.Pictures(tuple(held)))
    problem = problems.Spec(
        "p", "t", "natural", {"name": "grayscale"}, data=str(tmp_path / "set.h5"), size=(20, 18), fit="crop"
    )
    shape = units.prior_of(problem).event_shape
    assert shape == (3, 20, 18)
    truth, _ = images.images_of(replace(problem, images=2), shape)
    assert torch.equal(truth[0], held[0][:, 5:25, 1:19].float() / 255)
    deep = [(257 * p.int() - 3).clamp(min=0).to(torch.uint16) for p in held]  # between the levels of 8 bits
    sets.write(tmp_path / "deep.h5", sets.Pictures(tuple(deep)))
    truth, _ = images.images_of(replace(problem, images=2, data=str(tmp_path / "deep.h5")), shape)
    assert torch.equal(truth[0], deep[0][:, 5:25, 1:19].float() / 65535)
    with pytest.raises(ValueError, match="set fit"):
        images.images_of(replace(problem, images=2, fit=None), shape)
    with pytest.raises(ValueError, match="only takes"):
        units.prior_of(replace(problem, prior="cifar10"))


def test_other_images_in_place_of_the_files(config, bench):
    assert {p.data for p in config.of(bench / "images.h5").problems.values()} == {str(bench / "images.h5")}
    assert config.of(None) is config


def launched(folder, **environment):
    """`python -m benchmarks.cli` on a benchmark in a folder that is the current one, with a module beside it."""
    (folder / "beside.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    (folder / "b.toml").write_text('modules = ["beside"]\n' + TOML)
    words = [sys.executable, "-m", "benchmarks.cli", "run", "suite", "b.toml", "--dry"]
    outer = {**os.environ} | environment
    return subprocess.run(words, cwd=folder, env=outer, capture_output=True, text=True, timeout=300, check=False)


def test_a_module_that_lies_in_the_current_folder_by_chance_is_not_run(tmp_path):
    """Whoever can write a file there could have it run; a folder on PYTHONPATH is the user's choice."""
    found = launched(tmp_path, PYTHONPATH=str(ROOT))
    assert found.returncode == 2 and f"PYTHONPATH={tmp_path}" in found.stdout.replace("\n", "")
    assert not (tmp_path / "ran").exists()
    launched(tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("module", ["''", "3", "'.relative'", "['a']"])
def test_names_of_modules_are_texts(tmp_path, module):
    (tmp_path / "b.toml").write_text(f"modules = [{module}]\n{TOML}")
    with pytest.raises(ValueError, match=r"b\.toml: modules = .*expected the name"):
        problems.read(tmp_path / "b.toml")
