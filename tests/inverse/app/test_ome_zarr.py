"""OME-Zarr made by zarr itself: in by the command line, and out with its metadata; broken and hostile folders."""

import json
import os
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from inverse.app import series
from inverse.app.cli import app
from inverse.app.volumes import files as volume_files
from inverse.app.volumes.baseline import places
from operators import AlongAxis, Blur, Slicewise
from priors import zarr_folders
from tests.inverse.app.test_files import H, S, W, near, run, solved, volume

zarr = pytest.importorskip("zarr", reason="zarr (extra zarr)")

MICRO = {"type": "space", "unit": "micrometer"}
AXES = [
    {"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}, {"name": "z", **MICRO},
    {"name": "y", **MICRO}, {"name": "x", **MICRO},
]  # fmt: skip
SCALE, SHIFT = [1.0, 1.0, 2.0, 0.5, 0.25], [0.0, 0.0, -3.0, 10.0, 20.0]
OMERO = {
    "channels": [{"color": "FFFFFF", "label": "DAPI", "window": {"min": 0, "max": 65535, "start": 100, "end": 900}}]
}


def levels() -> list[dict]:
    def moved(factor: float) -> list[dict]:
        scale = [*SCALE[:3], SCALE[3] * factor, SCALE[4] * factor]
        return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": SHIFT}]

    return [{"path": str(k), "coordinateTransformations": moved(2.0**k)} for k in range(2)]


def an_image(path, form: int, values: np.ndarray, axes=AXES, datasets=None, **others):
    """A pyramid of two levels, with a name, a window of its channel, and attributes of others."""
    entry = {
        "name": "cells", "axes": axes, "datasets": datasets or levels(), "type": "gaussian", "metadata": {"sigma": 1},
        "coordinateTransformations": [{"type": "scale", "scale": [0.1, *[1.0] * (len(axes) - 1)]}],
    }  # fmt: skip
    ome = {"multiscales": [entry | ({"version": "0.4"} if form == 2 else {})], "omero": OMERO} | others
    attributes = {"mine": [1, 2]} | (ome if form == 2 else {"ome": {"version": "0.5"} | ome})
    group = zarr.open_group(path, mode="w", zarr_format=form, attributes=attributes)
    for k, level in enumerate((values, values[..., ::2, ::2])):
        how = {"dimension_names": [a["name"] for a in axes]} if form == 3 else {}
        chunks = (*[1] * (values.ndim - 2), 8, 8)
        group.create_array(str(k), data=np.ascontiguousarray(level), chunks=chunks, attributes={"of": k}, **how)
    return path


def stack(form: int, path):
    return an_image(path, form, volume(0, 60000).astype(np.uint16)[None, None])


def ome_of(path) -> dict:
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    return attributes.get("ome", attributes)


def edited(path, change) -> None:
    """Change the attributes of an image's folder."""
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    change(attributes.get("ome", attributes))
    zarr.open_group(path, mode="r+").attrs.put(attributes)


@pytest.mark.parametrize("form", [2, 3])
def test_a_volume_comes_back_with_its_metadata(tmp_path, form):
    path = stack(form, tmp_path / "cells.ome.zarr")
    text = run(path, tmp_path / "out")
    assert "2 slices" in text and "black is 0, white 65535 (the limits of its integers" in text
    given, before = zarr.open_group(path, mode="r"), ome_of(path)
    for name in ("mean", "std", "sample-1", "sample-2"):
        out = tmp_path / "out" / f"{name}.ome.zarr"
        found, after = zarr.open_group(out, mode="r"), ome_of(out)
        assert (
            found.metadata.zarr_format == form and found.attrs["mine"] == [1, 2] and list(found.array_keys()) == ["0"]
        )
        assert found["0"].dtype == np.float32 and found["0"].shape == given["0"].shape == (1, 1, S, H, W)
        assert dict(found["0"].attrs) == {"of": 0}
        expected = dict(before["multiscales"][0])
        del expected["type"], expected["metadata"]  # of the lower levels, which are not written
        expected["datasets"] = expected["datasets"][:1]
        assert after["multiscales"] == [expected] and after.get("version") == before.get("version")
        assert after.get("omero") == (None if name == "std" else OMERO)  # the window is of values
        if form == 3:
            assert found["0"].metadata.dimension_names == ("t", "c", "z", "y", "x")
        assert series.opened(out, True).slices.shape == (S, H, W)  # what is written can be read
    near(zarr.open_group(tmp_path / "out" / "mean.ome.zarr")["0"][0, 0], given["0"][0, 0].astype(float), 65535)
    spread = zarr.open_group(tmp_path / "out" / "std.ome.zarr")["0"][:]
    drawn = [zarr.open_group(tmp_path / "out" / f"sample-{k}.ome.zarr")["0"][:] for k in (1, 2)]
    np.testing.assert_allclose(spread, np.std(drawn, axis=0, ddof=1), rtol=1e-3, atol=1)
    assert run(path, tmp_path / "out").count("nothing to do") == S
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name.endswith(".tmp")) == []


@pytest.mark.parametrize("form", [2, 3])
def test_a_picture_of_two_axes_is_read_at_full_resolution_wherever_it_is_listed(tmp_path, form):
    picture = volume(0, 200)[0].astype(np.uint8)
    small, full = {"path": "1"}, {"path": "0"}
    for each, side in ((full, 0.5), (small, 1.0)):
        each["coordinateTransformations"] = [{"type": "scale", "scale": [side, side]}]
    path = an_image(tmp_path / "p.zarr", form, picture, AXES[3:], [small, full])
    edited(path, lambda ome: ome["multiscales"][0].pop("coordinateTransformations"))
    found = series.opened(path, False)
    assert np.array_equal(found.slices[0], picture) and found.bounds == (0, 255) and found.names == ("slice 0",)
    run(path, tmp_path / "out")
    assert ome_of(tmp_path / "out" / "mean.zarr")["multiscales"][0]["datasets"] == [full]


def test_the_window_of_the_channel(tmp_path):
    found = series.opened(stack(3, tmp_path / "c.zarr"), True)
    assert series.scale(found, None, "file")[:2] == (100, 900)


@pytest.mark.parametrize("form", [2, 3])
def test_finer_pixels_show_the_same_field_of_view(tmp_path, form):
    found = series.opened(stack(form, tmp_path / "c.zarr"), True)
    out = found.write(tmp_path, "mean", np.zeros((S, 2 * H, 4 * W)), False)
    scale, shift = (t[t["type"]] for t in ome_of(out)["multiscales"][0]["datasets"][0]["coordinateTransformations"])
    assert scale == [1, 1, 2, 0.25, 0.0625]
    for axis, before, after in ((3, H, 2 * H), (4, W, 4 * W)):  # the edges of the first and the last pixel
        for edge_before, edge_after in ((-0.5, -0.5), (before - 0.5, after - 0.5)):
            old = SHIFT[axis] + SCALE[axis] * edge_before
            assert shift[axis] + scale[axis] * edge_after == pytest.approx(old)


def test_a_volume_with_more_slices_keeps_their_places(tmp_path):
    op = AlongAxis.gaussian(2 * S - 1, sigma=0.5, every=2)
    (tmp_path / "v").mkdir()
    path = stack(3, tmp_path / "c.zarr")
    values, held = volume_files.read(path)
    assert values.shape == (S, H, W)
    out = volume_files.write(tmp_path / "v", "mean", np.ones((2 * S - 1, H, W)), path, held, False, places(op))
    scale, shift = (t[t["type"]] for t in ome_of(out)["multiscales"][0]["datasets"][0]["coordinateTransformations"])
    first, every = places(op)
    assert every == pytest.approx(2, abs=0.5) and zarr.open_group(out)["0"].shape == (1, 1, 2 * S - 1, H, W)
    for k in range(S):  # a measured slice is where it was
        assert shift[2] + scale[2] * (first + every * k) == pytest.approx(SHIFT[2] + SCALE[2] * k)
    assert places(Slicewise(Blur.gaussian(1.0))) == (0.0, 1.0)


def test_inverse_volume(tmp_path):
    path = stack(2, tmp_path / "c.zarr")
    line = ["volume", str(path), "--operator", "along_axis:sigma=0.5,every=2", "--method", "diffpir", "--steps", "2"]
    line += ["--samples", "2", "--sigma", "0.05", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, line, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    for name in ("mean", "std", "baseline", "sample-1", "sample-2"):
        found = zarr.open_group(tmp_path / "out" / f"{name}.zarr", mode="r")
        assert found["0"].shape == (1, 1, 2 * S - 1, H, W) and found.attrs["multiscales"][0]["axes"] == AXES
    near(found["0"][0, 0, ::2], zarr.open_group(path)["0"][0, 0].astype(float), 65535)


def test_measurements_in_zarr(tmp_path):
    zarr.open_group(tmp_path / "y.zarr", mode="w").create_array("y", data=volume(0, 1)[:, None].astype(np.float32))
    text = run(tmp_path / "y.zarr", tmp_path / "out", "--measured")
    assert f"{S} measurements" in text and (tmp_path / "out" / "measurement-001" / "solution.h5").exists()
    values, held = volume_files.read(tmp_path / "y.zarr")
    assert values.shape == (S, 1, H, W) and held is None
    assert "no OME-Zarr image: if it holds measurements y, pass --measured" in _refusal(tmp_path / "y.zarr", tmp_path)


def _refusal(path, folder) -> str:
    result = solved(path, folder / "refused")
    assert result.exit_code == 2 and not (folder / "refused").exists(), result.output
    return " ".join(result.output.split())


# -- broken, foreign and hostile


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
    assert re.search("leaves the folder.*copy the array into the folder", _refusal(path, tmp_path))


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
