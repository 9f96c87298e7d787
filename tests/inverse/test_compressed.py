"""Pictures that JPEG compressed are known by their DCT coefficients."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from skimage import data

import priors
from inverse import DoubtfulInstrument, solve
from inverse.quality.compressed import compressed, compression, was_compressed
from inverse.quality.instrument import doubtful
from inverse.quality.kernel_size import misstated
from operators import Blur, GaussianNoise, Identity, Masking


def photo(name="astronaut", side=160, grey=False):
    values = torch.from_numpy(getattr(data, name)()).float() / 255
    values = values[100 : 100 + side, 150 : 150 + side]
    values = values.permute(2, 0, 1) if values.ndim == 3 else values[None]
    return (values.mean(0, keepdim=True) if grey else values)[None]


def jpeg(x, quality, subsampling=0):
    values = (255 * x[0].permute(1, 2, 0)).round().clamp(0, 255).byte().numpy()
    file = io.BytesIO()
    kind = {"quality": quality, "subsampling": subsampling}
    Image.fromarray(values if values.shape[2] == 3 else values[..., 0]).save(file, "JPEG", **kind)
    back = torch.from_numpy(np.array(Image.open(file)).reshape(values.shape))
    return back.permute(2, 0, 1)[None].float() / 255


def identity(x, sigma=1e-3):
    return Identity(GaussianNoise(sigma)).at(tuple(x.shape[1:]))


@pytest.mark.parametrize(("quality", "subsampling"), [(30, 2), (60, 0), (85, 2), (90, 0)])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("cut", [(0, 0), (3, 6)])
def test_compression_is_seen_at_any_place_of_the_blocks(quality, subsampling, grey, cut):
    x = photo(grey=grey)
    y = jpeg(x, quality, subsampling)[..., cut[0] :, cut[1] :]
    found = compression(y[0])
    true = float((y - x[..., cut[0] :, cut[1] :]).square().mean().sqrt())
    assert found is not None and 0.6 < found.level / true < 1.4
    assert f"its error of about {found.level:.2g}" in doubtful(identity(y), y)[0]


def test_a_table_of_another_encoder():
    """The page of scikit-image had been compressed before it became a PNG."""
    y = torch.from_numpy(data.page()).float()[None, None, :, :200] / 255
    found = compression(y[0])
    assert found is not None and found.steps[0, 1] == found.steps[2, 0] == 8 and found.steps[3, 0] == 12


def test_blurred_pictures():
    blur = Blur.gaussian(1.5, "reflect", noise=GaussianNoise(1e-3)).at((3, 160, 160))
    y = jpeg(blur(photo()), 75)
    assert "compressed" in compressed(blur, y)[0]


@pytest.mark.parametrize("name", ["astronaut", "coffee", "camera", "text", "checkerboard", "horse"])
def test_pictures_that_are_not_compressed(name):
    values = torch.from_numpy(getattr(data, name)()).float()
    values = (values / values.max())[: min(len(values), 200), :200]
    y = (values.permute(2, 0, 1) if values.ndim == 3 else values[None])[None]
    assert compressed(identity(y), y) == [""]
    assert compressed(identity(y), (4 * 255 * y).round() / 4 / 255) == [""]


def test_spectra_of_compressed_pictures_are_not_judged():
    """The error of JPEG would be taken for a narrower kernel."""
    blur = Blur.gaussian(1.5, "reflect", noise=GaussianNoise(5e-3)).at((3, 160, 160))
    y = jpeg(blur(photo()), 75)
    assert was_compressed(y) and misstated(blur, y)
    assert not was_compressed(blur.measure(photo(), seed=0)) and not was_compressed(y[..., :40])


def test_drawings():
    picture = Image.new("L", (128, 128), 255)
    pen = ImageDraw.Draw(picture)
    for k in range(0, 128, 8):
        pen.line((k, 0, 127 - k, 127), fill=k)
        pen.ellipse((k, 40, k + 20, 90), outline=200 - k)
    y = torch.from_numpy(np.array(picture))[None, None].float() / 255
    assert compressed(identity(y), y) == [""]


def test_noise_that_covers_the_error_and_pictures_that_are_not_judged():
    y = jpeg(photo(), 60)
    assert compressed(identity(y, 0.05), y) == [""]
    small = y[..., :70, :70]
    assert compressed(identity(small), small) == [""]
    some = Masking.random((1, 160, 160), 0.9, noise=GaussianNoise(1e-3)).at((3, 160, 160))
    assert compressed(some, y) == [""]
    assert "compressed" in compressed(identity(y), torch.cat([photo(), y]))[1]


def test_solve_warns():
    y = jpeg(photo(side=96), 50)
    with pytest.warns(DoubtfulInstrument, match="compressed as JPEG"):
        solve(priors.load("natural-small").resized((3, 96, 96)), identity(y), y, 1, "ddrm", 2, progress=False)
