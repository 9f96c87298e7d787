"""OME-Zarr made by zarr itself: in by the command line, and out with its metadata; broken and hostile folders."""

import numpy as np
import pytest
from typer.testing import CliRunner

from inverse.app import series
from inverse.app.cli import app
from inverse.app.volumes import files as volume_files
from inverse.app.volumes.baseline import places
from operators import AlongAxis, Blur, Slicewise
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


def refusal(path, folder) -> str:
    result = solved(path, folder / "refused")
    assert result.exit_code == 2 and not (folder / "refused").exists(), result.output
    return " ".join(result.output.split())


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
    assert "no OME-Zarr image: if it holds measurements y, pass --measured" in refusal(tmp_path / "y.zarr", tmp_path)
