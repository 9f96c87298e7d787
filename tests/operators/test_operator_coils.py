"""Coils and phases that are estimated, beside those that were simulated."""

import pytest
import torch

from operators import Fourier, GaussianNoise
from operators.coils import estimate_phase, estimate_sensitivities, smooth_sensitivities
from operators.sampling import cartesian, poisson_disc

SIZE = (48, 41)


def ellipses() -> torch.Tensor:
    """A head of sorts, (H, W): a bright rim, grey inside, and two dark holes."""
    y, x = (torch.linspace(-1, 1, n) for n in SIZE)
    r = (y[:, None] / 0.85) ** 2 + (x / 0.7) ** 2
    holes = ((y[:, None] - 0.2) / 0.3) ** 2 + ((x.abs() - 0.25) / 0.12) ** 2
    return (r < 1).float() - 0.5 * (r < 0.8) - 0.3 * (holes < 1)


def smooth_phase() -> torch.Tensor:
    y, x = (torch.linspace(-1, 1, n) for n in SIZE)
    return 0.8 * y[:, None] + 0.9 * x * y[:, None] - 0.4


@pytest.mark.parametrize("coils", [1, 4, 9])
def test_simulated_coils_share_the_picture(coils):
    maps = smooth_sensitivities(coils, SIZE)
    assert maps.shape == (coils, *SIZE) and maps.is_complex()
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(SIZE))
    for axis in (1, 2):
        assert maps.diff(dim=axis).abs().max() < 0.15  # smooth: no step between neighbours
    if coils > 1:  # each is brightest at its own place, on the border
        places = maps.abs().flatten(1).argmax(1)
        assert len(places.unique()) == coils


@pytest.mark.parametrize(
    "mask", [cartesian(SIZE, 2.5, 0.3), poisson_disc(SIZE, 2.5, 0.35)], ids=["columns", "Poisson disc"]
)
@pytest.mark.parametrize("coils", [4, 6])
def test_coils_are_found_where_there_is_a_picture(mask, coils):
    """Up to the picture's own phase, which goes into them: what is left of it after that is noise and ringing."""
    maps, phase, x = smooth_sensitivities(coils, SIZE), smooth_phase(), ellipses()
    y = Fourier(mask, maps, phase, GaussianNoise(0.005)).measure(x[None, None], seed=0)
    found = estimate_sensitivities(y, mask)
    torch.testing.assert_close(found.abs().square().sum(1), torch.ones(1, *SIZE))
    overlap = (found[0].conj() * maps * torch.polar(torch.ones(()), phase)).sum(0)[x > 0.1]
    assert overlap.abs().min() > 0.98 and overlap.abs().mean() > 0.998
    assert overlap.angle().abs().mean() < 0.05
    with_them, with_true = (Fourier(mask, s, p).adjoint(y) for s, p in ((found[0], None), (maps, phase)))
    assert (with_them - with_true)[0, 0, x > 0.1].norm() < 0.05 * with_true.norm()


def test_every_measurement_has_its_own_coils():
    maps, mask, x = smooth_sensitivities(3, SIZE), cartesian(SIZE, 2, 0.3), ellipses()
    both = torch.stack([maps, maps.flip(1)])
    y = Fourier(mask, both, noise=GaussianNoise(0.005)).measure(x.expand(2, 1, *SIZE))
    found = estimate_sensitivities(y, mask)
    torch.testing.assert_close(found[1:], estimate_sensitivities(y[1:], mask))
    assert (found.conj() * both).sum(1).abs()[:, x > 0.1].min() > 0.97


@pytest.mark.parametrize("coils", [None, 3])
def test_a_smooth_phase_is_found(coils):
    mask, phase, x = cartesian(SIZE, 2, 0.3), smooth_phase(), ellipses()
    maps = None if coils is None else smooth_sensitivities(coils, SIZE)
    y = Fourier(mask, maps, phase, GaussianNoise(0.005)).measure(x[None, None], seed=0)
    error = torch.polar(torch.ones(()), estimate_phase(y, mask, maps)[0] - phase).angle()
    assert error[x > 0.1].abs().mean() < 0.03 and error[x > 0.1].abs().max() < 0.3


def columns(n):
    """The n middle columns."""
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, SIZE[1] // 2 - n // 2 : SIZE[1] // 2 + n // 2 + 1] = True
    return mask


@pytest.mark.parametrize("coils", [1, 4])
def test_coils_and_phase_of_five_columns(coils):
    """The phase is found as such, whatever the picture's resolution; conjugate symmetry gives it to a single coil."""
    maps, mask, x = smooth_sensitivities(coils, SIZE), columns(5), ellipses()
    phase = 2 * smooth_phase()
    y = Fourier(mask, maps, phase, GaussianNoise(0.005)).measure(x[None, None], seed=0)
    found = estimate_sensitivities(y, mask, sigma=0.005)[0]
    overlap = (found.conj() * maps * torch.polar(torch.ones(()), phase)).sum(0)[x > 0.1]
    low = torch.polar(torch.ones(()), estimate_phase(y, mask, maps)[0] - phase)[x > 0.1]
    assert overlap.abs().mean() > 0.99
    assert overlap.angle().square().mean() < 0.5 * low.angle().square().mean()


def test_refused():
    y = torch.ones(1, 2, 2, *SIZE)
    with pytest.raises(ValueError, match="expected at least 5 x 5; measure more"):
        estimate_sensitivities(y, columns(3))
    with pytest.raises(ValueError, match="sigma = -1"):
        estimate_sensitivities(y, columns(5), sigma=-1)
    with pytest.raises(ValueError, match="around k = 0 is zero"):
        estimate_sensitivities(0 * y, torch.ones(SIZE, dtype=torch.bool))
    with pytest.raises(ValueError, match="k = 0 is not measured"):
        estimate_phase(y[:, 0], torch.zeros(SIZE, dtype=torch.bool))
    with pytest.raises(ValueError, match="coils = 0"):
        smooth_sensitivities(0, SIZE)
