"""`inverse scan` run again with more samples."""

import h5py
import numpy as np
import pytest
import torch

import inverse.app.scan as command
from inverse.app.reconstruction import read_reconstruction, write_reconstruction
from tests.inverse.app.scan_files import SIZE, made, write
from tests.inverse.app.test_scan import call, white


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return white(tmp_path_factory.mktemp("scan") / "prior", 1)


def test_more_samples_are_added(prior, tmp_path):
    path = write(tmp_path / "scan.h5", made(1, None).kspace)
    rest = [path, "--prior", prior, "--steps", 2, "--method", "mmps"]
    for n in (2, 4):
        result = call(*rest, "--out", tmp_path / "o", "--samples", n)
        assert result.exit_code == 0, result.output
    assert call(*rest, "--out", tmp_path / "p", "--samples", 4).exit_code == 0
    both, once = (read_reconstruction(tmp_path / name / "reconstruction.h5")[0][0] for name in "op")
    for name in ("samples", "mean", "std"):
        torch.testing.assert_close(getattr(both, name), getattr(once, name), rtol=1e-4, atol=1e-9)
    assert "in" in call(*rest, "--out", tmp_path / "p", "--samples", 3).output
    assert len(read_reconstruction(tmp_path / "p" / "reconstruction.h5")[0][0].samples) == 4


def test_more_samples_of_several_slices(prior, tmp_path, monkeypatch):
    """Slices have different numbers of samples meanwhile, also in the file that a killed run leaves."""
    path = write(tmp_path / "scan.h5", made(2, None).kspace)
    rest = [path, "--prior", prior, "--steps", 2, "--method", "mmps"]

    def samples_in(name):
        return {n: one.samples for n, one in read_reconstruction(tmp_path / name / "reconstruction.h5")[0].items()}

    assert call(*rest, "--out", tmp_path / "o", "--samples", 2, "--slices", "0,1").exit_code == 0
    two, draw, calls = samples_in("o"), command._draw, []

    def killed(*arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_draw", killed)  # after the first slice was written
    assert call(*rest, "--out", tmp_path / "o", "--samples", 4).exit_code != 0 and len(calls) == 1
    monkeypatch.setattr(command, "_draw", draw)
    part = samples_in("o")
    assert len(part[0]) == 4 and torch.equal(part[0][:2], two[0]) and torch.equal(part[1], two[1])
    with h5py.File(tmp_path / "o" / "reconstruction.h5") as file:
        assert list(file["counts"]) == [4, 2] and np.isnan(file["samples"][1, 2:]).all()
        assert np.isneginf(file["log_weights"][1, 2:]).all() and np.isfinite(file["samples"][0]).all()
    assert call(*rest, "--out", tmp_path / "o", "--samples", 4).exit_code == 0
    assert call(*rest, "--out", tmp_path / "p", "--samples", 2, "--slices", "0").exit_code == 0
    assert call(*rest, "--out", tmp_path / "p", "--samples", 4, "--slices", "1").exit_code == 0
    both, mixed = samples_in("o"), samples_in("p")
    assert torch.equal(both[0], part[0]) and torch.equal(both[1][:2], two[1]) and len(both[1]) == 4
    assert torch.equal(mixed[0], two[0]) and len(mixed[1]) == 4
    torch.testing.assert_close(mixed[1], both[1], rtol=1e-4, atol=1e-9)
    path = tmp_path / "old.h5"  # files of equally many samples had no counts
    write_reconstruction(path, {0: read_reconstruction(tmp_path / "o" / "reconstruction.h5")[0][0]}, {})
    with h5py.File(path, "a") as file:
        del file["counts"], file.attrs["seal"]
    assert torch.equal(read_reconstruction(path)[0][0].samples, both[0])


@pytest.mark.parametrize("more", [["--dry"], ["--samples", 1, "--steps", 2, "--method", "mmps"]])
def test_cautions_about_k_space_are_printed_before_the_plan(prior, tmp_path, more):
    """A split picture, and a mask of ones over padded columns; also on the page."""
    y, x = (np.linspace(-1, 1, n) for n in SIZE)
    z = np.fft.fftshift(np.fft.fft2(1e-3 * (np.hypot(y[:, None], x) < 0.6), norm="ortho"))  # without ifftshift
    z = z + 1e-5 * np.random.default_rng(0).normal(size=(2, *SIZE))
    z[..., :2] = 0
    path = write(tmp_path / "scan.h5", torch.from_numpy(z), mask=torch.ones(SIZE[1]))
    result = call(path, "--prior", prior, "--slices", 1, "--out", tmp_path / "o", *more)
    assert result.exit_code == 0, result.output
    plan = result.output.index("slice 1 of 2")
    for text in ("the picture is split at the border", "is inside the mask but exactly 0"):
        assert result.output.count(text) == 1 and 0 <= result.output.index(text) < plan
        assert "--dry" in more or text in (tmp_path / "o" / "slice-001.html").read_text()
    assert result.output.count("caution: slice 1: ") == 2


def test_slices_of_zeros_are_left_out_and_named(prior, tmp_path):
    z = made(3, None).kspace
    z[1] = 0
    path = write(tmp_path / "scan.h5", z)
    rest = [path, "--prior", prior, "--steps", 2, "--method", "mmps", "--samples", 1, "--out", tmp_path / "o"]
    result = call(*rest)
    assert result.exit_code == 0, result.output
    assert "left out slices 1, which are zero everywhere" in result.output.splitlines()[-1]
    assert list(read_reconstruction(tmp_path / "o" / "reconstruction.h5")[0]) == [0, 2]
    result = call(*rest, "--slices", 1)
    assert result.exit_code == 2 and "slices 1 are zero everywhere" in result.output
