"""Command lines that cannot be meant: each ends with status 2 and one message that names what is wrong."""

import os

import h5py
import numpy as np
import pytest
from skimage.io import imsave
from typer.testing import CliRunner

from inverse.app.cli import app
from priors.checkpoints import save
from priors.packing import app as pack
from tests.cases import score_prior
from tests.priors.picture_files import RGB, pages, saved, tiff

SOLVE = ["solve", "{image}", "--prior", "{prior}", "--out", "{new}", "--operator"]
MEASURED = ["solve", "{y}", "--measured", "--prior", "{prior}", "--out", "{new}", "--operator"]
LINES = [  # arguments of `inverse`, and a part of the message
    (["solve"], "Missing"),
    (["paint"], "No such command"),
    (["solve", "{image}"], "--operator"),
    (["solve", "{absent}", "--operator", "blur"], "no image at"),
    (["solve", "{folder}", "--operator", "blur"], "has no pictures"),
    (["solve", "{pipe}", "--operator", "blur"], "a pipe"),
    (["solve", "{text}", "--operator", "blur"], "not a readable picture"),
    (["solve", "{empty}", "--operator", "blur"], "not a readable picture"),
    (["solve", "{animated}", "--operator", "blur"], "several frames"),
    (["solve", "{transparent}", "--operator", "blur"], "transparent"),
    (["solve", "{y}", "--operator", "blur"], "--measured"),
    ([*SOLVE, ""], "no operator named ''"),
    ([*SOLVE, "wavelet"], "wavelet"),
    ([*SOLVE, "blur:sigma"], "sigma"),
    ([*SOLVE, "blur:sigma=wide"], "expected a number"),
    ([*SOLVE, "blur:sigma=-1"], "expected a finite number > 0"),
    ([*SOLVE, "blur:sigma=nan"], "expected a finite number"),
    ([*SOLVE, "blur:sigma=inf"], "expected a finite number"),
    ([*SOLVE, "masking:file={white_is_zero}"], "stores white as 0"),
    ([*SOLVE, "blur:boundary=soft"], "boundary"),
    ([*SOLVE, "blur:motion=4"], "odd"),
    ([*SOLVE, "blur:file={absent}"], "no image at"),
    ([*SOLVE, "blur:file={folder}"], "a folder"),
    ([*SOLVE, "blur:file={black}"], "white on black"),
    ([*SOLVE, "blur.from_file:path={text}"], "neither a picture nor"),
    ([*SOLVE, "blur.from_file:path={pipe}"], "not a regular file"),
    ([*SOLVE, "blur.square:size=3"], "no constructor"),
    ([*SOLVE, "masking:keep=2"], "[0, 1]"),
    ([*SOLVE, "masking:keep=nan"], "keep=nan"),
    ([*SOLVE, "masking:box=99"], "does not fit"),
    ([*SOLVE, "masking:seen=inside"], "seen"),
    ([*SOLVE, "masking:keep=.5,box=2"], "keep"),
    ([*SOLVE, "masking:file={black}"], "no white pixel"),
    ([*SOLVE, "masking:file={ones}"], "no white pixel"),
    ([*SOLVE, "masking:file={image}"], "is grey in"),
    ([*SOLVE, "masking:file={transparent}"], "transparent"),
    ([*SOLVE, "masking:file={colour}"], "coloured"),
    ([*SOLVE, "masking:file={wide}"], "does not broadcast"),
    ([*SOLVE, "downsampling:factor=0"], "factor"),
    ([*SOLVE, "downsampling:factor=3"], "crop"),
    ([*SOLVE, "classifier:name=nobody"], "nobody"),
    ([*SOLVE, "jpeg:quality=0"], "quality"),
    ([*SOLVE, "masking", "--sigma", "loud"], "'loud'"),
    ([*SOLVE, "masking", "--sigma", "-1"], "sigma must be >= 0"),
    ([*SOLVE, "masking", "--sigma", "nan"], "sigma"),
    ([*SOLVE, "masking", "--sigma", "inf"], "sigma"),
    ([*SOLVE, "masking", "--sigma", "auto"], "--measured"),
    ([*SOLVE, "masking", "--samples", "0"], "n_samples"),
    ([*SOLVE, "masking", "--samples", "many"], "--samples"),
    ([*SOLVE, "masking", "--samples", "3", "--antithetic"], "even"),
    ([*SOLVE, "masking", "--method", "ddpm"], "ddpm"),
    ([*SOLVE, "masking", "--method", "classifier"], "noisy_likelihood"),
    ([*SOLVE, "masking", "--method", "pc"], "pc"),
    ([*SOLVE, "masking", "--steps", "0"], "n_steps"),
    ([*SOLVE, "masking", "--steps", "-3"], "n_steps"),
    ([*SOLVE, "masking", "--budget", "cheap"], "cheap"),
    ([*SOLVE, "masking", "--seed", "-1"], "seed"),
    ([*SOLVE, "masking", "--seed", "1.5"], "--seed"),
    ([*SOLVE, "masking", "--tile", "8"], "tile"),
    ([*SOLVE, "masking", "--config", "cifar10"], "config"),
    ([*SOLVE, "masking", "--prior", "{folder}"], "folder"),
    ([*SOLVE, "masking", "--prior", "nobody"], "nobody"),
    ([*SOLVE, "masking", "--prior", "cifar10"], "--resize"),
    ([*SOLVE, "masking", "--out", "{image}", "--method", "mmps", "--steps", "2"], "image.png"),
    ([*SOLVE, "masking", "--out", "{held}", "--method", "mmps", "--steps", "2"], "not a readable solution"),
    ([*MEASURED, "masking"], "masking lacks mask"),
    ([*MEASURED, "blur"], "blur lacks kernel"),
    ([*MEASURED, "blur:motion=4,seed=0"], "odd"),
    ([*MEASURED, "masking:seen=left", "--sigma", "auto"], "give it as a number"),
    ([*MEASURED, "masking:seen=left"], "give it as a number"),
    ([*MEASURED, "identity", "--size", "large"], "HEIGHTxWIDTH"),
    (["solve", "{complex}", *MEASURED[2:], "identity"], "complex"),
    (["solve", "{words}", *MEASURED[2:], "identity"], "expected real numbers"),
    (["solve", "{short}", *MEASURED[2:], "identity"], "not a numeric .npy file"),
    (["solve", "{folder}", *MEASURED[2:], "identity"], "a folder"),
    (["solve", "{nan}", *MEASURED[2:], "identity"], "nan"),
    (["solve", "{two}", *MEASURED[2:], "identity"], "2 measurements"),
    (["demo", "--images", "0", "--out", "{new}"], "n_images = 0"),
    (["demo", "--images", "999", "--out", "{new}"], "n_images = 999"),
    (["demo", "--samples", "1", "--out", "{new}"], "n_samples = 1"),
    (["sample", "--prior", "nobody"], "nobody"),
    (["sample", "--prior", "{prior}", "--n", "0", "--out", "{new}"], "n_samples"),
    (["sample", "--prior", "{prior}", "--method", "dps", "--out", "{new}"], "dps"),
    (["sample", "--prior", "{prior}", "--n", "1", "--steps", "2", "--out", "{image}"], "image.png"),
    (["sample", "--prior", "score_sde:{absent}", "--config", "cifar10/ve/ncsnpp_continuous"], "absent"),
    (["likelihood", "{absent}", "--prior", "{prior}"], "no image at"),
    (["likelihood", "{pipe}", "--prior", "{prior}"], "a pipe"),
    (["likelihood", "{folder}", "--prior", "{prior}"], "a folder"),
    (["likelihood", "{image}", "--prior", "{prior}", "--images", "0"], "images = 0"),
    (["likelihood", "{wide}", "--prior", "{prior}"], "--resize"),
    (["likelihood", "{h5}", "--prior", "{prior}"], "images"),
    (["likelihood", "{fifo_h5}", "--prior", "{prior}"], "a pipe"),
    (["priors", "all"], "unexpected extra argument"),
    (["operators", "--all"], "--all"),
    (["operators", "denoising"], "Did you mean 'identity'"),
    ([*SOLVE, "masking", "--size", "8x8"], "--measured"),
    (["methods", "mmps"], "unexpected extra argument"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("refusals")
    save(root / "prior", score_prior(), data="none", licence="none")
    rng = np.random.default_rng(0)
    pixels = {
        "image": rng.integers(0, 255, (8, 8)), "black": np.zeros((8, 8)), "ones": np.eye(8),
        "colour": rng.integers(0, 255, (8, 8, 3)), "wide": 255 * np.eye(12),
    }  # fmt: skip
    for name, values in pixels.items():
        imsave(root / f"{name}.png", values.astype(np.uint8), check_contrast=False)
    (root / "transparent.png").write_bytes(saved(np.dstack([RGB, RGB[..., 0]]), "PNG"))
    (root / "animated.gif").write_bytes(pages("GIF"))
    (root / "white_is_zero.tif").write_bytes(tiff(np.eye(8) > 0))
    (root / "text.png").write_text("hello")
    (root / "empty.png").touch()
    (root / "folder").mkdir()
    (root / "held").mkdir()
    (root / "held" / "solution.h5").write_bytes(b"something else")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe.h5")
    y = rng.random((1, 1, 8, 8))
    arrays = {"y": y, "complex": y + 1j, "words": np.array(["a"]), "nan": y * np.nan, "two": y.repeat(2, 0)}
    for name, values in arrays.items():
        np.save(root / f"{name}.npy", values)
    (root / "short.npy").write_bytes((root / "y.npy").read_bytes()[:-9])
    with h5py.File(root / "set.h5", "w") as file:
        file["other"] = y
    found = {path.stem: path for path in root.iterdir()}
    return found | {
        "absent": root / "absent.png", "new": root / "new", "h5": root / "set.h5", "pipe": root / "pipe.png",
        "fifo_h5": root / "pipe.h5",
    }  # fmt: skip


@pytest.mark.parametrize(("line", "fragment"), LINES, ids=[" ".join(line)[-60:] for line, _ in LINES])
def test_a_line_that_cannot_be_meant(places, line, fragment):
    result = CliRunner().invoke(app, [a.format(**places) for a in line])
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
    assert fragment in " ".join(result.output.replace("│", " ").split()), result.output
    if "Usage" not in result.output:
        assert [part for part in result.output.splitlines() if part.startswith("error: ")] and len(result.output) < 2000


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        ({"one": np.zeros(9, np.uint8)}, ["--split", "0"], "no 'split'"),
        ({"jpeg": np.zeros(9, np.uint8)}, [], "without ['names', 'offsets']"),
        ({"jpeg": np.zeros(9, np.uint8), "names": ["a"]}, [], "without ['offsets']"),
        ({"jpeg": np.zeros(9, np.uint8), "names": ["a"], "offsets": [0, 99]}, [], "integers from 0 to 9"),
        ({"jpeg": np.zeros(9, np.uint8), "names": ["a"], "offsets": [5, 2]}, [], "integers from 0 to 9"),
        ({"jpeg": np.zeros(9, np.uint8), "names": ["a", "b"], "offsets": [0, 9]}, [], "of the same length"),
        ({"jpeg": np.zeros(9, np.uint8), "names": ["a"], "offsets": [0, 9]}, [], "a is not a readable picture"),
        (
            {"jpeg": np.zeros(9, np.uint8), "names": ["a"], "offsets": [0, 9], "split": [0, 1]},
            ["--split", "0"],
            "same length",
        ),
        ({"hu": np.full((2, 3, 3), np.nan)}, ["--units", "HU", "0", "1"], "finite real values"),
        ({"hu": np.zeros((2, 3, 3), complex)}, ["--units", "HU", "0", "1"], "finite real values"),
        ({"hu": np.zeros((2, 3, 3))}, ["--units", "HU", "1", "1"], "two different finite values"),
        ({"one": np.array([{}])}, [], "not a readable array"),
        ({"one": np.frombuffer(saved(RGB, "PNG"), np.uint8)}, ["--only", "other"], "no colour picture"),
        ({"one": np.frombuffer(saved(RGB, "PNG"), np.uint8)}, ["--only", "none.txt"], "no list of names at"),
        ({"one": np.frombuffer(saved(RGB, "PNG"), np.uint8)}, ["--add"], "omit --add"),
    ],
)
def test_an_archive_that_cannot_be_packed(tmp_path, arrays, arguments, message):
    np.savez(tmp_path / "a.npz", **arrays)
    result = CliRunner().invoke(pack, [str(tmp_path / "a.npz"), "--out", str(tmp_path / "out.h5"), *arguments])
    assert result.exit_code == 2 and message in result.output and not (tmp_path / "out.h5").exists()


def test_two_pictures_of_one_name_and_damaged_archives(tmp_path):
    for name in ("a.png", "a.bmp"):
        imsave(tmp_path / name, RGB, check_contrast=False)
    result = CliRunner().invoke(pack, [str(tmp_path), "--out", str(tmp_path / "out.h5")])
    assert result.exit_code == 2 and "two pictures have the name 'a'" in result.output
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    os.mkfifo(tmp_path / "b.npz")
    for name, message in {"a.npz": "not a readable npz", "b.npz": "a pipe"}.items():
        result = CliRunner().invoke(pack, [str(tmp_path / name), "--out", str(tmp_path / "out.h5")])
        assert result.exit_code == 2 and message in result.output
