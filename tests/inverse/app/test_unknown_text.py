"""Unknown parameters on the command line: what is asked, what is refused, and whole runs on small pictures."""

import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import operators
from inverse import Solution
from inverse.app.cli import app
from inverse.app.unknown_text import OF_BLUR, OF_NOISE, unknowns, words
from inverse.solve.unknown import LogUniform, Uniform
from inverse.solve.unknown.inference import Effort
from operators import Blur, GaussianNoise, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise
from operators.kernels import disc_kernel, gaussian_kernel, line_kernel
from priors.checkpoints import save
from tests.cases import score_prior

SHAPE = (1, 32, 32)
ASKED = [  # --unknown, --operator, values of the parameters, the kernel and the noise that they make
    ("width", "blur", {"width": 1.2}, gaussian_kernel(1.2, 25), GaussianNoise(1.0)),
    ("width=0.5:3", "blur:boundary=reflect", {"width": 2.0}, gaussian_kernel(2.0, 19), GaussianNoise(1.0)),
    ("width=0.5..3", "blur.gaussian", {"width": 2.0}, gaussian_kernel(2.0, 19), GaussianNoise(1.0)),
    ("radius=1:5,sigma", "blur", {"radius": 2.5, "sigma": 0.1}, disc_kernel(2.5, 13), GaussianNoise(0.1)),
    ("radius=1:5", "blur.defocus", {"radius": 2.5}, disc_kernel(2.5, 13), GaussianNoise(1.0)),
    ("length=3:9", "blur:angle=30", {"length": 6.0}, line_kernel(6.0, 30, 11), GaussianNoise(1.0)),
    ("angle", "blur:length=9", {"angle": -45}, line_kernel(9, -45, 11), GaussianNoise(1.0)),
    ("length=3:9, angle=0:180", "blur", {"length": 5, "angle": 99}, line_kernel(5, 99, 11), GaussianNoise(1.0)),
]


@pytest.mark.parametrize(("asked", "operator", "values", "kernel", "noise"), ASKED)
def test_a_blur_of_unknown_parameters(asked, operator, values, kernel, noise):
    found = unknowns([asked], operator, None, True)
    assert list(found.ranges) == list(values)
    made = found.operator(found.stated, found.noise or noise, SHAPE)(**values)
    assert isinstance(made, Blur) and torch.equal(made.kernel[0], kernel)
    assert made.noise.sigma == noise.sigma
    assert made.boundary == ("reflect" if "reflect" in operator else "valid")


NOISES = [
    (None, {"sigma": 0.1}, GaussianNoise(0.1)),
    ("auto", {"sigma": 0.1}, GaussianNoise(0.1)),
    ("poisson", {"peak": 30.0}, PoissonNoise(30.0)),
    ("camera", {"peak": 30.0, "sigma": 0.1}, PoissonGaussianNoise(30.0, 0.1)),
    ("camera:999,0.2", {"peak": 30.0}, PoissonGaussianNoise(30.0, 0.2)),
    ("camera:30,0.9", {"sigma": 0.1}, PoissonGaussianNoise(30.0, 0.1)),
    ("rician", {"sigma": 0.1}, RicianNoise(0.1)),
    ("speckle", {"looks": 3.0}, SpeckleNoise(3.0)),
]


@pytest.mark.parametrize(("sigma", "values", "noise"), NOISES)
def test_a_noise_of_unknown_parameters(sigma, values, noise):
    found = unknowns(list(values), "identity", sigma, True)
    assert found.noise is not None
    made = found.operator(found.stated, found.noise, SHAPE)(**values)
    assert repr(made.noise) == repr(noise)


def test_each_parameter_that_a_noise_can_infer_has_a_default_range():
    kinds = [getattr(operators, name) for name in operators.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, operators.Noise)]
    assert {name for kind in kinds for name in kind.inferable} == set(OF_NOISE)


@pytest.mark.parametrize("name", OF_BLUR)
def test_default_ranges_and_a_direction_is_uniform(name):
    known = {"length": ",angle", "angle": ",length"}.get(name, "")
    found = unknowns([name + known], "blur", None, True).ranges[name]
    assert isinstance(found, Uniform if name == "angle" else LogUniform)
    assert (found.low, found.high) == (OF_BLUR[name].low, OF_BLUR[name].high)


def test_other_numbers_of_an_operator_need_a_range():
    found = unknowns(["gain=1:3"], "saturation:limit=1,softness=0", None, True)
    made = found.operator(found.stated, GaussianNoise(0.1), SHAPE)(gain=2.5)
    assert isinstance(made, operators.Saturation) and float(made.gain) == 2.5 and made.limit == 1


REFUSED = [
    ("length", "blur", None, "the angle of the motion is neither given nor unknown"),
    ("width,radius", "blur", None, "different blurs"),
    ("kernel", "blur", None, "a whole kernel cannot be inferred"),
    ("width", "blur:sigma=1.5", None, "its sigma gives the kernel"),
    ("width", "blur:file=k.npy", None, "its file gives the kernel"),
    ("width", "blur.motion", None, "write --operator blur"),
    ("width=0:4", "blur", None, "LOW > 0"),
    ("width=4", "blur", None, "width=LOW:HIGH, such as width=0.3:4"),
    ("width=a:b", "blur", None, "width=LOW:HIGH"),
    ("width=4:1", "blur", None, "LOW < HIGH"),
    ("width,radius,length,angle", "blur", None, "at most 3"),
    ("sigma_px", "blur", None, "expected width"),
    ("", "blur", None, "NAME=LOW:HIGH"),
    ("0.5", "blur", None, "NAME=LOW:HIGH"),
    ("width", "resize:factor=4", None, "belongs to --operator blur"),
    ("radius", "defocus", None, "belongs to --operator blur"),
    ("gain", "saturation:limit=1,softness=0", None, "no default range"),
    ("sigma", "noise", None, "no operator named 'noise'"),
    ("foo=1:2", "identity", None, "unknown argument 'foo'"),
    ("factor=1:3", "downsampling", None, "not a continuous number"),
    ("keep=0.1:0.3", "masking:seed=0", None, "drawn at random"),
    ("gain=1:3", "saturation:limit=1,softness=0,gain=2", None, "gives gain"),
    ("sigma", "identity", "0.05", "omit one of them"),
    ("peak", "identity", None, "--sigma poisson or --sigma camera"),
    ("looks", "identity", "poisson", "poisson noise has no looks"),
    ("peak", "identity", "poisson:20", "write --sigma poisson"),
    ("peak", "identity", "camera", "its sigma is neither given nor unknown"),
]


@pytest.mark.filterwarnings("ignore::inverse.app.operator_text.DrawnInstrument")
@pytest.mark.parametrize(("asked", "operator", "sigma", "text"), REFUSED)
def test_what_is_refused(asked, operator, sigma, text):
    with pytest.raises(ValueError, match=text):
        unknowns([asked], operator, sigma, True)


def test_a_picture_that_is_degraded_here_has_no_unknown_parameters():
    with pytest.raises(ValueError, match="--unknown requires --measured"):
        unknowns(["width"], "blur", None, False)


def test_a_posterior_in_words():
    draws = torch.linspace(1.4, 1.6, 1001)
    assert words("width", draws) == "1.5 pixels; 90 % interval 1.41 to 1.59"
    assert words("sigma", draws / 100).startswith("0.015 of the white of the picture (3.8 of 255 levels); 90 %")
    assert words("gain", draws).startswith("1.5; 90 %")


# whole runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sys.modules["inverse.solve.unknown.joint"], "NETWORK", Effort(4, 4, 1.0))


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A checkpoint of 8 x 8 pixels, and a measurement of that size."""
    folder = tmp_path_factory.mktemp("unknown")
    save(folder / "prior", score_prior(), data="none", licence="none")
    y = 0.5 + 0.2 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    np.save(folder / "y.npy", y.numpy())
    return ["solve", str(folder / "y.npy"), "--prior", str(folder / "prior"), "--steps", "3", "--operator"]


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "300"})


def test_a_run_says_saves_and_shows_what_it_found_and_is_not_repeated(problem, quick, tmp_path):
    out = tmp_path / "out"
    asked = [*problem, "blur", "--measured", "--unknown", "width=0.4:1,sigma=0.01:1", "--samples", "2", "--out", out]
    result = call(*asked)
    assert result.exit_code == 0, result.output
    assert "width, 0.4 to 1 pixels; sigma, 0.01 to 1 of the white" in result.output
    assert "10 to 32 values of width, sigma" in result.output
    solution = Solution.load(out / "solution.h5")
    assert solution.samples.shape == (1, 2, 1, 8, 8) and set(solution.unknown) == {"width", "sigma"}
    page = (out / "index.html").read_text()
    for name, draws in solution.unknown.items():
        assert f"{name}: {words(name, draws[0])}" in result.output
        assert words(name, draws[0]) in page
    level = Solution.fact(out / "solution.h5", "sigma_y")
    assert level == pytest.approx(float(solution.unknown["sigma"][0].double().median()))
    assert "nothing to do" in call(*asked).output
    other = call(*[*asked[:-5], "width=0.4:0.9,sigma=0.01:1", *asked[-4:]])
    assert other.exit_code == 2 and "samples of another problem" in other.output


def test_a_dry_run_draws_nothing(problem, tmp_path):
    result = call(
        *problem, "identity", "--measured", "--sigma", "poisson", "--unknown", "peak", "--dry", "--out", tmp_path / "o"
    )
    assert result.exit_code == 0, result.output
    assert "peak, 5 to 5000 photons at white" in result.output and "inferred, with PoissonNoise" in result.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["blur", "--measured"], "or infer it: --unknown width, radius, or length,angle"),
        (["blur:sigma=0.5..4", "--measured"], "pass --unknown, such as --unknown width=0.5:4"),
        (["blur:width=?", "--measured"], "pass --unknown"),
        (["identity", "--measured", "--sigma", "0.01:0.1"], "pass --unknown sigma"),
        (["identity", "--measured", "--unknown", "sigma", "--budget", "exact"], "weight their samples"),
        (["identity", "--measured", "--unknown", "sigma", "--method", "exact"], "weight their samples"),
    ],
)
def test_lines_that_are_refused(problem, tmp_path, arguments, text):
    result = call(*problem, *arguments, "--out", tmp_path / "o")
    assert result.exit_code == 2 and text in " ".join(result.output.split()), result.output
    assert len(result.output.strip().splitlines()) == 1 or "caution" in result.output
