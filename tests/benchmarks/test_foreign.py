"""A checkpoint of another project beside a shipped prior, on next to nothing."""

import json

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.trained import foreign
from priors import pictures
from priors.nets.denoisers import FFDNet


@pytest.fixture
def data(tmp_path):
    pixels = torch.randint(256, (2, 3, 40, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pictures.write(tmp_path / "mine.h5", pictures.Pictures(tuple(pixels)))
    return tmp_path / "mine.h5"


def test_a_row_per_measurement_and_prior(tmp_path, data):
    torch.manual_seed(0)
    torch.save(FFDNet(3, 4, 3).state_dict(), tmp_path / "net.pth")
    source = f"kair:{tmp_path / 'net.pth'}"
    arguments = ["run", "foreign-prior", "--prior", source, "--data", data, "--images", 2, "--side", 16, "--samples", 2]
    arguments += ["--work", tmp_path / "work", "--out", tmp_path]
    for _ in range(2):  # the second time, records are read
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "foreign-prior.json").read_text())["rows"]
    assert [row["measurement"] for row in rows] == [task for task in foreign.TASKS for _ in range(2)]
    assert [row["prior"] for row in rows] == 2 * ["kair:net.pth", "natural"]
    assert [row["over natural, dB"] == "-" for row in rows] == 2 * [False, True]
    ahead, (first, second) = rows[0]["over natural, dB"], (float(r["PSNR of the mean, dB"]) for r in rows[:2])
    assert float(ahead.split()[0]) == pytest.approx(first - second, abs=0.011)
    assert len((tmp_path / "work" / "foreign.jsonl").read_text().splitlines()) == 8
    assert str(tmp_path) not in (tmp_path / "foreign-prior.md").read_text().split("Made by")[0]


def test_crops_are_of_each_picture_in_turn(data):
    found, kept = foreign.crops(data, 16, 3), pictures.read(data).pictures
    assert found.shape == (3, 3, 16, 16)
    for crop, picture in zip(found, (kept[0], kept[1], kept[0]), strict=True):
        windows = picture.float().div(255).unfold(1, 16, 1).unfold(2, 16, 1)
        assert (windows - crop[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-6
    with pytest.raises(ValueError, match=r"mine\.h5: picture 0 of \(3, 40, 30\): expected 32 pixels a side"):
        foreign.crops(data, 32, 1)
