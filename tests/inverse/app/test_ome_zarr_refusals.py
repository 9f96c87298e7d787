"""OME-Zarr that is broken, hostile or not read: refused, with the remedy."""

import json
import os
import re

import numpy as np
import pytest

from inverse.app import series
from priors import zarr_folders
from tests.inverse.app.test_files import H, S, W, volume
from tests.inverse.app.test_ome_zarr import AXES, an_image, edited, ome_of, refusal, stack

zarr = pytest.importorskip("zarr", reason="zarr (extra zarr)")


def of_first(change):
    return lambda path: edited(path, lambda ome: change(ome["multiscales"][0]))


def array_json(change):
    def apply(path):
        place = path / "0" / "zarr.json"
        held = json.loads(place.read_text())
        change(held)
        place.write_text(json.dumps(held))

    return apply


def chunked(chunks, shape):
    return array_json(
        lambda a: a.update(shape=shape, chunk_grid={"name": "regular", "configuration": {"chunk_shape": chunks}})
    )


def linked(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to("/etc/hostname")


def a_linked_array(path):
    (path / "0").rename(path.parent / "elsewhere")
    (path / "0").symlink_to(path.parent / "elsewhere")


def a_pipe(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)


def cut(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])


def large(path):
    (path / "0" / "c" / "0" / "0" / "0" / "0" / "0").write_bytes(bytes(2**22))


def without_metadata(path):
    (path / "zarr.json").unlink()


WRONG = {
    "no metadata of Zarr": (without_metadata, "has no metadata of Zarr .*copy it again, with hidden files"),
    "no multiscales": (lambda p: edited(p, lambda ome: ome.clear()), "no metadata 'multiscales'"),
    "empty": (lambda p: edited(p, lambda ome: ome.update(multiscales=[])), "multiscales is no list"),
    "old version": (lambda p: edited(p, lambda ome: ome.update(version="0.3")), "of version '0.3'.*convert it"),
    "axes of texts": (of_first(lambda m: m.update(axes=["z", "y", "x"])), "has the axes"),
    "axes in another order": (of_first(lambda m: m["axes"].reverse()), "the last two y and x"),
    "fewer axes": (of_first(lambda m: m.update(axes=AXES[2:])), "has 5 axes, but multiscales names 3"),
    "a path that leaves": (of_first(lambda m: m["datasets"][0].update(path="../0")), "leaves the folder"),
    "an absolute path": (of_first(lambda m: m["datasets"][0].update(path="/etc")), "leaves the folder"),
    "a web address": (of_first(lambda m: m["datasets"][0].update(path="https://a.org/0")), "leaves the folder"),
    "a path of no text": (of_first(lambda m: m["datasets"][0].update(path=3)), "has the path '3'"),
    "a missing array": (of_first(lambda m: m["datasets"][0].update(path="7")), "'7' is missing"),
    "no scale": (of_first(lambda m: m["datasets"][0].pop("coordinateTransformations")), "has no scale"),
    "a scale of texts": (
        of_first(lambda m: m.update(coordinateTransformations=[{"type": "scale", "path": "s"}])),
        "expected a scale or a translation, of 5 finite numbers",
    ),
    "a scale of zero": (
        of_first(lambda m: m.update(coordinateTransformations=[{"type": "scale", "scale": [1, 1, 0, 1, 1]}])),
        "expected numbers > 0",
    ),
    "texts": (array_json(lambda a: a.update(data_type="string")), "values of object: expected real numbers"),
    "complex values": (array_json(lambda a: a.update(data_type="complex64")), "values of complex64: expected real"),
    "a huge shape": (array_json(lambda a: a.update(shape=[1, 1, 2, 10**7, 10**7])), "at most 2147483648 are supported"),
    "a large shape": (array_json(lambda a: a.update(shape=[1, 1, 1000, 1000, 1000])), "decompresses to 2,000,000,000"),
    "tiny chunks": (
        chunked([1] * 5, [1, 1, 2, 600, 600]),
        "chunks .1, 1, 1, 1, 1. in what is read at once.*save it with larger chunks",
    ),
    "huge chunks": (chunked([1, 1, 1, 10**6, 10**6], [1, 1, S, H, W]), "decompresses to"),
    "a chunk of no length": (chunked([0] * 5, [1, 1, S, H, W]), "length of an axis"),
    "a shape of texts": (array_json(lambda a: a.update(shape=["1"] * 5)), "length of an axis"),
    "a codec that runs code": (
        array_json(lambda a: a["codecs"].append({"name": "numcodecs.pickle"})), "codec 'numcodecs.pickle'",
    ),
    "metadata cut": (lambda p: os.truncate(p / "zarr.json", 50), "not readable metadata of Zarr"),
    "deep metadata": (lambda p: (p / "zarr.json").write_text("[" * 10**5), "not readable metadata of Zarr"),
    "a link": (linked, "is a link, or is reached by one, which is not followed"),
    "a linked array": (a_linked_array, "is a link, or is reached by one"),
    "a pipe": (a_pipe, "is not a regular file"),
    "a chunk that is cut": (cut, "is not a readable OME-Zarr image, or is damaged"),
    "a chunk that is too large": (large, "is larger than a chunk can be"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_broken_and_hostile_folders_are_refused_with_the_remedy(tmp_path, name):
    break_it, told = WRONG[name]
    path = stack(3, tmp_path / "c.zarr")
    break_it(path)
    with pytest.raises(ValueError, match=told) as error:
        series.opened(path, True)
    assert str(path) in str(error.value)


def test_the_command_line_tells_it(tmp_path):
    path = stack(3, tmp_path / "c.zarr")
    edited(path, lambda ome: ome["multiscales"][0]["datasets"][0].update(path="../../etc"))
    assert re.search("leaves the folder.*copy the array into the folder", refusal(path, tmp_path))


def test_pickled_chunks_of_format_2_are_not_loaded(tmp_path):
    path = stack(2, tmp_path / "c.zarr")
    place = path / "0" / ".zarray"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"filters": [{"id": "pickle"}]}))
    with pytest.raises(ValueError, match="stored by the codec 'pickle', which is not read, as it may run code"):
        series.opened(path, True)


def test_channels_archives_and_folders_of_images_are_refused(tmp_path):
    values = volume(0, 60000).astype(np.uint16)[None]
    with pytest.raises(ValueError, match="has 2 channels: expected grey slices; save each channel"):
        series.opened(an_image(tmp_path / "rgb.zarr", 3, values.transpose(1, 0, 2, 3)[None]), True)
    (tmp_path / "packed.zarr").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is a file: expected a Zarr folder; unpack"):
        series.opened(tmp_path / "packed.zarr", True)
    with pytest.raises(FileNotFoundError, match="no OME-Zarr image at"):
        series.opened(tmp_path / "none.zarr", True)
    zarr.open_group(tmp_path / "plate.zarr", mode="w", attributes={"ome": {"version": "0.5", "plate": {}}})
    stack(3, tmp_path / "plate.zarr" / "a")
    with pytest.raises(ValueError, match=r"give one of the images in it, such as .*plate.zarr/a"):
        series.opened(tmp_path / "plate.zarr", True)
    zarr.save_array(tmp_path / "alone.zarr", values)
    with pytest.raises(ValueError, match="is one array of Zarr, without metadata of OME"):
        series.opened(tmp_path / "alone.zarr", True)


def test_a_result_never_replaces_what_is_no_folder(tmp_path):
    found = series.opened(stack(3, tmp_path / "c.zarr"), True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mean.zarr").symlink_to(tmp_path / "c.zarr")
    with pytest.raises(ValueError, match="is a link or a file: expected a folder"):
        found.write(tmp_path / "out", "mean", found.slices, False)
    assert ome_of(tmp_path / "c.zarr")["multiscales"][0]["type"] == "gaussian"


def test_every_name_in_a_folder_is_checked(tmp_path):
    stack(3, tmp_path / "c.zarr")
    with zarr_folders.opened(tmp_path / "c.zarr", "image") as folder:
        assert folder.datasets() == ["0", "1"] and "0" in folder and "5" not in folder
        for name in ("..", "0/../../c.zarr/0", "/", "a//b", "0\\1"):
            with pytest.raises(ValueError, match="leaves the folder, or is none"):
                folder.dataset(name)
        with pytest.raises(ValueError, match="'' is a group: expected an array"):
            folder.array("")
