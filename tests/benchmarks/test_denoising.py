"""The denoising benchmark on priors whose answer is known."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

import priors
from benchmarks.cli import app
from benchmarks.trained import denoising
from priors import VESDE, VPSDE, DataRange, ScorePrior, checkpoints
from priors.data import ImageSet
from priors.data import write as write_images
from priors.nets import LocalConfig, LocalUNet
from priors.pictures import Pictures, write
from tests.priors.cases import made

SIZES = [(31, 40), (24, 17), (30, 30)]


def pictures() -> Pictures:
    generator = torch.Generator().manual_seed(0)
    grey = [torch.randint(100, 156, (3, h, w), generator=generator).byte() for h, w in SIZES]
    return Pictures(tuple(grey), ("one", "two", "three"))


@pytest.fixture
def folder(tmp_path):
    """A network whose last convolution is zero: it answers with the linear estimate of its preconditioning."""
    net = made(LocalUNet, LocalConfig(3, (4, 6), (1, 1), embedding=8))
    with torch.no_grad():
        net.conv_out.weight.zero_()
    checkpoints.save(tmp_path / "prior", ScorePrior(net, VESDE(0.002, 50.0), (3, 16, 16), range=DataRange(0.5, 0.06)))
    return tmp_path / "prior"


def test_figures_are_those_of_the_linear_estimate(folder):
    rows = denoising.run(folder, pictures(), (15, 50), tile=16)
    variance = ((155 - 100 + 1) ** 2 - 1) / 12 / 255**2  # of the pixels, and their mean is .5
    for row, level in zip(rows, (15, 50), strict=True):
        s2 = (level / 255) ** 2
        shrink = 0.06**2 / (0.06**2 + s2)
        assert float(row["noisy"]) == pytest.approx(-10 * math.log10(s2), abs=0.3)  # some noise is clipped
        error = (1 - shrink) ** 2 * variance + shrink**2 * s2
        assert float(row["prior"]) == pytest.approx(-10 * math.log10(error), abs=0.3)
        low, high = map(float, row["95 % over pictures"].split(" to "))
        assert low - 0.01 <= float(row["prior"]) <= high + 0.01
    assert rows[1]["FFDNet, published"] == "27.97" and rows[1]["DRUNet, published"] == "28.51"
    assert denoising.run(folder, pictures(), (15, 50), tile=512) == rows
    assert denoising.run(folder, pictures(), (15, 50), seed=1) != rows


def test_another_noising_of_the_same_network_denoises_alike(folder):
    x = pictures().pictures[0][None].float() / 255
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    prior = priors.load(folder)
    ve, vp = (denoising.both(p, x, noisy, 0.1) for p in (prior, prior.with_sde(VPSDE())))
    torch.testing.assert_close(ve, vp, rtol=1e-4, atol=1e-4)


def test_the_command_writes_a_table(folder, tmp_path):
    write(tmp_path / "set.h5", pictures(), "test")
    arguments = ["run", "denoising", "--data", str(tmp_path / "set.h5"), "--split", "test", "--prior", str(folder)]
    result = CliRunner().invoke(app, [*arguments, "--limit", "2", "--level", "30", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "denoising.json").read_text())
    assert record["facts"]["pictures"] == 2 and [row["sigma, of 255"] for row in record["rows"]] == ["30"]
    assert "not measured here" in (tmp_path / "out" / "denoising.md").read_text()


def test_image_sets_are_pictures_too(tmp_path):
    images = torch.stack([p[:, :17, :17] for p in pictures().pictures])
    write_images(tmp_path / "set.h5", ImageSet(images))
    found = denoising.load(tmp_path / "set.h5")
    assert all(torch.equal(a, b) for a, b in zip(found.pictures, images, strict=True))


@pytest.mark.parametrize("levels", [(), (0,), (15, -1)])
def test_levels_that_are_none(folder, levels):
    with pytest.raises(ValueError, match="expected noise levels > 0, of 255, at least one"):
        denoising.run(folder, pictures(), levels)
