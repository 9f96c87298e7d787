"""Angles and axes of rotation that do not fit a sinogram, by the moments of its views."""

import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import radon, resize
from typer.testing import CliRunner

from inverse.app.cli import app
from inverse.quality.instrument import doubtful
from operators import GaussianNoise, Radon

N = 64
NOISE = GaussianNoise(0.05)


def phantom(n=N):
    """The Shepp-Logan phantom off the middle, as most objects are."""
    picture = np.roll(resize(shepp_logan_phantom(), (n, n), anti_aliasing=True), (5, -3), (0, 1))
    return torch.from_numpy(picture)[None, None].float()


def views(n, end=False, span=180.0, **other):
    return Radon(np.linspace(0, span, n, endpoint=end), size=N, noise=NOISE, **other).at((1, N, N))


def stated(operator, true, x=None, seed=0):
    return doubtful(operator, true.measure(phantom() if x is None else x, seed=seed))[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "operator",
    [
        views(12), views(30), views(60, end=True), views(90, span=120.0), views(60, span=360.0),
        views(60, centre=43.0), views(60, origin=(30.0, 35.0)),
        Radon.skimage(N, 60, circle=False, noise=NOISE).at((1, N, N)),
    ],
)  # fmt: skip
def test_right_angles_are_not_doubted(operator, seed):
    assert not stated(operator, operator, seed=seed)
    cross = torch.zeros(1, 1, N, N)
    cross[..., 20:50, 30:34] = cross[..., 24:28, 12:60] = 1
    assert not stated(operator, operator, cross, seed)


def test_scikit_image_agrees():
    theta = np.arange(60) * 3.0
    small = torch.nn.functional.pad(phantom(44), (10,) * 4)  # within the circle
    y = torch.from_numpy(radon(small[0, 0].numpy(), theta, circle=True).T)[None, None].float()
    y += 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert doubtful(Radon.skimage(N, theta, noise=NOISE).at((1, N, N)), y) == [""]
    off = Radon(theta, N, N, noise=NOISE).at((1, N, N))
    assert "axis of rotation is at 32 on the detectors than at 31.5" in doubtful(off, y)[0]


@pytest.mark.parametrize("n", [20, 40])
@pytest.mark.parametrize("end", [True, False])
def test_the_end_of_the_turn(n, end):
    """The angles that the message suggests are the true ones."""
    text = stated(views(n, end), views(n, not end))
    span, given = (180.0, 180 * (1 - 1 / n)) if not end else (180 * (1 - 1 / n), 180.0)
    assert f"span {span:.4g} degrees than {given:.4g}" in text and f"endpoint={not end}" in text
    assert not stated(views(n, not end), views(n, not end))


@pytest.mark.parametrize("shift", [-3.0, -0.75, 1.5, 6.0])
def test_the_axis_of_rotation(shift):
    middle = (views(40).measurement_shape((1, N, N))[-1] - 1) / 2
    text = stated(views(40), views(40, centre=middle + shift))
    suggested = float(text.partition("give centre=")[2])
    assert suggested == pytest.approx(middle + shift, abs=0.13)
    assert not stated(views(40, centre=suggested), views(40, centre=middle + shift))


def test_each_of_a_batch_and_what_is_not_judged():
    right, wrong = views(40), views(40, end=True)
    y = torch.cat([right.measure(phantom(), seed=0), wrong.measure(phantom(), seed=0)])
    first, second = doubtful(right, y)
    assert not first and "endpoint=True" in second
    few = views(8)
    assert not stated(few, views(8, end=True))
    full = torch.ones(1, 1, N, N)  # beyond the detectors
    assert not stated(views(40, detectors=40), views(40, end=True, detectors=40), full)


def test_the_command_line_warns(tmp_path):
    y = views(24, end=True).measure(phantom(), seed=0)[0, 0].numpy()
    np.save(tmp_path / "sinogram.npy", y)
    line = ["solve", str(tmp_path / "sinogram.npy"), "--measured", "--operator", f"radon:angles=24,size={N},pixel=1"]
    line += ["--prior", "ct", "--sigma", "0.05", "--samples", "1", "--method", "diffpir", "--steps", "2"]
    result = CliRunner().invoke(app, [*line, "--out", str(tmp_path / "out")], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert "span 180 degrees than 172.5" in result.output
    assert "span 180 degrees than 172.5" in (tmp_path / "out" / "index.html").read_text()
