"""The command lines, on an untrained prior of 8 x 8 pixels."""

import re

import numpy as np
import pytest
import torch
from skimage.io import imsave
from typer.testing import CliRunner

import operators
from inverse import METHODS, Solution
from inverse.app.arguments import read_image, read_images
from inverse.app.cli import app
from inverse.app.operator_text import read_operator
from operators import Blur, Masking
from priors import VESDE, ScorePrior, nets, samples
from priors.checkpoints import save
from priors.data import ImageSet, read, write
from priors.decoding import decode
from priors.png import write_png
from tests.cases import normal, score_prior

FAST = ["--steps", "3"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "prior"
    save(folder, score_prior(), data="none", licence="none")
    return str(folder)


@pytest.fixture
def image(tmp_path):
    pixels = (255 * normal(8, 8, seed=1).sigmoid().numpy()).astype(np.uint8)
    imsave(tmp_path / "image.png", pixels, check_contrast=False)
    return tmp_path / "image.png"


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "300"})


def refused(result, *fragments):
    """One line, exit status 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    for fragment in ("error:", *fragments):
        assert fragment in result.output


@pytest.mark.parametrize(
    ("command", "names"), [("priors", []), ("operators", operators.available()), ("methods", list(METHODS))]
)
def test_lists(command, names):
    result = call(command)
    assert result.exit_code == 0 and command in result.output
    for name in names:
        assert name in result.output


@pytest.mark.parametrize("operator", ["masking:keep=0.5", "masking:box=3", "masking:seed=2", "blur:sigma=0.6"])
def test_solve_an_image(prior, image, tmp_path, operator):
    result = call(
        "solve", image, "--operator", operator, "--prior", prior, "--samples", 2, "--out", tmp_path / "o", *FAST
    )
    assert result.exit_code == 0, result.output
    solution = Solution.load(tmp_path / "o" / "solution.h5")
    assert solution.samples.shape == (1, 2, 1, 8, 8) and solution.method == "mmps"
    assert (tmp_path / "o" / "solution.png").stat().st_size > 1000
    assert "PSNR" in result.output and METHODS["mmps"].citation in " ".join(result.output.split())


def test_a_prior_of_any_size_takes_the_picture_s(tmp_path):
    """An odd size, that no checkpoint was made for; a prior of one size refuses it."""
    network = nets.build({"type": "local", "image_channels": 3, "channels": [8, 8], "blocks": [1, 1]})
    made = ScorePrior(network, VESDE(0.002, 50.0), (3, 32, 32))
    save(tmp_path / "local", made, data="none", licence="none")
    rng = np.random.default_rng(0)
    imsave(tmp_path / "odd.png", rng.integers(0, 255, (37, 50, 3), dtype=np.uint8), check_contrast=False)
    arguments = ["--samples", 1, "--steps", 2, "--method", "mmps", "--out", tmp_path / "o"]
    result = call("solve", tmp_path / "odd.png", "--operator", "masking", "--prior", tmp_path / "local", *arguments)
    assert result.exit_code == 0, result.output
    assert Solution.load(tmp_path / "o" / "solution.h5").samples.shape == (1, 1, 3, 37, 50)


@pytest.mark.parametrize("pairs", [[], ["--antithetic"]])
def test_solve_is_the_library_s(prior, image, tmp_path, pairs):
    """The same samples as by hand: the image is measured with the seed and solved with the seed."""
    from inverse import solve
    from priors import load

    arguments = ["--operator", "masking", "--prior", prior, "--samples", 2, "--out", tmp_path, "--seed", 5, *FAST]
    call("solve", image, *arguments, *pairs)
    p, op = load(prior), read_operator("masking", 0.05, (1, 8, 8))
    y = op.measure(read_image(image, (1, 8, 8), resize=False), seed=5)
    by_hand = solve(p, op, y, n_samples=2, n_steps=3, seed=5, progress=False, antithetic=bool(pairs))
    assert torch.equal(Solution.load(tmp_path / "solution.h5").samples, by_hand.samples)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_solve_a_measurement(prior, tmp_path, dtype):
    """A measurement of one's own, in numpy's precision: no truth, hence no PSNR."""
    np.save(tmp_path / "y.npy", np.zeros((1, 1, 8, 8), dtype))
    arguments = ["--operator", "masking:keep=0.5,seed=0", "--sigma", 0.05, "--prior", prior, "--samples", 1, *FAST]
    arguments += ["--out", tmp_path, "--measured"]
    result = call("solve", tmp_path / "y.npy", *arguments)
    assert result.exit_code == 0, result.output
    assert "PSNR" not in result.output
    assert Solution.load(tmp_path / "solution.h5").samples.dtype == torch.float32


def test_solve_says_what_speaks_against_its_samples(tmp_path):
    """White noise is no piece of clothing: the prior does not cover it, and no sample explains it."""
    noise = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, y in (("cloth", samples("fashion-mnist").floats()[:1] + 0.1 * noise), ("noise", noise)):
        np.save(tmp_path / f"{name}.npy", y.numpy())
        arguments = ["--operator", "identity", "--samples", 1, "--steps", 16, "--measured"]
        arguments += ["--out", tmp_path / f"solved {name}"]
        result = call("solve", tmp_path / f"{name}.npy", "--sigma", 0.1, "--method", "mmps", *arguments)
        assert result.exit_code == 0, result.output
        found[name] = result.output
    assert "caution" not in found["cloth"], found["cloth"]
    assert "the prior does not cover y" in found["noise"] and "no sample explains y" in found["noise"]


def test_sample(prior, tmp_path):
    result = call("sample", "--prior", prior, "--n", 3, "--out", tmp_path, "--seed", 2, *FAST)
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "samples.h5")) == 3
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_an_image_of_another_size(prior, tmp_path):
    imsave(tmp_path / "large.png", np.zeros((12, 10), np.uint8), check_contrast=False)
    arguments = ["solve", tmp_path / "large.png", "--operator", "masking", "--prior", prior, "--out", tmp_path, *FAST]
    refused(call(*arguments), "(12, 10)", "(8, 8)", "--resize")
    assert call(*arguments, "--samples", 1, "--resize").exit_code == 0


@pytest.mark.parametrize(
    ("operator", "fragments"),
    [
        ("wavelet", ["'wavelet'", "masking"]),
        ("masking:keep=half", ["keep=half", "number"]),
        ("masking:keep=3", ["keep = 3: expected a number in [0, 1]"]),
        ("masking:colour=1", ["colour"]),
        ("blur:sigma=-1", ["sigma_px = -1: expected a finite number > 0"]),
        ("classifier:name=nobody", ["'nobody'"]),
    ],
)
def test_an_operator_that_is_none(prior, image, tmp_path, operator, fragments):
    refused(call("solve", image, "--operator", operator, "--prior", prior, "--out", tmp_path, *FAST), *fragments)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--prior", "nobody"], ["'nobody'"]),
        (["--method", "ddpm"], ["'ddpm'", "mmps"]),
        (["--method", "classifier"], ["noisy_likelihood"]),
        (["--samples", "0"], ["n_samples = 0"]),
        (["--seed", "-1"], ["seed = -1"]),
        (["--sigma", "-0.1"], ["sigma must be >= 0"]),
    ],
)
def test_arguments_out_of_range(prior, image, tmp_path, arguments, fragments):
    base = ["solve", image, "--operator", "masking", "--prior", prior, "--out", tmp_path / "o", *FAST]
    refused(call(*base, *arguments), *fragments)
    assert not (tmp_path / "o" / "solution.h5").exists()


def test_files_that_are_no_images(prior, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    rest = ["--operator", "masking", "--prior", prior, "--out", tmp_path]
    refused(call("solve", tmp_path / "text.png", *rest), "text.png is not a readable picture", "PNG, JPEG")
    np.save(tmp_path / "y.npy", np.zeros((1, 1, 8, 8)))
    refused(call("solve", tmp_path / "y.npy", *rest), "is an array, not a picture", "--measured")
    refused(call("solve", tmp_path / "[none].png", *rest), "no image at", "[none].png")
    refused(call("solve", tmp_path / "none.npy", *rest, "--measured", "--operator", "identity"), "none.npy")


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    "pixels",
    [
        (RAMP * 255).round().astype(np.uint8),
        (RAMP * 65535).round().astype(np.uint16),
        (RAMP[..., None].repeat(3, 2) * 255).round().astype(np.uint8),
        np.concatenate([RAMP[..., None].repeat(3, 2), np.ones((8, 8, 1))], 2) * 255,  # with an opaque alpha channel
    ],
    ids=["grey", "16 bit", "colour", "alpha"],
)
def test_an_image_is_read_in_image_units(tmp_path, pixels):
    imsave(tmp_path / "ramp.png", pixels if pixels.dtype.kind == "u" else pixels.round().astype(np.uint8))
    for channels in (1, 3):
        x = read_image(tmp_path / "ramp.png", (channels, 8, 8), resize=False)
        assert x.dtype == torch.float32
        torch.testing.assert_close(x[0], torch.from_numpy(RAMP).float().expand(channels, 8, 8), atol=0.003, rtol=0)


def test_operators_from_text():
    blur, mask, plane = (
        read_operator(t, 0.1, (1, 8, 8)) for t in ("blur:sigma=0.5,truncate=2", "masking:keep=0.25,seed=3", "grayscale")
    )
    assert isinstance(blur, Blur) and blur.kernel_size == (3, 3) and blur.boundary == "circular"
    assert isinstance(mask, Masking) and int(mask.mask.sum()) == 16
    assert torch.equal(mask.mask, Masking.random((1, 8, 8), 0.25, seed=3).mask)
    assert all(float(op.noise.sigma) == pytest.approx(0.1) for op in (blur, mask, plane))


def test_likelihood_of_files_and_sets(prior, image, tmp_path, monkeypatch):
    """The library's own figures: of every image at most 20, and their mean with its standard error."""
    monkeypatch.setattr("priors.likelihood.EXACT_UP_TO", 0)  # an exact trace takes 64 times longer
    from priors import bits_per_dim, load

    pixels = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write(tmp_path / "set.h5", ImageSet(pixels))
    result = call("likelihood", image, tmp_path / "set.h5", "--prior", prior, "--images", 3, "--seed", 4)
    assert result.exit_code == 0, result.output
    x = torch.cat([read_image(image, (1, 8, 8), resize=False), pixels[:2].float() / 255])
    bits = bits_per_dim(load(prior), x, seed=4)
    for name, b in zip(("image.png", "set.h5[0]", "set.h5[1]"), bits.tolist(), strict=True):
        assert re.search(rf"{re.escape(name)}\W+{b:.3f}", result.output)
    assert f"{bits.mean():.3f} +- {bits.std() / 3**0.5:.3f} (standard error) bits/dim of 3 images" in result.output
    alone = call("likelihood", image, "--prior", prior, "--seed", 4)
    assert f"{bits[0]:.3f} bits/dim of 1 images" in alone.output


def test_images_are_rounded_to_8_bits(tmp_path):
    imsave(tmp_path / "ramp.png", (RAMP * 65535).round().astype(np.uint16), check_contrast=False)
    names, x = read_images([tmp_path / "ramp.png"], (1, 8, 8), None, False, None)
    assert names == ["ramp.png"] and x.dtype == torch.float32
    levels = 255 * x[0, 0].double()
    assert (levels - levels.round()).abs().max() < 1e-4
    torch.testing.assert_close(levels, torch.from_numpy(RAMP * 255), atol=0.51, rtol=0)


def test_likelihood_of_what_is_no_image(prior, image, tmp_path):
    write(tmp_path / "large.h5", ImageSet(torch.zeros(2, 1, 9, 9, dtype=torch.uint8)))
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 8, 8), np.uint8))
    rest = ["--prior", prior]
    refused(call("likelihood", tmp_path / "large.h5", *rest), "(1, 9, 9)", "(1, 8, 8)")
    refused(call("likelihood", tmp_path / "none.npz", *rest), "no images")
    refused(call("likelihood", tmp_path / "absent.h5", *rest), "no image set at")
    refused(call("likelihood", tmp_path / "absent.png", *rest), "no image at")
    refused(call("likelihood", tmp_path / "large.h5", *rest, "--split", "test"), "test_images")
    refused(call("likelihood", image, *rest, "--images", 0), "images = 0")
    refused(call("likelihood", image, *rest, "--seed", -1), "seed = -1")


@pytest.mark.parametrize("text", ["masking:box=3,keep=0.5", "classifier:nmae=x", "classifier:name=x,keep=1"])
def test_an_argument_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match=r"keep|nmae"):
        read_operator(text, 0.1, (1, 8, 8))


def test_an_official_checkpoint_needs_its_config(tmp_path):
    """The option reaches `priors.load`, which says what is wrong with the file; its own tests open real ones."""
    (tmp_path / "checkpoint.pth").write_bytes(b"nothing")
    arguments = ["sample", "--prior", f"score_sde:{tmp_path}/checkpoint.pth"]
    for extra, message in (([], "config"), (["--config", "cifar10/ve/ncsnpp_continuous"], "may be damaged")):
        result = CliRunner().invoke(app, [*arguments, *extra])
        assert result.exit_code == 2 and message in result.output.replace("\n", " ")


def test_solve_says_first_what_it_will_do(prior, image, tmp_path):
    out = tmp_path / "o"
    arguments = ["solve", image, "--operator", "masking", "--prior", prior, "--samples", 2, "--out", out, *FAST]
    dry = call(*arguments, "--dry")
    assert dry.exit_code == 0 and not out.exists()
    wet = call(*arguments)
    for name in (
        "picture",
        "prior",
        "operator",
        "sigma",
        "tiles",
        "method",
        "samples",
        "cost",
        "time",
        "memory",
        "folder",
    ):
        assert re.search(rf"^ *{name}  \S", dry.output, re.MULTILINE), name
        assert re.search(rf"^ *{name}  \S", wet.output, re.MULTILINE), name
    assert "3 steps, as requested; chosen: " in dry.output
    said = re.search(r"(\d+) evaluations of the prior \+ (\d+) backward passes per sample", dry.output)
    solution = Solution.load(out / "solution.h5")
    assert (int(said[1]), int(said[2])) == (solution.nfe, solution.nvjp)
    names = {"index.html", "mean.png", "measurement.png", "sample-1.png", "sample-2.png", "solution.h5", "solution.png"}
    assert {path.name for path in out.iterdir()} == names | {"std.png", "truth.png"}
    assert "inverse" in Solution.fact(out / "solution.h5", "command")


def test_more_samples_are_added_to_those_there_are(prior, image, tmp_path):
    arguments = ["solve", image, "--operator", "masking", "--prior", prior, "--out", tmp_path / "o", *FAST]
    assert call(*arguments, "--samples", 1).exit_code == 0
    first = Solution.load(tmp_path / "o" / "solution.h5").samples
    more = call(*arguments, "--samples", 3)
    assert "3, 1 of them already finished" in more.output
    samples = Solution.load(tmp_path / "o" / "solution.h5").samples
    assert samples.shape[1] == 3 and torch.equal(samples[:, :1], first)
    assert "2 requested, 3 already in" in call(*arguments, "--samples", 2).output
    refused(call(*arguments, "--sigma", 0.2), "another problem", "--overwrite")
    assert call(*arguments, "--sigma", 0.2, "--samples", 1, "--overwrite").exit_code == 0
    assert Solution.load(tmp_path / "o" / "solution.h5").samples.shape[1] == 1


def test_a_measured_picture_and_its_noise(prior, image, tmp_path):
    """8 x 8 pixels are too few to tell the noise by."""
    arguments = ["solve", image, "--operator", "blur:sigma=0.5", "--prior", prior, "--samples", 1, "--measured", *FAST]
    assert call(*arguments, "--sigma", 0.05, "--out", tmp_path / "o").exit_code == 0
    assert not (tmp_path / "o" / "truth.png").exists() and (tmp_path / "o" / "measurement.png").exists()
    for sigma in ([], ["--sigma", "auto"]):
        refused(call(*arguments, *sigma, "--out", tmp_path / "p"), "quads", "as a number")
    refused(call(*arguments, "--sigma", 0.05, "--budget", "cheap", "--out", tmp_path / "p"), "cheap")
    assert not (tmp_path / "p").exists()


def test_a_folder_of_pictures(prior, tmp_path):
    """One folder each; a file that is no picture does not stop the others, and a second call goes on."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for k, name in enumerate(("a.png", "b.png", "b.tif")):
        pixels = (255 * normal(8, 8, seed=k).sigmoid().numpy()).astype(np.uint8)
        imsave(folder / name, pixels, check_contrast=False)
    (folder / "c.png").write_text("hello")
    (folder / "notes.txt").write_text("hello")
    (folder / "inner").mkdir()
    arguments = ["--operator", "masking", "--prior", prior, *FAST, "--method", "mmps"]
    result = call("solve", folder, *arguments, "--samples", 1, "--out", out)
    assert result.exit_code == 2 and "1 of 4 failed: c.png" in result.output
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png", "b.tif"}
    first = {path.name: Solution.load(path / "solution.h5").samples for path in out.iterdir()}
    (folder / "c.png").unlink()
    again = call("solve", folder, *arguments, "--samples", 2, "--out", out)
    assert again.exit_code == 0 and again.output.count("already finished") == 3
    for name, x in first.items():
        samples = Solution.load(out / name / "solution.h5").samples
        assert samples.shape[1] == 2 and torch.equal(samples[:, :1], x)
    alone = call("solve", folder / "a.png", *arguments, "--samples", 1, "--out", tmp_path / "alone")
    assert alone.exit_code == 0
    assert torch.equal(Solution.load(tmp_path / "alone" / "solution.h5").samples, first["a.png"])


@pytest.mark.parametrize("ending, channels", [("png", 1), ("png", 3), ("tif", 1)])
def test_16_bits_come_back(prior, tmp_path, ending, channels):
    """In the format that came in, and read with all of them: the measurement of everything is the picture."""
    pixels = (RAMP * 65535).round().astype(np.uint16)
    if channels == 3:  # of the least size that this prior takes
        pixels = np.tile(np.stack([pixels, pixels[::-1], pixels // 3], -1), (2, 2, 1))
    path = tmp_path / f"deep.{ending}"
    if ending == "png":
        write_png(path, pixels)
    else:
        imsave(path, pixels, check_contrast=False)
    given = ["--prior", prior if channels == 1 else "natural", "--samples", 1, "--steps", 2, "--method", "ddrm"]
    result = call("solve", path, "--operator", "masking", *given, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    x = read_image(path, (channels, *pixels.shape[:2]))[0].permute(1, 2, 0).squeeze().numpy()
    np.testing.assert_allclose(x * 65535, pixels, atol=0.01)
    mean = Solution.load(tmp_path / "o" / "solution.h5").mean[0].clamp(0, 1).permute(1, 2, 0).squeeze().numpy()
    for name in ("mean", "sample-1"):
        back = decode(tmp_path / "o" / f"{name}.{ending}")
        assert back.values.dtype == np.uint16
        np.testing.assert_allclose(back.values, mean * 65535, atol=0.51)


def test_a_kernel_drawn_by_chance_is_cautioned_of(prior, image, tmp_path):
    arguments = ["solve", image, "--measured", "--sigma", 0.05, "--prior", prior, "--samples", 1, *FAST]
    drawn = call(*arguments, "--operator", "blur:motion=3,seed=3", "--out", tmp_path)
    assert drawn.exit_code == 0 and drawn.output.count("drawn at random") == 1
    assert "drawn at random" in (tmp_path / "index.html").read_text()
    straight = call(*arguments, "--operator", "blur:length=2,angle=30", "--dry")
    assert straight.exit_code == 0 and "drawn at random" not in straight.output
    assert "Blur.motion: length=2, boundary=reflect (default), angle=30" in " ".join(straight.output.split())
