"""Saturated pixels and kernels that do not sum to 1."""

import pytest
import torch

import priors
from inverse import DoubtfulInstrument, solve
from inverse.quality.instrument import doubtful
from operators import Blur, GaussianNoise, Identity, Masking, PoissonNoise, Saturation
from operators.kernels import gaussian_kernel

SHAPE = (1, 24, 24)
NOISE = GaussianNoise(0.05)


def photo(seed=0, brightness=0.5):
    ramp = torch.linspace(0, 1, 24).expand(1, *SHAPE) - 0.5 + brightness
    return ramp + 0.05 * torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


def eight_bits(y):
    return (255 * y.clamp(0, 1)).round() / 255


@pytest.mark.parametrize("operator", [Identity(NOISE), Blur(gaussian_kernel(1.0, 5), "reflect", NOISE)])
def test_saturated_pixels_are_counted(operator):
    y = eight_bits(photo(brightness=0.9))
    (text,) = doubtful(operator, y)
    share = float((y == 1).float().mean())
    assert share > 0.2 and f"{share:.1%} of y are exactly at its largest value, 1," in text and "Saturation" in text


@pytest.mark.parametrize(
    "y",
    [
        photo(),
        eight_bits(0.4 * photo() + 0.2),
        torch.full((1, *SHAPE), 0.5),
        (photo() > 0.5).float(),
        photo(brightness=2.0),
    ],
)
def test_other_measurements_are_not_doubted(y):
    assert doubtful(Identity(NOISE), y) == [""]


def test_unmeasured_pixels_and_what_clips_itself_do_not_count():
    y = eight_bits(photo(brightness=0.9))
    mask = y[0] < 1
    masked = torch.where(mask, y, 0.0)
    assert doubtful(Masking(mask, noise=NOISE), masked) == [""]
    assert doubtful(Saturation(1.0, noise=NOISE), y) == [""]
    assert doubtful(Identity(PoissonNoise(50.0)), y) == [""]


@pytest.mark.parametrize(("factor", "warned"), [(1.0, False), (0.5, True), (255.0, True)])
def test_kernels_of_another_sum(factor, warned):
    operator = Blur(factor * gaussian_kernel(1.0, 5), "reflect", NOISE)
    for one in (operator, Masking(torch.ones(SHAPE, dtype=torch.bool)) @ operator):
        (text,) = doubtful(one, factor * photo())
        assert (f"sums to {factor:.4g}" in text and "kernel / kernel.sum()" in text) == warned


def test_a_solve_warns_once_for_all_measurements():
    prior = priors.Gaussian(torch.zeros(SHAPE).flatten(), 0.1 * torch.eye(576), sde=priors.VPSDE(), event_shape=SHAPE)
    y = eight_bits(torch.cat([photo(0, 0.9), photo(1, 0.9), photo(2)]))
    with pytest.warns(DoubtfulInstrument) as caught:
        solve(prior, Identity(NOISE), y, 1, "ddrm", 2, progress=False)
    found = [str(w.message) for w in caught if w.category is DoubtfulInstrument]
    assert len(found) == 1 and found[0].startswith("measurement 0: ") and found[0].endswith("(and 1 more)")


@pytest.mark.parametrize("inverted", [False, True])
def test_a_mask_that_shows_only_zeros_is_doubted(inverted):
    shown = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.4
    y = torch.where(shown, photo(), 0.0)
    operator = Masking(~shown if inverted else shown, noise=NOISE)
    (text,) = doubtful(operator, torch.where(operator.mask.bool(), y, 0.0))
    assert ("is the mask inverted?" in text) == inverted


@pytest.mark.parametrize("kind", ["box", "pixels"])
@pytest.mark.parametrize("moved", [(0, 0), (0, 1), (0, -1), (4, -5)])
def test_a_mask_that_is_moved_is_doubted(kind, moved):
    """Of a file that is 0 where nothing was measured; black pixels of the picture are no hole."""
    box = torch.ones(SHAPE, dtype=torch.bool)
    box[:, 8:16, 6:14] = False
    pixels = (torch.rand(SHAPE[1:], generator=torch.Generator().manual_seed(2)) < 0.5).expand(SHAPE)
    shown = {"box": box, "pixels": pixels}[kind]
    x = photo()[0] + 0.1
    x[:, 3, 3:6] = 0.0
    y = torch.where(shown, x, 0.0)[None]
    operator = Masking(shown.roll(moved, (-2, -1)), noise=NOISE)
    (text,) = doubtful(operator, torch.where(operator.mask.bool(), y, 0.0))
    assert (f"moved by ({-moved[0]}, {-moved[1]})" in text) == any(moved) == bool(text)
    x[:, :12] = 0.0  # a black half
    (text,) = doubtful(Masking(shown, noise=NOISE), torch.where(shown, x, 0.0)[None])
    assert not text


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (1 / 65535, True)])
def test_counts_that_were_scaled_are_doubted(scale, warned):
    operator = Identity(PoissonNoise(30.0))
    y = operator.measure(photo().clamp(0, 1), seed=0)
    (text,) = doubtful(operator, 30 * scale * y if warned else y)
    assert ("counts / peak" in text) == warned
