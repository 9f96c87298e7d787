"""Operators named in a text, against the same made in Python."""

import numpy as np
import pytest
import torch
from skimage.io import imsave

from inverse.reading import read_image, read_measurement, read_operator
from operators import Blur, Downsampling, GaussianNoise, Grayscale, Masking, registry

SHAPE = (3, 24, 32)
TEXTS = {
    "masking": Masking.random(SHAPE),
    "masking:keep=0.3": Masking.random(SHAPE, 0.3),
    "masking:keep=.3,seed=4": Masking.random(SHAPE, 0.3, seed=4),
    "masking:box=5": Masking.box(SHAPE, 5),
    "masking.random:keep=3e-1": Masking.random(SHAPE, 0.3),
    "masking.half:seen=top": Masking.half(SHAPE, "top"),
    "masking:seen=bottom": Masking.half(SHAPE, "bottom"),
    "blur": Blur.gaussian(1.5, "reflect"),
    "blur:sigma=2": Blur.gaussian(2.0, "reflect"),
    "blur:boundary=valid": Blur.gaussian(1.5, "valid"),
    "blur:sigma=2,boundary=circular": Blur.gaussian(2.0),
    "blur.gaussian:sigma_px=2,truncate=3": Blur.gaussian(2.0, "reflect", truncate=3),
    "blur:motion=15,seed=3": Blur.motion(15, seed=3, boundary="reflect"),
    "blur.motion:size=15,seed=3,boundary=circular": Blur.motion(15, seed=3),
    "downsampling:factor=4": Downsampling(4),
    "grayscale": Grayscale(),
}


def same(a, b):
    assert type(a) is type(b)
    for name, value in b.state_dict().items():
        if not name.startswith("noise"):
            torch.testing.assert_close(a.state_dict()[name], value, rtol=0, atol=0)
    for name in ("boundary", "factor"):
        assert getattr(a, name, None) == getattr(b, name, None)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_operator(text):
    found = read_operator(text, 0.1, SHAPE)
    same(found, TEXTS[text])
    assert float(found.noise.sigma) == pytest.approx(0.1)


def test_numbers_booleans_words_and_the_shape_of_the_picture(monkeypatch):
    given = {}

    def toy(event_shape, factor: int = 1, width: float = 0.5, flag: bool = False, mode: str = "a", noise=None):
        given.update(event_shape=event_shape, factor=factor, width=width, flag=flag, mode=mode)
        return Grayscale(noise=noise)

    monkeypatch.setitem(registry.REGISTRY, "toy", toy)
    found = read_operator("toy:factor=-2,width=1e-3,flag=true,mode=bicubic", 0.2, SHAPE)
    assert given == {"event_shape": SHAPE, "factor": -2, "width": 0.001, "flag": True, "mode": "bicubic"}
    assert isinstance(found.noise, GaussianNoise)
    for text in ("toy:factor=bicubic", "toy:width=x", "toy:flag=yes"):
        with pytest.raises(ValueError, match="expected a number"):
            read_operator(text, 0.2, SHAPE)
    with pytest.raises(ValueError, match=r"no 'noise'.*'factor', 'flag', 'mode', 'width'"):
        read_operator("toy:noise=1", 0.2, SHAPE)


def test_a_class_method_is_found_by_its_arguments(monkeypatch):
    class Scanner(Grayscale):
        @classmethod
        def cartesian(cls, event_shape, acceleration: int = 4, noise=None):
            made = cls(noise)
            made.acceleration = (acceleration, event_shape)
            return made

    monkeypatch.setitem(registry.REGISTRY, "scanner", Scanner)
    assert read_operator("scanner:acceleration=8", 0.1, SHAPE).acceleration == (8, SHAPE)
    assert read_operator("scanner.cartesian", 0.1, SHAPE).acceleration == (4, SHAPE)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("wavelet", "wavelet"),
        ("blur.box:size=3", r"no constructor 'box', but \['from_file', 'gaussian', 'motion'\]"),
        ("blur.to_dict", "no constructor"),
        ("blur.__init__", "no constructor"),
        ("masking.random:size=3", "'size'"),
        ("masking:keep=many", "keep=many: expected a number"),
        ("masking:event_shape=3", "event_shape"),
        ("blur:sigma=1,size=3", "'size'"),
        ("downsampling:factor=1.5", "factor"),
    ],
)
def test_a_text_that_is_none(text, fragment):
    with pytest.raises(ValueError, match=fragment):
        read_operator(text, 0.1, SHAPE)


def test_masks_and_kernels_are_pictures(tmp_path):
    seen = np.zeros(SHAPE[1:], np.uint8)
    seen[4:, :9] = 255
    imsave(tmp_path / "mask.png", seen, check_contrast=False)
    same(read_operator(f"masking:file={tmp_path / 'mask.png'}", 0.1, SHAPE), Masking(torch.from_numpy(seen > 0)))
    weights = np.array([[0, 50, 0], [100, 200, 25], [0, 0, 0]], np.uint8)
    imsave(tmp_path / "kernel.png", weights, check_contrast=False)
    blur = read_operator(f"blur:file={tmp_path / 'kernel.png'}", 0.1, SHAPE)
    assert blur.boundary == "reflect"
    torch.testing.assert_close(blur.kernel.reshape(3, 3), torch.from_numpy(weights / weights.sum()).float())
    with pytest.raises(FileNotFoundError, match="no image at"):
        read_operator("blur:file=nowhere.png", 0.1, SHAPE)


def test_a_picture_is_a_measurement_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    imsave(tmp_path / "y.png", pixels, check_contrast=False)
    np.save(tmp_path / "y.npy", pixels[None] / 255)
    torch.testing.assert_close(read_measurement(tmp_path / "y.png"), read_image(tmp_path / "y.png", (3, 6, 5)))
    assert read_measurement(tmp_path / "y.npy").shape == (1, 6, 5, 3)
    assert read_image(tmp_path / "y.png", (None, None, None)).shape == (1, 3, 6, 5)
