"""Picture files of every kind: the right values, or a refusal that says what to do."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from priors.decoded import UncertainRange
from priors.decoding import decode
from tests.priors.picture_files import ACCEPTED, BYTES, REFUSED, RGB, WORDS, chunk, png, saved, tiff


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_kind_has_the_right_values(name, tmp_path):
    kind = ACCEPTED[name]
    (tmp_path / "picture").write_bytes(kind.make())
    for source in (tmp_path / "picture", kind.make()):
        found = decode(source).opaque().ranged().floats
        assert found.shape == kind.expected.shape
        np.testing.assert_allclose(found, kind.expected, rtol=0, atol=kind.within)


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_kind_is_refused_with_a_remedy(name, tmp_path):
    make, message = REFUSED[name]
    path = tmp_path / "a picture.tif"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=message) as caught:
        decode(path).opaque().ranged()
    assert str(path) in str(caught.value) and "object at 0x" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, message in {"pipe.png": "a pipe", "folder.png": "a folder"}.items():
        with pytest.raises(ValueError, match=message):
            decode(tmp_path / name)
    with pytest.raises(ValueError, match="is a device"):
        decode(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError, match="no image at"):
        decode(tmp_path / "none.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "link.png")
    with pytest.raises((ValueError, FileNotFoundError)):
        decode(tmp_path / "link.png")


def test_what_is_done_with_a_picture_is_noted():
    notes = {name: " ".join(decode(ACCEPTED[name].make()).notes) for name in ACCEPTED}
    turned = {name for name, text in notes.items() if "rotated" in text}
    assert turned == {name for name in ACCEPTED if "orientation" in name and not name.endswith("1")}
    assert "by the file's profile" in notes["JPEG, CMYK by its profile"] and "(1 - c)" in notes["JPEG, CMYK"]
    assert "not applied" in notes["PNG, another colour space"]
    assert notes["PNG, colour"] == notes["TIFF, 16 bits"] == notes["PNG, colour of 16 bits"] == ""


def test_twelve_bits_in_sixteen_are_warned_of():
    for content in (tiff(WORDS // 16), saved(WORDS // 16, "PNG"), saved(BYTES // 255, "PNG")):
        with pytest.warns(UncertainRange, match=r"its largest value is (4095|1), but (65535|255) is white"):
            decode(content).ranged()


def test_a_text_chunk_that_unpacks_to_much_costs_nothing():
    long = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000)))
    try:
        found = decode(png(RGB, 2, 8, long))
    except ValueError:
        return
    np.testing.assert_array_equal(found.values, RGB)


def test_no_format_runs_anything():
    """Pillow would call Ghostscript for PostScript: the list of formats is closed."""
    eps = io.BytesIO()
    Image.fromarray(RGB).save(eps, "EPS")
    with pytest.raises(ValueError, match="unknown format"):
        decode(eps.getvalue())
