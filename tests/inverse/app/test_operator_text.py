"""Operators named in a text, against the same made in Python."""

import warnings

import numpy as np
import pytest
import torch
from skimage.io import imsave

from inverse.app.operator_text import (
    COMPUTATIONAL,
    GIVEN,
    DrawnInstrument,
    constructors,
    keys,
    named,
    read_operator,
    takes,
)
from operators import Blur, Downsampling, GaussianNoise, Grayscale, Identity, LinearMap, Masking, registry

SHAPE = (3, 24, 32)
TEXTS = {
    "masking": Masking.random(SHAPE),
    "masking:keep=0.3": Masking.random(SHAPE, 0.3),
    "masking:keep=.3,seed=4": Masking.random(SHAPE, 0.3, seed=4),
    "masking:box=5": Masking.box(SHAPE, 5),
    "masking.random:keep=3e-1": Masking.random(SHAPE, 0.3),
    "masking.half:seen=top": Masking.half(SHAPE, "top"),
    "masking:seen=bottom": Masking.half(SHAPE, "bottom"),
    "blur": Blur.gaussian(1.5),
    "blur:sigma=2": Blur.gaussian(2.0),
    "blur:boundary=valid": Blur.gaussian(1.5, "valid"),
    "blur:sigma=2,boundary=reflect": Blur.gaussian(2.0, "reflect"),
    "blur.gaussian:sigma_px=2,truncate=3": Blur.gaussian(2.0, truncate=3),
    "blur:motion=15,seed=3": Blur.motion(15, seed=3),
    "blur.motion:size=15,seed=3,boundary=valid": Blur.motion(15, seed=3, boundary="valid"),
    "blur:length=9,angle=30": Blur.motion(length=9, angle=30),
    "blur:radius=2.5": Blur.defocus(2.5),
    "blur:motion=9,angle=30": Blur.motion(length=9, angle=30),
    "masking:box=5,corner=3,4": Masking.box(SHAPE, 5, (3, 4)),
    "grayscale:weights=0.299,0.587,0.114": Grayscale(weights=(0.299, 0.587, 0.114)),
    "identity": Identity(),
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
    with pytest.raises(ValueError, match=r"unknown argument 'noise'.*'factor', 'flag', 'mode', 'width'"):
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
        ("blur.box:size=3", r"no constructor 'box'; it has \['defocus', 'from_file', 'gaussian', 'motion'\]"),
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
    np.save(tmp_path / "kernel.npy", weights)
    for key, file in (
        ("file", "kernel.png"),
        ("kernel", "kernel.png"),
        ("file", "kernel.npy"),
        ("kernel", "kernel.npy"),
    ):
        blur = read_operator(f"blur:{key}={tmp_path / file}", 0.1, SHAPE)
        torch.testing.assert_close(blur.kernel.reshape(3, 3), torch.from_numpy(weights / weights.sum()).float())
    np.save(tmp_path / "mask.npy", seen > 0)
    for key in ("file", "mask"):
        same(read_operator(f"masking:{key}={tmp_path / 'mask.npy'}", 0.1, SHAPE), Masking(torch.from_numpy(seen > 0)))
    np.save(tmp_path / "matrix.npy", np.eye(4))
    same(
        read_operator(f"linear:matrix={tmp_path / 'matrix.npy'}", 0.1, (4,)), LinearMap(torch.eye(4), event_shape=(4,))
    )
    with pytest.raises(FileNotFoundError, match="no image at"):
        read_operator("blur:file=nowhere.png", 0.1, SHAPE)


def test_every_value_is_told():
    """What the text gives, and what it leaves to a default."""
    assert (
        named("blur").used()
        == "Blur.gaussian: sigma_px=1.5 (default), boundary=circular (default), truncate=4 (default)"
    )
    assert (
        named("blur:sigma=2,boundary=valid").used() == "Blur.gaussian: sigma_px=2, boundary=valid, truncate=4 (default)"
    )
    assert named("masking").used() == "Masking.random: keep=0.5 (default), seed=0 (default)"
    assert named("blur:motion=9").used() == "Blur.motion: size=9, seed=0 (default), boundary=circular (default)"
    measured = named("blur:motion=9,angle=30", measured=True)
    assert measured.used() == "Blur.motion: length=9, boundary=valid (default), angle=30"
    assert "boundary=reflect (default)" in measured.bordered("reflect").used()
    of_file = named("masking", measured=True, known={"mask": torch.ones(1, 4, 4)})
    assert of_file.used() == "Masking: mask=the file's, of each measurement"
    assert named("blur:sigma=1,boundary=valid").bordered("reflect").values["boundary"] == "valid"


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (
            "blur",
            [
                "blur lacks kernel",
                "blur.gaussian lacks sigma_px",
                "blur.defocus lacks radius",
                "blur.motion lacks length and angle",
            ],
        ),
        ("blur:boundary=reflect", ["blur lacks kernel"]),
        ("blur:motion=9", ["blur.motion lacks seed (without --measured 0)"]),
        ("blur.motion:length=9", ["lacks angle"]),
        ("masking", ["masking lacks mask", "lacks keep (without --measured 0.5) and seed"]),
        ("masking:keep=0.5", ["lacks seed"]),
        ("grayscale", ["weights"]),
        ("resize:factor=4", ["kernel (without --measured bicubic)"]),
        ("classifier", ["name"]),
    ],
)
def test_an_instrument_has_no_default(text, fragments):
    """A picture is measured by a default; of a measurement from elsewhere a default would be made up."""
    with pytest.raises(ValueError, match="with --measured") as caught:
        named(text, measured=True)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_no_default_of_any_operator_describes_an_instrument(name):
    """Whatever constructor: with --measured its text names all but what is computational, absent (None) or a seed."""
    for constructor, factory in constructors(name).items():
        stated = [
            key for key, p in takes(factory).items()
            if key not in {*GIVEN, *COMPUTATIONAL, "seed"} and p.default not in (p.empty, None)
        ]  # fmt: skip
        for key in stated:
            with pytest.raises(ValueError, match=rf"lacks .*{key}"):
                named(".".join(filter(None, (name, constructor))), measured=True)


def test_an_instrument_that_is_drawn_by_chance_is_warned_of():
    with pytest.warns(DrawnInstrument, match="drawn at random"):
        named("blur:motion=9,seed=3", measured=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named("blur:length=9,angle=30", measured=True)
        named("blur:motion=9,seed=3")


@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_the_list_of_arguments_is_whole(name):
    with pytest.raises(ValueError, match="unknown argument 'nothing'") as caught:
        named(f"{name}:nothing=1")
    assert str(keys(name)) in str(caught.value)
    if name == "blur":
        assert {"sigma", "motion", "file", "length", "angle", "kernel", "boundary"} <= set(keys(name))


def test_a_misspelt_key_and_a_method_s_name():
    with pytest.raises(ValueError, match="did you mean 'sigma'"):
        named("blur:sgima=2")
    with pytest.raises(ValueError, match=r"'DPS' is a method.*--method dps"):
        named("DPS")
    with pytest.raises(ValueError, match="Did you mean 'identity'"):
        named("denoising:sigma=2")
