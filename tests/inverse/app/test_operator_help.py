"""`inverse operators NAME`: complete, and the command lines that it shows work."""

import shlex

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.io import imsave
from skimage.transform import resize
from typer.testing import CliRunner

import inverse.app.cli
import operators
from inverse.app.operator_help import EXAMPLES, lines
from inverse.app.operator_text import constructors, keys, named
from inverse.app.photo import pose
from operators import registry

LINES = [(name, line) for name in sorted(EXAMPLES) for line in lines(name)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the pictures, the mask and the matrix that the lines name."""
    folder = tmp_path_factory.mktemp("help")
    colour = resize(astronaut()[:240, 100:340], (32, 40), anti_aliasing=True)
    grey = colour[:, :32].mean(2)
    for name, x in {"photo": colour, "shirt": grey, "brain": grey, "slice": grey}.items():
        imsave(folder / f"{name}.png", (255 * x).astype(np.uint8), check_contrast=False)
    imsave(folder / "mask.png", np.where(np.arange(32)[:, None] + np.zeros(40) < 20, 255, 0).astype(np.uint8))
    np.save(folder / "mask.npy", (np.arange(64) % 4 == 0)[None])
    np.save(folder / "trajectory.npy", np.random.default_rng(0).uniform(-0.5, 0.5, (900, 2)))
    np.save(folder / "matrix.npy", np.eye(784)[:300] / 2)
    return folder


def measured(text: str, file: str) -> None:
    """A measurement by this operator in a file, as an instrument would have made it."""
    found = named(text, measured=True)
    shapes = {
        "fan_beam": (1, 32, 32), "fourier": (1, 64, 64), "radon": (1, 32, 32), "transmission": (1, 32, 32),
        "classifier": (1, 28, 28),
        "linear": (1, 28, 28), "noncartesian": (1, 64, 64), "phase_retrieval": (1, 28, 28),
    }  # fmt: skip
    shape = shapes.get(found.name, (3, 64, 80) if found.name == "blur" else (3, 32, 40))
    x = torch.rand(1, 1, *shape[1:], generator=torch.Generator().manual_seed(0)).expand(1, *shape)
    y = found.build(0.02, shape).measure(x)
    if file.endswith(".npy"):
        np.save(file, y.numpy())
    else:
        pixels = (255 * y[0].clamp(0, 1)).round().byte().movedim(0, -1).squeeze(-1).numpy()
        imsave(file, pixels, check_contrast=False)


@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{n}-{i % 2}" for i, (n, _) in enumerate(LINES)])
@pytest.mark.filterwarnings("ignore::inverse.app.operator_text.DrawnInstrument")
def test_the_lines_are_problems(place, monkeypatch, name, line):
    """Each line up to the solve itself: the operator is made, the measurement and the prior fit."""
    monkeypatch.chdir(place)
    words = shlex.split(line)
    assert words[:2] == ["inverse", "solve"]
    options = dict(zip(words[3:], [*words[4:], ""], strict=True))
    text = options["--operator"]
    if "--measured" in words:
        measured(text, words[2])
    problem = pose(
        place / words[2], text, options.get("--sigma"), options.get("--prior"), None, 0, "--measured" in words,
        "--resize" in words, None, float("inf"), options.get("--size"),
    )  # fmt: skip
    assert text.partition(":")[0].partition(".")[0] == name
    problem.operator.validate_y(problem.y, tuple(problem.prior.event_shape))


def test_every_operator_has_two_lines():
    assert set(EXAMPLES) == {n for n, f in registry.REGISTRY.items() if f.__module__.startswith("operators.")}
    for name in EXAMPLES:
        simulated, real = lines(name)
        assert "--measured" in real and "--measured" not in simulated


@pytest.mark.parametrize("name", operators.available())
def test_all_is_shown(name):
    result = CliRunner().invoke(inverse.app.cli.app, ["operators", name], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for key in (*keys(name), *filter(None, constructors(name)), *lines(name)):
        assert key in result.output
    assert operators.get(name).__doc__.split("\n")[0] in result.output or name == "classifier"


def test_a_plug_in_is_shown_too(monkeypatch):
    def slopes(axis, scale: float = 2.0, words: str | None = None, noise=None):
        """Differences along an axis."""

    monkeypatch.setitem(registry.REGISTRY, "slopes", slopes)
    result = CliRunner().invoke(inverse.app.cli.app, ["operators", "slopes"], env={"COLUMNS": "200"})
    assert "Differences along an axis" in result.output and "needed" in result.output
    assert lines("slopes") == [
        "inverse solve photo.png --operator slopes:axis=AXIS",
        "inverse solve y.npy --measured --operator slopes:axis=AXIS,scale=2 --size HEIGHTxWIDTH --sigma 0.05",
    ]


def test_an_unknown_one_and_the_version():
    result = CliRunner().invoke(inverse.app.cli.app, ["operators", "inpainting"])
    assert result.exit_code == 2 and "Did you mean 'masking'" in result.output
    result = CliRunner().invoke(inverse.app.cli.app, ["--version"])
    assert result.exit_code == 0 and inverse.__version__ in result.output
