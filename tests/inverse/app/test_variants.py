"""A kernel or colour pattern that was described in the wrong orientation is found; a right one is left alone."""

from functools import wraps

import pytest
import torch

import inverse.app.variants
import priors
from inverse import compare_variants
from inverse.app.variants import ALIKE, ORIENTATIONS, exchanged, likelier, turned
from operators import Bayer, Blur, GaussianNoise, Masking, Operator, variants

NATURAL = priors.load("natural")
NOISE = GaussianNoise(0.01)
HOOK = torch.zeros(9, 9)  # a movement to the right and down, slower at its end
HOOK[2, 1:7] = torch.linspace(1, 2, 6)
HOOK[2:8, 6] = torch.linspace(2, 4, 6)
HOOK /= HOOK.sum()
PAIRS = {  # name: what measured, what is stated, the remedy
    "turned kernel": (
        Blur(HOOK, "valid", NOISE),
        Blur(HOOK.flip(0, 1), "valid", NOISE),
        "kernel turned by 180 degrees",
    ),
    "transposed kernel": (Blur(HOOK, "valid", NOISE), Blur(HOOK.mT, "valid", NOISE), "kernel transposed"),
    "colour pattern": (Bayer("RGGB", NOISE), Bayer("GRBG", NOISE), "pattern RGGB"),
}


def key(x):
    """What an argument is, by value; priors by identity."""
    if isinstance(x, torch.Tensor):
        return tuple(x.shape), x.numpy().tobytes()
    if isinstance(x, Operator):
        told = [type(x), getattr(x, "boundary", None), getattr(x, "pattern", None)]
        return *told, *((name, key(value)) for name, value in x.named_buffers())
    return x


def remembered(function):
    """The same function, which computes the result of the same arguments once."""
    known = {}

    @wraps(function)
    def found(*arguments):
        name = tuple(map(key, arguments))
        if name not in known:
            known[name] = function(*arguments)
        return known[name]

    return found


@pytest.fixture(scope="module", autouse=True)
def once():
    """Posterior samples and densities are functions of operator, y and picture, which these tests meet again and again:
    the variants of one kernel are those of another, and the orientations of a picture those of the turned one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_drawn", "_log_density"):
            patch.setattr(inverse.app.variants, name, remembered(getattr(inverse.app.variants, name)))
        yield


def measured(operator: Operator, n: int = 1) -> torch.Tensor:
    return operator.measure(priors.samples("natural").floats()[1 : 1 + n, :, 40:108, 40:108], seed=3)


@pytest.mark.parametrize("name", PAIRS)
def test_the_usual_mistake_is_named_and_the_right_operator_is_left_alone(name):
    right, stated, remedy = PAIRS[name]
    y = measured(right)
    assert all(gain < 0 for gain in compare_variants(NATURAL, right, y).values())
    assert likelier(NATURAL, right, y) == ""
    found = compare_variants(NATURAL, stated, y)
    assert found[remedy] > ALIKE * max(found.values())  # two patterns of a sensor have their greens at the same places
    text = likelier(NATURAL, stated, y)
    assert "more probable with the" in text and remedy in text


def test_other_operators_are_not_compared_and_several_measurements_are_refused():
    mask = Masking.random((1, 68, 68), 0.5, noise=NOISE)
    assert compare_variants(NATURAL, mask, measured(mask)) == {} and likelier(NATURAL, mask, measured(mask)) == ""
    with pytest.raises(ValueError, match="one by one"):
        compare_variants(NATURAL, Bayer(noise=NOISE), measured(Bayer(), 2))


def test_a_kernel_that_is_nearly_symmetric_is_left_alone():
    """Turned by 180 degrees it blurs alike, to within the noise, whatever the prior finds."""
    nearly = Blur.gaussian(1.5).kernel[0].clone()
    nearly[6, 8] += 0.02
    stated = Blur(nearly / nearly.sum(), "valid", NOISE)
    assert "kernel turned by 180 degrees" in variants(stated)
    assert compare_variants(NATURAL, stated, measured(stated)) == {}


def test_heads_that_are_not_upright_are_reported():
    """Of the pictures shipped with the prior, one by one; mirror images are as good."""
    prior = priors.load("brain-mri")
    heads = priors.samples("brain-mri").floats()[:6]
    assert [turned(prior, head[None]) for head in heads] == [""] * 6
    assert [turned(prior, head[None].flip(-1)) for head in heads] == [""] * 6
    for name in ("transposed", "turned by 90 degrees", "mirrored top to bottom"):
        wrong = [turned(prior, ORIENTATIONS[name](head[None])) for head in heads]
        assert sum(bool(text) for text in wrong) >= 3, name
    assert all("more probable" in text for text in wrong if text)


def test_red_and_blue_that_were_exchanged_are_reported():
    """Of the pictures shipped with the prior, none as it is, and half of them exchanged."""
    pictures = priors.samples("natural").floats()
    blur, bayer = Blur(HOOK, "valid", NOISE), Bayer("BGGR", NOISE)
    assert [exchanged(NATURAL, blur, x[None]) for x in pictures] == [""] * len(pictures)
    texts = [exchanged(NATURAL, blur, x[None].flip(1)) for x in pictures]
    assert sum(bool(text) for text in texts) >= len(pictures) // 2
    sensor = [exchanged(NATURAL, bayer, x[None].flip(1)) for x in pictures]
    assert all("bayer:pattern=RGGB" in text for text in sensor if text) and any(sensor)
    assert exchanged(priors.load("natural-grey"), blur, pictures[:1, :1]) == ""
