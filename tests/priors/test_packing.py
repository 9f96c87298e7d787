"""From folders and archives of encoded pictures to one file."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from priors.archives import entries
from priors.data import floats
from priors.packing import app
from priors.pictures import holds, read
from priors.units import Units


def encoded(h, w, value, channels=3) -> bytes:
    buffer = io.BytesIO()
    pixels = np.full((h, w, channels), value, np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def places(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in {"b": encoded(4, 6, 1), "a": encoded(5, 3, 2), "grey": encoded(4, 4, 3, 1)}.items():
        (folder / f"{name}.png").write_bytes(content)
    (folder / "notes.txt").write_text("# which\n0000 a val\n")
    parts = [encoded(2, 3, 10 + i) for i in range(3)]
    np.savez(
        tmp_path / "cut.npz",
        jpeg=np.frombuffer(b"".join(parts), np.uint8),
        offsets=np.cumsum([0, *map(len, parts)]),
        names=np.array(["x", "y", "z"]),
        split=np.array([0, 1, 0]),
    )
    np.savez(tmp_path / "named.npz", one=np.frombuffer(encoded(7, 7, 20), np.uint8))
    return tmp_path


def packed(places, *arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(places / "out.h5")])
    return result, (read(places / "out.h5") if holds(places / "out.h5") else None)


def test_sources_in_their_order_without_grey_ones(places):
    result, data = packed(places, places / "folder", places / "cut.npz", places / "named.npz")
    assert result.exit_code == 0 and "6 pictures in" in result.output
    assert data.names == ("a", "b", "x", "y", "z", "one") and data.source == "folder, cut.npz, named.npz"
    assert [tuple(p.shape) for p in data.pictures[:3]] == [(3, 5, 3), (3, 4, 6), (3, 2, 3)]
    assert [int(p.max()) for p in data.pictures] == [2, 1, 10, 11, 12, 20]


def test_what_a_recipe_has_to_know_is_printed(places):
    """Mean, standard deviation, channels and the least side, and what was left out: no guess is needed."""
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    (places / "folder" / "c.png").write_bytes(buffer.getvalue())
    result, data = packed(places, places / "folder")
    every = np.concatenate([p.numpy().ravel() for p in data.pictures]) / 255
    assert f"shift = {every.mean():.3g}, scale = {every.std():.3g}" in result.output
    assert "4 x 6 to 9 x 7 pixels" in result.output and "image_channels = 3" in result.output
    assert "size of at most 3" in result.output and "1 skipped, grey: transparent, or grey: --grey" in result.output
    result, _ = packed(places, places / "folder", "--grey")
    assert "image_channels = 1" in result.output and "left out" not in result.output


def test_grey_versions_are_means_of_the_colours(places):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    (places / "folder" / "c.png").write_bytes(buffer.getvalue())
    result, data = packed(places, places / "folder", "--grey")
    assert result.exit_code == 0 and data.names == ("a", "b", "c", "grey")
    assert [tuple(p.shape) for p in data.pictures] == [(1, 5, 3), (1, 4, 6), (1, 6, 5), (1, 4, 4)]
    assert [int(data.pictures[i].max()) for i in (0, 1, 3)] == [2, 1, 3]
    assert np.abs(data.pictures[2][0].numpy() - pixels.astype(float).mean(2)).max() <= 0.5


def test_values_of_a_physical_unit_in_16_bits(places):
    hu = np.random.default_rng(0).integers(-1024, 3072, (3, 5, 4)).astype(np.int16)
    hu[0, 0, :2] = -2000, 4000  # beyond what the pictures show
    np.savez(places / "scan.npz", hu=hu, split=np.array([0, 1, 0]))
    result, data = packed(places, places / "scan.npz", "--split", "0", "--units", "HU", "-1024", "3071")
    assert result.exit_code == 0 and data.names == ("scan-00000", "scan-00002")
    assert data.source == "scan.npz (HU: 0 is -1024, 1 is 3071)"
    units = Units("HU", -1024.0, 3071.0)
    for picture, expected in zip(data.pictures, hu[[0, 2]], strict=True):
        assert picture.shape == (1, 5, 4) and picture.dtype == torch.uint16
        assert np.array_equal(units.physical(floats(picture)[0]).round().numpy(), expected.clip(-1024, 3071))
    result, _ = packed(places, places / "cut.npz", "--units", "HU", "-1024", "3071")
    assert result.exit_code == 2 and "expected 'hu' (n, H, W), because of --units" in result.output


def test_parts_and_names(places):
    _, data = packed(places, places / "cut.npz", "--split", "0", "--leave-out", "z", "--source", "here")
    assert data.names == ("x",) and data.source == "here"
    _, data = packed(places, places / "folder", "--only", places / "folder" / "notes.txt")
    assert data.names == ("a",)


def test_training_and_test_parts_in_one_file(places):
    packed(places, places / "cut.npz", "--split", "0", "--name", "train")
    result, _ = packed(places, places / "cut.npz", "--split", "1", "--name", "test", "--add")
    assert result.exit_code == 0
    assert [read(places / "out.h5", part).names for part in ("train", "test")] == [("x", "z"), ("y",)]


def test_what_cannot_be_packed(places):
    result, data = packed(places, places / "cut.npz", "--split", "7")
    assert result.exit_code != 0 and "no colour picture" in result.output and data is None
    with pytest.raises(FileNotFoundError, match="expected a folder of pictures or an npz archive"):
        list(entries(places / "none"))
    with pytest.raises(ValueError, match="expected a folder of pictures or an npz archive"):
        list(entries(places / "folder" / "a.png"))
    (places / "folder" / "c.png").write_bytes(b"no picture")
    result, _ = packed(places, places / "folder")
    assert result.exit_code == 2 and "c is not a readable picture" in result.output
