"""What the estimates of a scan miss counts as noise: simulated scans are explained to their noise, by default."""

import warnings

import pytest
import torch

import priors
from inverse import solve
from inverse.app.fastmri import Scan
from inverse.app.scan_noise import bands, non_increasing, suspects, with_errors
from inverse.quality import PoorFit, residual_chi2
from operators import Fourier, GaussianNoise
from operators.coils import smooth_sensitivities
from operators.kspace import to_complex
from operators.sampling import cartesian

SIZE = (48, 48)


def simulated(coils, sigma=0.01, given=False, twist=1.0):
    """A draw of the brain prior behind coils and a phase, a quarter of its columns; with what was true."""
    picture = priors.samples("brain-mri").floats()[:1, :, 8:56, 8:56]
    y, x = (torch.linspace(-1, 1, n) for n in SIZE)
    phase = 0.2 + twist * (0.5 * y[:, None] + 0.7 * x * y[:, None])
    maps, mask = None if coils is None else smooth_sensitivities(coils, SIZE), cartesian(SIZE, 4, 5 / 48)
    operator = Fourier(mask, maps, phase, GaussianNoise(sigma))
    measured = operator.measure(picture, seed=1)
    known = maps[None] if given and maps is not None else None
    return Scan(to_complex(measured), mask[None], known, (0,), 1), operator, measured, picture


def chi2_of(prior, operator, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoorFit)
        found = solve(prior, operator, y, 2, "mmps", 9, progress=False)
    return float(torch.stack([residual_chi2(operator, y, x) for x in found.samples.unbind(1)]).mean())


@pytest.fixture(scope="module")
def prior():
    return priors.load("brain-mri", event_shape=(1, *SIZE))


@pytest.mark.parametrize(
    "coils, given",
    [
        (4, False),
        pytest.param(8, True, marks=pytest.mark.slow),
    ],
)
def test_samples_explain_a_scan_to_its_noise(prior, coils, given):
    """With true coils, phase and sigma chi^2 is 1; with estimates of all, 1 +- .1 by default, and sigma is found."""
    scan, operator, y, picture = simulated(coils, given=given)
    assert float(residual_chi2(operator, y, picture)) == pytest.approx(1, abs=0.08)
    posed = scan.problem(0)
    assert set(posed.estimated) == {"phase", "sigma"} | ({"sensitivities"} if coils and not given else set())
    found = with_errors(posed, prior)
    assert chi2_of(prior, found.operator, found.y) == pytest.approx(1, abs=0.1)
    assert found.sigma == pytest.approx(0.01, rel=0.25) and abs(posed.sigma - 0.01) > abs(found.sigma - 0.01)
    assert suspects(found, posed) == []
    assert float(posed.operator.noise.sigma) == pytest.approx(posed.sigma / posed.scale)  # it keeps its own


def test_one_coil_with_a_strong_phase_is_explained(prior):
    """A smooth phase of up to 5 radians and five columns of calibration: no warning, and none is needed."""
    scan, *_ = simulated(None, 0.02, twist=4.0)
    posed = scan.problem(0)
    found = with_errors(posed, prior)
    assert chi2_of(prior, found.operator, found.y) == pytest.approx(1, abs=0.1) and suspects(found, posed) == []


def test_a_phase_that_was_missed_is_suspected(prior):
    """A phase of many turns, which five columns do not tell; the sigma that was given stays."""
    scan, *_ = simulated(None, 0.02, twist=8.0)
    posed = scan.problem(0, sigma=0.02)
    found = with_errors(posed, prior)
    assert found.sigma == pytest.approx(0.02) and found.excess > 4
    (text,) = suspects(found, posed)
    assert "the estimated phase does not explain y" in text and "complex" in text


def test_nothing_to_estimate_is_nothing_to_do(prior):
    scan, *_ = simulated(4, given=True)
    posed = scan.problem(0, channels=2, sigma=0.01)
    assert with_errors(posed, prior) is posed


def test_bands_are_of_as_many_samples():
    mask = cartesian(SIZE, 4, 0.1)
    band, counts = bands(mask, 6)
    assert int(counts.sum()) == int(mask.sum()) and float(counts.max() / counts.min()) < 1.3
    assert int(band[24, 24]) == 0 and int(band[0, 0]) == 5


def test_pools_of_violators():
    """The nearest sequence that does not increase, as by hand."""
    values, ones = torch.tensor([5.0, 1.0, 3.0, 2.0, 2.5]), torch.ones(5)
    assert non_increasing(values, ones).tolist() == pytest.approx([5, 2.125, 2.125, 2.125, 2.125])
    heavy = non_increasing(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0]))
    assert heavy.tolist() == pytest.approx([1.75, 1.75])
