"""Time grids: from 1 to t_min, decreasing, with the spacing that each promises."""

import pytest
import torch

from inverse.grids import GRIDS, karras
from tests.cases import SDES


@pytest.mark.parametrize("n", [1, 2, 17, 1000])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grid_falls_from_one_to_t_min(grid, sde, n):
    times = grid(sde, n)
    assert times.shape == (n + 1,) and times.dtype == torch.float64
    assert times[0].item() == 1.0 and times[-1].item() == sde.t_min
    assert bool((times.diff() < 0).all())


def ratio(sde, t):
    return sde.sigma(t) / sde.alpha(t)


COORDINATE = {
    "uniform": lambda sde, t: t,
    "quadratic": lambda sde, t: t.sqrt(),
    "karras": lambda sde, t: ratio(sde, t) ** (1 / 7),
    "log_snr": lambda sde, t: ratio(sde, t).log(),
}


@pytest.mark.parametrize("name", GRIDS)
def test_steps_are_equal_in_the_grid_s_own_coordinate(name, sde):
    u = COORDINATE[name](sde, GRIDS[name](sde, 40))
    steps = u.diff()
    torch.testing.assert_close(steps, steps.mean().expand(40), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_karras_under_ve_is_the_paper_s_formula(rho):
    sde, n = SDES["ve"], 25
    first, last = sde.sigma(1.0) ** (1 / rho), sde.sigma(sde.t_min) ** (1 / rho)
    expected = torch.stack([(first + i / n * (last - first)) ** rho for i in range(n + 1)])
    torch.testing.assert_close(sde.sigma(karras(sde, n, rho=rho)), expected, rtol=1e-9, atol=0)


def test_equal_times_are_equal_log_ratios_under_ve():
    torch.testing.assert_close(GRIDS["log_snr"](SDES["ve"], 30), GRIDS["uniform"](SDES["ve"], 30), rtol=0, atol=1e-12)
