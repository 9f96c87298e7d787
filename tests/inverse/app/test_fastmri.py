"""Files of scans, what is estimated from them, and the units of what is written."""

import h5py
import pytest
import torch

import priors
from inverse import solve
from inverse.app.fastmri import noise_level, read_scan
from inverse.app.reconstruction import Reconstruction, read_reconstruction, write_reconstruction
from operators import Fourier
from operators.fourier import CoilFourier, ComplexFourier
from operators.kspace import to_channels
from operators.sampling import poisson_disc
from tests.inverse.app.scan_files import SIZE, UNITS, made, write


@pytest.mark.parametrize("coils", [None, 4])
@pytest.mark.parametrize("form", ["absent", "columns", "plane", "slices"])
def test_a_file_is_read_as_it_stands(tmp_path, coils, form):
    m = made(3, coils)
    masks = {"columns": m.mask[0].float(), "plane": m.mask, "slices": m.mask.expand(3, *SIZE).byte()}
    path = write(tmp_path / "a.h5", m.kspace, **({} if form == "absent" else {"mask": masks[form]}))
    whole, part = read_scan(path), read_scan(path, [2, 0])
    torch.testing.assert_close(whole.kspace, m.kspace)
    torch.testing.assert_close(part.kspace, m.kspace[[2, 0]])
    assert torch.equal(whole.mask, m.mask.expand(3, *SIZE))
    assert (whole.slices, part.slices, part.total, part.coils, part.size) == ((0, 1, 2), (2, 0), 3, coils, SIZE)


@pytest.mark.parametrize("rows", [40, 21, 20])
def test_a_cropped_readout_is_the_scan_of_the_middle_rows(tmp_path, rows):
    m = made(2, 3, sigma=0)
    assert m.maps is not None
    top = SIZE[0] // 2 - rows // 2
    part = read_scan(write(tmp_path / "a.h5", m.kspace, sensitivity=m.maps)).cropped(rows)
    assert part.size == (rows, SIZE[1]) and part.sensitivities is not None
    operator = Fourier(part.mask[0], part.sensitivities[0], m.phase[top : top + rows])
    expected = operator(m.pictures[:, None, top : top + rows])
    torch.testing.assert_close(to_channels(part.kspace), expected, atol=1e-5 * UNITS, rtol=0)
    with pytest.raises(ValueError, match="expected 1 to 40"):
        read_scan(tmp_path / "a.h5").cropped(41)
    disc = poisson_disc(SIZE, 3)
    with pytest.raises(ValueError, match="whole k-space columns"):
        read_scan(write(tmp_path / "b.h5", m.kspace, mask=m.mask & disc)).cropped(20)


@pytest.mark.filterwarnings("ignore::inverse.app.kspace.checks.KSpaceWarning")
def test_the_noise_of_a_cropped_readout_is_as_large(tmp_path):
    z = torch.complex(*torch.randn(2, 1, 2, 60, 30, generator=torch.Generator().manual_seed(0)))
    part = read_scan(write(tmp_path / "a.h5", z)).cropped(30).kspace
    assert torch.view_as_real(part).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["sensitivity", "sensitivities", "sens_maps"])
def test_sensitivities_of_the_file(tmp_path, name):
    m = made(2, 4)
    assert m.maps is not None
    for held in (m.maps, m.maps.expand(2, *m.maps.shape)):
        one = read_scan(write(tmp_path / "a.h5", m.kspace, **{name: held}), [1])
        assert one.sensitivities is not None and one.sensitivities.shape == (1, 4, *SIZE)
        torch.testing.assert_close(one.problem(0, channels=2).operator.maps, m.maps)


@pytest.mark.parametrize("coils", [None, 4])
@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_the_noise_is_told_by_the_border_of_k_space(coils, sigma):
    m = made(1, coils, sigma)
    assert noise_level(m.kspace[0], m.mask) == pytest.approx(m.sigma, rel=0.2)


def test_the_noise_of_noise():
    """Of 200 numbers of a Gaussian, the median absolute deviation is off by .08 of sigma (a standard error)."""
    z = torch.complex(*torch.randn(2, 40, 50, generator=torch.Generator().manual_seed(0)))
    mask = torch.ones(40, 50, dtype=torch.bool)
    assert noise_level(3 * z, mask) == pytest.approx(3, rel=0.25)
    padded = torch.where(torch.arange(50) < 40, z, 0)
    assert noise_level(padded, mask) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("coils", [None, 4])
def test_a_slice_becomes_a_problem(tmp_path, coils, given):
    """The truth, in units of the scale, explains y by what was estimated: coils, phase, noise."""
    m = made(2, coils, 0.01)
    more = {"sensitivity": m.maps} if given and m.maps is not None else {}
    problem = read_scan(write(tmp_path / "a.h5", m.kspace, **more), [1]).problem(0)
    assert type(problem.operator) is CoilFourier
    truth = (m.pictures[1] / problem.scale)[None, None]
    residual = (problem.y - problem.operator(truth)).norm() / problem.y.norm()
    assert residual < (0.12 if given or coils is None else 0.16)
    assert problem.zero_filled.flatten().quantile(0.995) == pytest.approx(1, rel=1e-3)
    assert 0.7 < float(truth.max()) < 1.4
    assert problem.sigma == pytest.approx(m.sigma, rel=0.2)
    assert float(problem.operator.noise.sigma) == pytest.approx(problem.sigma / problem.scale)


def test_complex_pictures_of_one_coil_have_orthogonal_rows(tmp_path):
    scan = read_scan(write(tmp_path / "a.h5", made(1, None).kspace))
    assert type(scan.problem(0, channels=2).operator) is ComplexFourier
    assert scan.problem(0, sigma=2e-5).sigma == 2e-5


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("coils", [None, 4])
def test_the_posterior_of_a_scan_in_scanner_units(tmp_path, channels, coils):
    """A white Gaussian prior: the samples' mean is the exact one, and 12 samples spread as they should."""
    m = made(1, coils, 0.05)
    path = write(tmp_path / "a.h5", m.kspace)
    problem = read_scan(path).problem(0, channels)
    shape, d = (channels, *SIZE), channels * SIZE[0] * SIZE[1]
    prior = priors.ScorePrior(Zero(), priors.VESDE(0.002, 50.0), shape, range=priors.DataRange(0.2, 0.4))
    solution = solve(prior, problem.operator, problem.y, 12, "mmps", 12, progress=False)
    found = Reconstruction.of(solution, problem)
    operator, mean = problem.operator, torch.full((1, *shape), 0.2)
    exact = mean + 0.16 * operator.adjoint(operator.solve_gram(problem.y - operator(mean), 0.16))
    error = (solution.mean - exact).square().mean().sqrt()
    spread = solution.std.square().mean().sqrt()
    assert error == pytest.approx(float(spread) / 12**0.5, rel=0.25), (d, error, spread)
    picture = exact[0, 0] if channels == 1 else torch.complex(exact[0, 0], exact[0, 1])
    assert found.mean.is_complex() == found.samples.is_complex() == (channels == 2)
    assert (found.mean - problem.scale * picture).abs().square().mean().sqrt() < 2 * problem.scale * error
    assert (found.std / problem.scale).square().mean() == pytest.approx(channels * float(spread) ** 2, rel=1e-3)

    write_reconstruction(
        tmp_path / "r.h5", {0: found, 7: found}, {"prior": "white", "seed": 0, "sha256": "of the scan"}
    )
    back, provenance = read_reconstruction(tmp_path / "r.h5")
    assert provenance == {"prior": "white", "seed": 0, "sha256": "of the scan"} and list(back) == [0, 7]
    assert back[7].method == found.method == "mmps"
    for name in ("samples", "log_weights", "mean", "std", "scale", "sigma"):
        assert torch.equal(torch.as_tensor(getattr(back[7], name)), torch.as_tensor(getattr(found, name))), name
    with h5py.File(tmp_path / "r.h5") as file:
        torch.testing.assert_close(torch.from_numpy(file["reconstruction"][1]), found.mean.abs())


class Zero(torch.nn.Module):
    """A preconditioned network whose answer is 0 is the one of a white Gaussian with the moments of its range."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, u, label):
        return u * self.weight


def test_one_sample_has_no_spread(tmp_path):
    problem = read_scan(write(tmp_path / "a.h5", made(1, None).kspace)).problem(0)
    prior = priors.ScorePrior(Zero(), priors.VESDE(0.002, 50.0), (1, *SIZE))
    found = Reconstruction.of(solve(prior, problem.operator, problem.y, 1, "mmps", 3, progress=False), problem)
    assert found.std.isnan().all() and torch.equal(found.mean, found.samples[0])


M = made(2, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kspace": M.kspace.abs()}, r"expected a dataset 'kspace'.*complex"),
        ({"kspace": M.kspace[0, 0]}, r"\(slices, H, W\)"),
        ({"kspace": M.kspace / 0}, "nan, infinite"),
        ({"mask": torch.ones(36)}, r"'mask' is \(36,\); expected"),
        ({"mask": torch.full((37,), 0.5)}, "0 and 1"),
        ({"sensitivity": torch.ones(2, *SIZE) + 0j}, r"'sensitivity' is \(2, 40, 37\)"),
        ({"sensitivity": torch.ones(3, *SIZE)}, "complex values"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, more, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in ({"kspace": M.kspace} | more).items():
            file[name] = value.numpy()
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "a.h5")


def test_files_that_are_none(tmp_path):
    path = write(tmp_path / "a.h5", M.kspace)
    with pytest.raises(FileNotFoundError, match="no scan at"):
        read_scan(tmp_path / "b.h5")
    with pytest.raises(ValueError, match=r"slices = \[2\].*0 to 1"):
        read_scan(path, [2])
    (tmp_path / "c.h5").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated"):
        read_scan(tmp_path / "c.h5")
    with pytest.raises(ValueError, match="'slices' is missing"):
        read_reconstruction(path)
    with pytest.raises(FileNotFoundError, match="no reconstruction at"):
        read_reconstruction(tmp_path / "b.h5")


def test_slices_that_tell_nothing(tmp_path):
    scan = read_scan(write(tmp_path / "a.h5", 0 * M.kspace, mask=M.mask))
    with pytest.raises(ValueError, match="slice 0 is zero everywhere"):
        scan.problem(0)
    few = torch.zeros_like(M.kspace)
    few[..., 18:20, 18:20] = UNITS
    with pytest.raises(ValueError, match="give sigma"):
        read_scan(write(tmp_path / "b.h5", few)).problem(0)
    with pytest.raises(ValueError, match="give the sensitivities"):
        read_scan(write(tmp_path / "b.h5", few)).problem(0, sigma=1e-5)
