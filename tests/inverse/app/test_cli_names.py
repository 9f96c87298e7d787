"""Names of files that mean something to a terminal, to matplotlib or to the text of an operator; and lost drawings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from skimage.io import imsave
from typer.testing import CliRunner

import inverse.app.cli
import inverse.app.demo
import inverse.app.solving
import inverse.app.unconditional
from benchmarks.cli import app as bench
from inverse import Solution
from inverse.app.figures import Column, NotDrawn, drawing, gallery
from inverse.app.operator_text import read_operator
from operators import Masking
from priors.checkpoints import save
from priors.cli import app as train
from priors.packing import app as pack
from priors.terminal import printable
from tests.cases import score_prior

NAMES = [
    "[red]x",
    "[/x]",
    "[bold",
    "a$b_c$",
    "a$b",
    "a,b",
    "a b",
    "größe 図",
    "a=1,b",
    "x:y",
    "50%",
    "{x}",
    r"\[x]",
    "~",
]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "[/prior]"
    save(folder, score_prior(), data="none", licence="none")
    return str(folder)


def picture(path: Path, mask: bool = False) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    imsave(path, np.where(values > 128, 255, 0).astype(np.uint8) if mask else values, check_contrast=False)
    return path


def call(*arguments, app=inverse.app.cli.app):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "300"})


FAST = ["--samples", 2, "--steps", 2, "--method", "mmps"]


@pytest.mark.parametrize("name", NAMES)
def test_solve_with_any_name(prior, tmp_path, name):
    photo, mask = picture(tmp_path / f"{name}.png"), picture(tmp_path / f"mask {name}.png", mask=True)
    out = tmp_path / f"out {name}"
    result = call("solve", photo, "--operator", f"masking:file={mask}", "--prior", prior, "--out", out, *FAST)
    assert result.exit_code == 0, result.output
    assert "could not be drawn" not in result.output and str(out) in result.output and f"{name}.png" in result.output
    assert Solution.load(out / "solution.h5").samples.shape == (1, 2, 1, 8, 8)
    assert len(list(out.iterdir())) == 9
    again = call("solve", photo, "--operator", f"masking:file={mask}", "--prior", prior, "--out", photo, *FAST)
    assert again.exit_code == 2 and str(photo) in again.output


@pytest.mark.parametrize("name", NAMES)
def test_other_commands_with_any_name(prior, tmp_path, name, monkeypatch):
    monkeypatch.setattr("priors.likelihood.EXACT_UP_TO", 0)  # an exact trace takes 64 times longer
    photo, absent = picture(tmp_path / f"{name}.png"), tmp_path / f"absent {name}.png"
    found = call("likelihood", photo, "--prior", prior)
    assert found.exit_code == 0 and photo.name in found.output
    drawn = call("sample", "--prior", prior, "--n", 1, "--steps", 2, "--out", tmp_path / name)
    assert drawn.exit_code == 0 and f"1 samples in {tmp_path / name}" in drawn.output
    assert (tmp_path / name / "samples.png").exists() and "could not be drawn" not in drawn.output
    for arguments in (["likelihood", absent], ["solve", absent, "--operator", "blur"]):
        result = call(*arguments, "--prior", prior)
        assert result.exit_code == 2 and str(absent) in result.output
    refused = call("solve", photo, "--operator", f"masking:keep={name}", "--prior", prior, "--out", tmp_path / "o")
    assert refused.exit_code == 2 and f"keep={name}: expected a number" in refused.output
    refused = call("sample", "--prior", name)
    assert refused.exit_code == 2 and name in refused.output


def test_pack_with_any_name(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        imsave(tmp_path / name / f"{Path(name).name}.png", pixels, check_contrast=False)
        result = call(tmp_path / name, "--out", tmp_path / f"{name}.h5", app=pack)
        assert result.exit_code == 0 and str(tmp_path / f"{name}.h5") in result.output
        assert str(tmp_path / f"no {name}") in call(tmp_path / f"no {name}", "--out", "x.h5", app=pack).output


def test_names_that_are_no_text(prior, tmp_path):
    """Bytes that are not UTF-8, and a control sequence that would colour the terminal."""
    assert printable("a\x1b[31mb\udcff\x00é") == r"a\x1b[31mb\udcff\x00é"
    photo = tmp_path / os.fsdecode(b"\xff.png")
    photo.write_bytes(picture(tmp_path / "a.png").read_bytes())
    result = call("solve", photo, "--operator", "masking", "--prior", prior, "--out", tmp_path / "o", *FAST)
    assert result.exit_code == 0, result.output
    assert "could not be drawn" not in result.output and r"\udcff.png" in result.output


@pytest.mark.parametrize("path", ["a,b.png", "a=1,b.png", "1.png", "007", "1e3", "true"])
def test_the_file_of_an_operator_is_taken_as_it_stands(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).write_bytes(picture(tmp_path / "mask.png", mask=True).read_bytes())
    mask = read_operator(f"masking:file={path}", 0.1, (1, 8, 8))
    assert isinstance(mask, Masking) and 0 < int(mask.mask.sum()) < 64


def drawing_fails(*arguments, **options):
    raise RuntimeError("no more [ink]")


def test_samples_outlive_a_drawing_that_fails(prior, tmp_path, monkeypatch):
    monkeypatch.setattr(inverse.app.solving, "write_folder", drawing_fails)
    monkeypatch.setattr(inverse.app.unconditional, "gallery", drawing_fails)
    photo = picture(tmp_path / "a.png")
    result = call("solve", photo, "--operator", "masking", "--prior", prior, "--out", tmp_path / "o", *FAST)
    assert result.exit_code == 0 and "could not be drawn (RuntimeError: no more [ink])" in result.output
    assert Solution.load(tmp_path / "o" / "solution.h5").samples.shape == (1, 2, 1, 8, 8)
    result = call("sample", "--prior", prior, "--n", 1, "--steps", 2, "--out", tmp_path / "s")
    assert result.exit_code == 0 and "no more [ink]" in result.output and (tmp_path / "s" / "samples.h5").exists()


def test_the_demo_goes_on_where_a_drawing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(inverse.app.demo, "gallery", drawing_fails)
    monkeypatch.setattr(inverse.app.demo, "TASKS", {"masking": inverse.app.demo.TASKS["masking"]})
    with pytest.warns(NotDrawn, match="no more"):
        rows = inverse.app.demo.run(tmp_path, 1, 2, progress=False)
    assert len(rows) == 1 and (tmp_path / "masking.h5").exists()


def test_the_file_is_written_before_anything_is_drawn(prior, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        inverse.app.solving, "write_folder", lambda out, *rest: seen.append((out / "solution.h5").exists())
    )
    photo = picture(tmp_path / "a.png")
    call("solve", photo, "--operator", "masking", "--prior", prior, "--out", tmp_path / "o", *FAST)
    assert seen == [True]


def test_titles_and_cells_are_no_mathematics(tmp_path):
    cells = Column("a$b_c$", ["$\\frac$", "x$"])
    gallery(tmp_path / "a.png", {"$\\nothing{$": [cells, Column("$", torch.rand(2, 1, 4, 4))]})
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.warns(NotDrawn, match=r"x could not be drawn \(ValueError: y\)"), drawing("x"):
        raise ValueError("y")
    with pytest.raises(KeyboardInterrupt), drawing("x"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("app", [inverse.app.cli.app, pack, train, bench], ids=["inverse", "pack", "train", "bench"])
def test_help_is_shown_whole(app):
    """Brackets in a help text, such as [crops], are no markup."""
    command = typer.main.get_command(app)
    commands = getattr(command, "commands", None) or {None: command}
    for name, one in commands.items():
        asked = [*([name] if name else []), "--help"]
        shown = "".join(CliRunner().invoke(app, asked, env={"COLUMNS": "4000"}).output.split())
        for parameter in one.params:
            text = (getattr(parameter, "help", None) or "").replace("\\[", "[")
            assert "".join(text.split()) in shown, (name, parameter.name)
