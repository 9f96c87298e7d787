"""`inverse scan`, on an untrained network of any size: a white Gaussian prior, whose posterior is known."""

import base64
import io
import re

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import inverse.app.scan as command
from inverse.app.cli import app
from inverse.app.fastmri import read_scan
from inverse.app.reconstruction import read_reconstruction
from inverse.app.scan_noise import with_errors
from inverse.app.scan_text import slice_numbers
from operators import Fourier, GaussianNoise
from operators.coils import smooth_sensitivities
from operators.kspace import to_complex
from priors import VESDE, DataRange, ScorePrior, nets, samples
from priors.checkpoints import save
from tests.benchmarks.suite.test_report_page import faults_of, outside
from tests.cases import score_prior
from tests.inverse.app.scan_files import SIZE, made, write

FAST = ["--steps", 8, "--samples", 6, "--method", "mmps"]


def white(folder, channels):
    """The last layer of an untrained network is 0, so that it denoises white pictures of mean 0.2 and deviation 0.4."""
    network = nets.build({"type": "local", "image_channels": channels, "channels": [8, 8], "blocks": [1, 1]})
    save(folder, ScorePrior(network, VESDE(0.002, 50.0), (channels, 32, 32), range=DataRange(0.2, 0.4)))
    return folder


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return white(tmp_path_factory.mktemp("scan") / "prior", 1)


def call(*arguments):
    return CliRunner().invoke(app, ["scan", *map(str, arguments)], env={"COLUMNS": "300"})


def refused(result, *fragments):
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    for fragment in ("error:", *fragments):
        assert fragment in result.output


@pytest.mark.parametrize("coils, pairs", [(None, []), (4, []), (4, ["--antithetic"])])
def test_from_the_scanner_s_file_to_a_reconstruction(prior, tmp_path, monkeypatch, coils, pairs):
    """In scanner units: consistent with k-space to the noise, with the exact posterior's mean to the samples' error,
    of which pairs have none: this prior is Gaussian."""
    m = made(2, coils, 0.03)
    path = write(tmp_path / "scan.h5", m.kspace, mask=m.mask[0])
    posed = []
    monkeypatch.setattr(
        command, "with_errors", lambda *args: posed.append((*args, with_errors(*args))) or posed[-1][-1]
    )
    result = call(path, "--prior", prior, "--out", tmp_path / "o", *FAST, *pairs)
    assert result.exit_code == 0, result.output
    found, provenance = read_reconstruction(tmp_path / "o" / "reconstruction.h5")
    assert list(found) == [0, 1] and provenance["scan"] == "scan.h5" and "Rozet" in str(provenance["citation"])
    scan = read_scan(path)
    for n, one in found.items():
        assert one.samples.shape == (6, *SIZE) and one.method == "mmps"
        before, sized, *seeds, problem = posed[n]
        assert torch.equal(before.y, scan.problem(n).y) and sized.event_shape == (1, *SIZE) and seeds == [0, n]
        assert (one.scale, one.sigma) == pytest.approx((problem.scale, problem.sigma), rel=1e-4)
        x, seen = (one.samples / one.scale)[:, None], scan.mask[n]
        residual = (problem.y - problem.operator(x))[..., seen] * one.scale / m.sigma
        # less than 1 where this prior expects more at high frequencies than there is; without y it is in the hundreds
        assert residual.square().mean() == pytest.approx(1, abs=0.35)
        prior_mean = torch.full((1, 1, *SIZE), 0.2)
        gap = problem.operator.solve_gram(problem.y - problem.operator(prior_mean), 0.4**2)
        exact = (prior_mean + 0.4**2 * problem.operator.adjoint(gap))[0, 0] * one.scale
        error, spread = ((z.square().mean().sqrt()) for z in (one.mean - exact, one.std))
        if pairs:
            assert error < 0.1 * spread
        else:
            assert error == pytest.approx(float(spread) / 6**0.5, rel=0.3)
        assert (tmp_path / "o" / f"slice-{n:03d}.png").stat().st_size > 1000
    number = "1 coil," if coils is None else "4 coils (estimated),"
    for text in (f"slice 0 of 2: 40 x 37, {number}", "acceleration 2.47", "calibration 40 x 9", "by mmps", "sigma^2"):
        assert text in result.output


def test_what_is_done_is_not_done_again(prior, tmp_path):
    m = made(3, None)
    path, out = write(tmp_path / "scan.h5", m.kspace), tmp_path / "o" / "reconstruction.h5"
    arguments = [path, "--prior", prior, "--out", tmp_path / "o", *FAST]
    assert call(*arguments, "--slices", "1").exit_code == 0
    first = read_reconstruction(out)[0][1]
    result = call(*arguments, "--slices", "0-1")
    assert "slice 1: already in" in result.output and "slice 0 of 3" in result.output and "2 slices in" in result.output
    found = read_reconstruction(out)[0]
    assert list(found) == [0, 1] and torch.equal(found[1].samples, first.samples)
    whole = call(path, "--prior", prior, "--out", tmp_path / "p", *FAST, "--slices", "1,0")
    assert whole.exit_code == 0
    for n, one in read_reconstruction(tmp_path / "p" / "reconstruction.h5")[0].items():
        assert torch.equal(one.samples, found[n].samples)  # a killed run that goes on makes what one run makes
    refused(call(*arguments, "--seed", 3), "of another run (seed 0, now 3)", "another --out")


def test_the_pages_of_a_scan(prior, tmp_path):
    """Self-contained pages with the magnitudes that are in the file of results; a resumed run has all slices on it."""
    m = made(2, 4, 0.02, 1.0)
    path, out = write(tmp_path / "a <b>.h5", m.kspace), tmp_path / "o"
    arguments = [path, "--prior", prior, "--out", out, "--accelerate", 2.5, "--calibration", 0.25, *FAST]
    assert call(*arguments, "--slices", "1").exit_code == 0
    assert not (out / "slice-000.html").exists()
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    index, *pages = ((out / name).read_text() for name in ("index.html", "slice-000.html", "slice-001.html"))
    for text in (index, *pages):
        assert faults_of(text) == [] and outside(text) == [] and "a &lt;b&gt;.h5" in text
    assert all(f'<a href="slice-00{n}.html">slice {n}</a>' in index for n in (0, 1))
    said = re.search(r"compared with the fully sampled scan: (PSNR of the mean .* dB), SSIM", result.output)
    assert said is not None and said[1] in pages[0] and "about 1 if the samples explain k-space" in pages[0]
    one = read_reconstruction(out / "reconstruction.h5")[0][0]
    pictures = of_page(pages[0])
    assert list(pictures) == ["reference", "zero-filled", "mean", "std", *(f"sample {k}" for k in (1, 2, 3, 4))]
    white = one.mean.abs().max()
    whole, mean = read_scan(path).zero_filled(0), one.mean.abs()
    factor = float((mean * whole).sum() / mean.square().sum())
    whole = whole if abs(factor - 1) < 0.05 else whole / factor
    for name, x in {"mean": mean, "sample 2": one.samples[1].abs(), "reference": whole}.items():
        np.testing.assert_allclose(pictures[name], 255 * (x / white).clamp(0, 1).numpy(), atol=0.51)
    assert np.abs(pictures["zero-filled"] - pictures["mean"].astype(float)).mean() > 2


def test_a_time_for_a_slice(prior, tmp_path, monkeypatch):
    """All slices and samples have the steps that the first slice was planned with."""
    path = write(tmp_path / "scan.h5", made(2, None).kspace)
    plan, budgets = command.make_plan, []

    def planned(*args, budget=None, method, n_steps=None, **rest):
        budgets.append(budget)
        return plan(*args, method="mmps", n_steps=5 if budget else n_steps, **rest)

    monkeypatch.setattr(command, "make_plan", planned)
    rest = [path, "--prior", prior, "--out", tmp_path / "o", "--method", "mmps", "--budget", "2min"]
    assert call(*rest, "--samples", 2, "--slices", 0).exit_code == 0
    result = call(*rest, "--samples", 2)
    assert result.exit_code == 0 and budgets == [120.0] and "6 evaluations" in result.output, result.output
    assert read_reconstruction(tmp_path / "o" / "reconstruction.h5")[1]["steps"] == 5
    refused(call(*rest, "--steps", 3), "--steps 3")


def of_page(text):
    """The pictures of a page by name, as pixels."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text)
    return {name: np.array(Image.open(io.BytesIO(base64.b64decode(code)))) for code, name in found}


def test_what_it_would_cost(prior, tmp_path):
    path = write(tmp_path / "scan.h5", made(2, None).kspace)
    result = call(path, "--prior", prior, "--out", tmp_path / "o", *FAST, "--dry")
    assert result.exit_code == 0 and "for 2 slices" in result.output, result.output
    assert not (tmp_path / "o").exists()


def test_a_picture_of_the_file_is_compared_with(prior, tmp_path):
    """reconstruction_rss is of the picture's middle, and may be in other units."""
    m = made(1, 4, 0.01)
    rss = read_scan(write(tmp_path / "scan.h5", m.kspace)).zero_filled(0)[4:36, 2:34]
    write(tmp_path / "scan.h5", m.kspace, reconstruction_rss=1e6 * rss[None])
    result = call(tmp_path / "scan.h5", "--prior", prior, "--out", tmp_path / "o", *FAST)
    assert result.exit_code == 0 and "reconstruction_rss" in result.output, result.output
    mean = read_reconstruction(tmp_path / "o" / "reconstruction.h5")[0][0].mean.abs()[4:36, 2:34]
    factor = (mean * rss).sum() / mean.square().sum()
    error = ((factor * mean).clamp(0, rss.max()) - rss).square().mean().sqrt() / rss.max()
    assert f"PSNR of the mean {-20 * error.log10():.2f} dB" in result.output


def test_five_columns_are_calibration_enough(tmp_path):
    """A quarter of the columns of 64, as the shipped prior has them; fewer in the middle name the option."""
    picture = samples("brain-mri").floats()[:1]
    y = Fourier(torch.ones(64, 64), smooth_sensitivities(3, (64, 64)), noise=GaussianNoise(0.02)).measure(
        picture, seed=0
    )
    path = write(tmp_path / "scan.h5", to_complex(y))
    rest = [path, "--prior", white(tmp_path / "prior", 1), "--out", tmp_path / "o", "--accelerate", 4]
    result = call(*rest, "--dry")
    assert result.exit_code == 0 and "calibration 64 x 5" in result.output, result.output
    refused(call(*rest, "--dry", "--calibration", 0.03), "--calibration", "expected at least 5 x 5")
    refused(call(*rest, "--dry", "--device", "cuda:99"), "'cuda:99'", "cpu")


def test_a_prior_of_complex_pictures(tmp_path):
    path = write(tmp_path / "scan.h5", made(1, None).kspace)
    result = call(path, "--prior", white(tmp_path / "prior", 2), "--out", tmp_path, *FAST, "--rows", 24)
    assert result.exit_code == 0 and "24 x 37" in result.output, result.output
    one = read_reconstruction(tmp_path / "reconstruction.h5")[0][0]
    assert one.samples.shape == (6, 24, 37) and one.samples.dtype == torch.complex64
    with h5py.File(tmp_path / "reconstruction.h5") as file:
        torch.testing.assert_close(torch.from_numpy(file["reconstruction"][0]), one.mean.abs())
    assert (tmp_path / "slice-000.png").stat().st_size > 1000


def test_a_noise_that_is_given_is_in_the_file_s_units(prior, tmp_path):
    path = write(tmp_path / "scan.h5", made(1, None).kspace)
    result = call(path, "--prior", prior, "--out", tmp_path, *FAST, "--sigma", 7e-6)
    assert result.exit_code == 0 and "sigma 7e-06 (given)" in result.output, result.output
    with h5py.File(tmp_path / "reconstruction.h5") as file:
        assert file["sigma"][0] == pytest.approx(7e-6)


def test_a_whole_scan_is_accelerated_and_compared_with(prior, tmp_path):
    """As the scanner would have done it: the same columns, hence the same samples as from its accelerated scan."""
    mask, whole = made(1, 4, 0.01).mask[0], made(1, 4, 0.01, acceleration=1.0)
    maps = whole.maps
    path = write(tmp_path / "whole.h5", whole.kspace, sensitivity=maps)
    accelerated = torch.where(mask, whole.kspace, 0)
    other = write(tmp_path / "accelerated.h5", accelerated, sensitivity=maps, mask=mask)
    rest = ["--prior", prior, *FAST, "--sigma", 3e-6]
    result = call(path, *rest, "--out", tmp_path / "o", "--accelerate", 2.5, "--calibration", 0.25)
    assert result.exit_code == 0 and "acceleration 2.47" in result.output, result.output
    assert call(other, *rest, "--out", tmp_path / "p").exit_code == 0
    one, by_hand = (read_reconstruction(tmp_path / name / "reconstruction.h5")[0][0] for name in "op")
    assert torch.equal(one.samples, by_hand.samples)
    rss = read_scan(path).zero_filled(0)
    error = ((one.mean.abs().clamp(0, rss.max()) - rss) / rss.max()).square().mean()
    assert f"PSNR of the mean {-10 * error.log10():.2f} dB" in result.output
    refused(call(path, *rest, "--out", tmp_path / "o", "--accelerate", 2), "of another run (accelerated", "variable")
    refused(call(other, *rest, "--out", tmp_path / "q", "--accelerate", 2), "41% of k-space", "fully sampled scan")
    refused(call(path, *rest, "--out", tmp_path / "q", "--accelerate", 2, "--pattern", "spiral"), "'spiral'", "uniform")


def test_refused(prior, tmp_path):
    path = write(tmp_path / "scan.h5", made(1).kspace)
    rest = ["--out", tmp_path / "o", *FAST]
    save(tmp_path / "fixed", score_prior())
    refused(call(path, "--prior", tmp_path / "fixed", *rest), "only takes (1, 8, 8)")
    refused(call(path, "--prior", white(tmp_path / "colour", 3), *rest), "(3, 32, 32)", "magnitudes")
    rest = ["--prior", prior, *rest]
    for sigma in ("low", "0", "nan", "inf"):
        refused(call(path, *rest, "--sigma", sigma), f"--sigma '{sigma}'", "auto")
    refused(call(path, *rest, "--slices", "1"), "0 to 0")
    refused(call(path, *rest, "--method", "ddrm"), "svd")
    refused(call(tmp_path / "none.h5", *rest), "no scan at")
    assert not (tmp_path / "o").exists()


def test_numbers_of_slices():
    assert slice_numbers("0,3,5-7", 9) == [0, 3, 5, 6, 7] and slice_numbers("2-2,2", 3) == [2]
    for text in ("", "a", "3-1", "-1", "1-", "9"):
        with pytest.raises(ValueError, match="--slices"):
            slice_numbers(text, 9)


@pytest.mark.parametrize(("size", "name"), [((40, 37), "brain-mri"), ((128, 100), "brain-mri-224")])
def test_the_size_decides_the_prior(tmp_path, size, name):
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    picture = (0.8 * torch.sigmoid(10 * (0.7 - y**2 - x**2)))[None, None]
    scanner = Fourier.cartesian((1, *size), 2, noise=GaussianNoise(0.02))
    path = write(tmp_path / "scan.h5", to_complex(scanner.measure(picture, seed=0)))
    result = call(path, "--out", tmp_path / "o", "--dry", "--samples", 2)
    assert result.exit_code == 0, result.output
    assert f"; {name}, 2 samples" in result.output
