"""Names that newcomers try lead to an operator."""

import pytest

import operators
from operators import registry


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("inpainting", "'masking'"),
        ("superresolution", "'resize' or 'downsampling'"),
        ("Super-Resolution", "'resize' or 'downsampling'"),
        ("denoising", "'identity'"),
        ("colorization", "'grayscale'"),
        ("deblurring", "'blur'"),
        ("motion_blur", "'blur'"),
        ("MRI", "'fourier'"),
        ("BLUR", "'blur'"),
        ("Identity", "'identity'"),
    ],
)
def test_a_name_that_newcomers_try(name, meant):
    for ask in (operators.get, operators.make):
        with pytest.raises(ValueError, match=f"Did you mean {meant}. Available: bayer, blur"):
            ask(name)


def test_every_suggestion_is_an_operator_and_the_list_is_whole():
    meant = {name for text in registry.SUGGESTIONS.values() for name in text.split("' or '")}
    known = {*operators.available(), *operators.available(volumes=True)}
    assert meant <= known and not set(registry.SUGGESTIONS) & known
    whole = ", ".join(operators.available()) + "; of volumes: " + ", ".join(operators.available(volumes=True))
    with pytest.raises(ValueError, match="Available: " + whole):
        operators.get("nothing")
