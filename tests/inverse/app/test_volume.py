"""`inverse volume`: volumes of 16^3 voxels of known truth, from files as an instrument would have written them."""

import re

import h5py
import numpy as np
import pytest
import tifffile
import torch
from skimage.io import imsave
from typer.testing import CliRunner

import inverse.app.cli
import operators
import priors
from inverse import Solution, solve
from inverse.app.operator_text import named
from inverse.app.options import VolumeOptions
from inverse.app.volumes.baseline import baseline, coupling, doubts
from inverse.app.volumes.posing import pose
from inverse.app.volumes.text import size_of
from operators import AlongAxis, Blur, ConeBeam, FanBeam, GaussianNoise, Slicewise
from priors import Slices

N, VIEWS = 16, 24
SCANNER = f"cone_beam:angles={VIEWS},source=32,detector=16,spacing=2,pixel=1,offset=0"
SIZE = f"{N}x{N}x{N}"
THICK = "along_axis:sigma=0.8,every=2"


def scanner() -> ConeBeam:
    return ConeBeam(VIEWS, 32.0, 16.0, N, (20, 20), 2.0, GaussianNoise(0.05))


def body() -> torch.Tensor:
    """(1, 1, N, N, N): an ellipsoid off the middle with a bone and a hole, which changes along the axis."""
    line = (torch.arange(N) - (N - 1) / 2) / (N / 2)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    inside = ((z / 1.5) ** 2 + ((y - 0.1) / 0.6) ** 2 + ((x + 0.05) / 0.8) ** 2 < 1).float()
    hole = ((y + 0.1) ** 2 + (x - 0.3 - 0.1 * z) ** 2 < 0.06).float()
    bone = ((y - 0.35) ** 2 + (x + 0.2) ** 2 < 0.03).float()
    return (0.26 * inside - 0.2 * inside * hole + 0.15 * bone)[None, None]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    y = scanner().measure(body(), seed=0)[0, 0].numpy()
    np.save(folder / "projections.npy", y)
    np.save(folder / "rows first.npy", y.transpose(1, 0, 2))
    np.save(folder / "fewer.npy", y[:-1])
    np.save(folder / "one.npy", y[0])
    np.save(folder / "radians.npy", np.linspace(0, 2 * np.pi, VIEWS, endpoint=False))
    imsave(folder / "picture.png", np.zeros((N, N), np.uint8), check_contrast=False)
    with h5py.File(folder / "projections.h5", "w") as file:
        file["y"] = y
    stack = AlongAxis.gaussian(N, 0.8, 2, noise=GaussianNoise(0.01)).measure(body(), seed=0)[0, 0]
    tifffile.imwrite(folder / "stack.tif", (4095 * stack + 100).clamp(0, 65535).numpy().astype(np.uint16))
    return folder


def call(place, file, *options):
    line = ["volume", str(place / file), *map(str, options)]
    return CliRunner().invoke(inverse.app.cli.app, line, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def solved(place):
    """One sample, and then another one by the same command with more --samples."""
    options = ["--operator", SCANNER, "--prior", "ct", "--size", SIZE, "--sigma", "0.05", "--coupling", "0.03"]
    options += ["--precision", "float32", "--steps", "5", "--out", place / "out"]
    first = call(place, "projections.npy", *options, "--samples", 1)
    assert first.exit_code == 0, first.output
    before = Solution.load(place / "out" / "solution.h5")
    return before, call(place, "projections.npy", *options, "--samples", 2), options


def test_the_samples_are_those_of_solve(place, solved):
    _, result, _ = solved
    assert result.exit_code == 0, result.output
    found = Solution.load(place / "out" / "solution.h5")
    prior = Slices(priors.load("ct", event_shape=(1, N, N)), N, coupling=0.03)
    y = torch.from_numpy(np.load(place / "projections.npy"))[None, None]
    theirs = solve(prior, scanner(), y, 2, n_steps=5, seed=0, progress=False)
    torch.testing.assert_close(found.samples, theirs.samples, atol=2e-3, rtol=0)
    assert (theirs.samples[:, 0] - theirs.samples[:, 1]).abs().mean() > 0.002  # two draws


def test_more_samples_keep_the_first_and_a_third_call_does_nothing(place, solved):
    before, result, options = solved
    found = Solution.load(place / "out" / "solution.h5")
    assert "2, 1 of them already finished" in result.output and found.samples.shape[1] == 2
    assert torch.equal(found.samples[:, :1], before.samples)
    assert "nothing to do" in call(place, "projections.npy", *options, "--samples", 2).output
    other = call(place, "projections.npy", *options, "--samples", 2, "--coupling", "0.02")
    assert other.exit_code == 2 and "samples of another problem" in other.output


def test_the_volumes_are_in_hounsfield_units_and_nearer_than_feldkamp(place, solved):
    truth = priors.load("ct").units.physical(body()[0, 0].numpy())
    mean, base, std = (np.load(place / "out" / f"{name}.npy") for name in ("mean", "baseline", "std"))
    assert mean.shape == base.shape == std.shape == (N, N, N)
    errors = [np.sqrt(np.square(x - truth).mean()) for x in (mean, base)]
    assert errors[0] < 0.85 * errors[1] and errors[0] < 150 and (std >= 0).all() and 5 < std.mean() < 150
    held = Solution.load(place / "out" / "solution.h5")
    np.testing.assert_allclose(mean, -1024 + 4095 * held.mean[0, 0].numpy(), atol=0.5)


def test_the_page_has_the_planes_the_figures_and_the_command(place, solved):
    page = (place / "out" / "index.html").read_text()
    names = re.findall(r'<figure data-name="([^"]*)"', page)
    assert names == ["mean", "std", "sample 1", "baseline"]
    assert "volumes that are consistent" in page and "FDK, without the prior" in page and "chi^2" in page
    assert "middle slices along the first" in page and "0.03, as requested" in page and " HU" in page


def test_a_dry_run_tells_the_plan_and_writes_nothing(place):
    options = ["--operator", SCANNER, "--size", SIZE, "--out", place / "dry", "--dry", "--steps", "5"]
    result = call(place, "projections.h5", *options)
    assert result.exit_code == 0, result.output
    for text in (
        "16 x 16 x 16 voxels",
        "ct, chosen because",
        "estimated from smooth regions of the proj",
        "FDK",
        "time",
    ):
        assert text in result.output
    assert not (place / "dry").exists()
    level = float(re.search(r"sigma\s+([\d.]+), estimated", result.output)[1])
    assert 0.04 < level < 0.065  # 0.05


def test_every_second_slice_of_a_stack(place):
    """Written as it came: several pages, in the units of the file."""
    options = ["--operator", THICK, "--prior", "ct", "--size", SIZE, "--range", 100, 4195, "--out", place / "thick"]
    result = call(place, "stack.tif", *options, "--samples", 2, "--steps", 10)
    assert result.exit_code == 0, result.output
    truth = 100 + 4095 * body()[0, 0].numpy()
    mean, std, base = (tifffile.imread(place / "thick" / f"{name}.tif") for name in ("mean", "std", "baseline"))
    assert mean.shape == std.shape == base.shape == (N, N, N) and mean.dtype == np.float32
    errors = [np.sqrt(np.square(x - truth).mean()) for x in (mean, base)]
    assert errors[0] < 1.2 * errors[1] < 200 and 5 < std.mean() < 150


def test_without_a_size_the_ends_are_measured(place):
    result = call(place, "stack.tif", "--operator", THICK, "--prior", "ct", "--range", 100, 4195, "--dry", "--steps", 2)
    assert result.exit_code == 0 and "15 x 16 x 16 voxels" in result.output, result.output


def test_a_blur_in_the_slices_after_one_along_the_axis(place):
    """The operator is that of Python, and the measurement is taken slice by slice."""
    blur = Slicewise(Blur.gaussian(1.0, "reflect")) @ AlongAxis.gaussian(N, 0.8, 2)
    y = blur.with_noise(GaussianNoise(0.01)).measure(body(), seed=0)
    np.save(place / "blurred.npy", y[0, :, 0].numpy())
    lines = ["--operator", THICK, "--operator", "blur:sigma=1,boundary=reflect", "--range", 0, 1]
    result = call(place, "blurred.npy", *lines, "--size", SIZE, "--prior", "ct", "--dry", "--steps", 2)
    assert result.exit_code == 0 and "every slice by Blur.gaussian" in result.output, result.output


COMMON = ["--prior", "ct", "--sigma", "0.05", "--dry"]
REFUSED = [
    ("rows first.npy", [SCANNER, "--size", SIZE], r"the views are axis 1: save numpy.moveaxis\(y, 1, 0\)"),
    ("fewer.npy", [SCANNER, "--size", SIZE], "23 views .* 24 angles: give one angle for each view"),
    ("one.npy", [SCANNER, "--size", SIZE], "which is a picture, not a volume.*inverse solve"),
    ("picture.png", [SCANNER, "--size", SIZE], "a picture is solved by `inverse solve`"),
    ("projections.npy", [SCANNER], "--size 64x64x64"),
    ("projections.npy", [SCANNER, "--size", "16x16"], "expected DEPTHxHEIGHTxWIDTH"),
    ("projections.npy", [f"{SCANNER},size=8", "--size", SIZE], "give one of them"),
    ("projections.npy", [SCANNER.replace("spacing=2,", ""), "--size", SIZE], "lacks spacing"),
    ("projections.npy", [SCANNER, "--size", SIZE, "--coupling", "-1"], "expected auto, none"),
    ("projections.npy", [SCANNER, "--size", SIZE, "--range", "0", "1"], "not pictures: omit"),
    ("projections.npy", [SCANNER.replace(f"={VIEWS}", "=RADIANS"), "--size", SIZE], 'radians.*give unit="radians"'),
    ("projections.npy", [SCANNER, "--operator", THICK, "--size", SIZE], "expected a cone_beam; or along_axis"),
    ("projections.npy", [SCANNER, "--size", SIZE, "--attenuation", "2", "--prior", "natural-grey"], "prior in HU"),
    ("stack.tif", [THICK, "--range", "0", "4095", "--size", "20x16x16"], "depth of 15 to 16"),
    ("stack.tif", [THICK, "--range", "0", "4095", "--size", "16x16x20"], "axis of the slices comes first"),
    ("stack.tif", ["blur:sigma=1", "--range", "0", "4095"], "boundary=reflect"),
    ("stack.tif", ["radon:angles=16,pixel=1,size=16,detectors=16", "--sigma", "auto"], "give --sigma as a number"),
]


@pytest.mark.parametrize(("file", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_a_remedy(place, file, options, message):
    options = [text.replace("RADIANS", str(place / "radians.npy")) for text in options]
    result = call(place, file, *COMMON, "--operator", *options)
    assert result.exit_code == 2 and re.search(message, result.output), result.output


def test_a_cone_beam_is_not_for_pictures(place):
    line = ["solve", str(place / "projections.npy"), "--measured", "--operator", SCANNER]
    result = CliRunner().invoke(inverse.app.cli.app, line)
    assert result.exit_code == 2 and "use `inverse volume`" in result.output
    with pytest.raises(ValueError, match="measures volumes"):
        named("along_axis:matrix=a.npy")


def test_the_registry_of_volumes_is_apart_from_that_of_pictures():
    assert operators.available(volumes=True) == ["along_axis", "cone_beam"]
    assert not set(operators.available()) & set(operators.available(volumes=True))
    assert operators.get("cone_beam") is ConeBeam and isinstance(
        operators.make("cone_beam", angles=8, source=30.0), ConeBeam
    )
    with pytest.raises(ValueError, match="already used"):
        operators.register("blur", volumes=True)(ConeBeam)
    with pytest.raises(ValueError, match="Did you mean 'cone_beam'"):
        operators.get("cbct")


def test_the_examples_of_the_help_are_shown():
    for name in operators.available(volumes=True):
        result = CliRunner().invoke(inverse.app.cli.app, ["operators", name.replace("_", "-")], env={"COLUMNS": "200"})
        assert result.exit_code == 0 and result.output.count("inverse volume ") == 2, result.output


def test_views_in_the_other_order_and_swapped_axes_are_doubted():
    operator = scanner().at((1, N, N, N))
    y = operator.measure(body(), seed=0)
    assert doubts(operator, y) == []
    assert ["opposite order" in text for text in doubts(operator, y.flip(2))] == [True]
    assert ["y.transpose(1, 0, 2)" in text for text in doubts(operator, y.transpose(2, 3))] == [True]


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_interpolation_is_exact_on_a_ramp(factor):
    """Between the first and the last measured slice."""
    ramp = torch.arange(13.0).view(1, 1, 13, 1, 1).expand(1, 1, 13, 3, 4)
    operator = AlongAxis.gaussian(13, 0.0, factor).at((1, 13, 3, 4))
    found = baseline(operator, operator(ramp))
    assert found is not None and found[1] == "interpolation"
    torch.testing.assert_close(found[0], ramp)


@pytest.mark.parametrize("every", [1, 2])
def test_the_coupling_of_a_random_walk_is_found_through_noise(every):
    generator = torch.Generator().manual_seed(5)
    x = (0.04 * torch.randn(1, 1, 40, 24, 24, generator=generator)).cumsum(2)
    operator = AlongAxis.gaussian(40, 0.0, every, noise=GaussianNoise(0.05)).at((1, 40, 24, 24))
    found, _ = coupling(operator, operator.measure(x, seed=0), 0.05)
    assert found == pytest.approx(0.04, rel=0.1)


def test_slices_of_fan_beams_have_a_baseline_too():
    operator = Slicewise(FanBeam(60, 40.0, size=N)).at((1, N, N, N))
    found = baseline(operator, operator(body()))
    assert found is not None and (found[0] - body()).norm() < 0.35 * body().norm()


def test_line_integrals_of_attenuation_are_those_of_hounsfield_units(place):
    """-log(I / I0) in voxels of 2 mm, as a scanner gives it, has the baseline of the same volume in image units."""
    units = priors.load("ct").units
    low, high = operators.attenuation(units.zero), operators.attenuation(units.one)
    clean = ConeBeam(VIEWS, 32.0, 16.0, N, (20, 20), 2.0, pixel=2.0)(low + (high - low) * body())
    np.save(place / "attenuation.npy", clean[0, 0].numpy())
    options = VolumeOptions(
        operator="", operators=(SCANNER.replace("pixel=1,", ""),), sigma="0.01", prior="ct", config=None, samples=1,
        method="auto", budget=None, steps=2, antithetic=False, seed=0, size=SIZE, precision="float32", overwrite=False,
        dry=True, coupling="none", attenuation=2.0, device="cpu",
    )  # fmt: skip
    posed = pose(place / "attenuation.npy", options)
    torch.testing.assert_close(posed.problem.operator(body()), posed.problem.y, atol=1e-3, rtol=1e-3)


def test_sizes():
    assert size_of("4x5x6") == (4, 5, 6) and size_of(None) is None
    for text in ("64", "4x5", "0x4x4", "axbxc"):
        with pytest.raises(ValueError, match="DEPTHxHEIGHTxWIDTH"):
            size_of(text)
