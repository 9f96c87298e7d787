"""Files of sinograms and of other measurements that are no pictures: detectors, axes, integers and scales."""

import h5py
import numpy as np
import pytest
import tifffile
import torch

from inverse.app.measured import fitted, of_pictures, scale, untested
from inverse.app.operator_text import named
from inverse.app.photo import pose
from inverse.app.photo_shape import arranged
from inverse.app.stack import opened_stack
from inverse.app.unknown_text import unknowns
from inverse.quality.residuals import misfit
from operators import Bayer, Blur, Downsampling, FanBeam, Fourier, PoissonNoise, Radon, Resize, Transmission
from tests.inverse.app.test_cli import call, refused

PARALLEL = "radon:angles=30,size=16,pixel=1"  # 24 detectors by default
FAN = "fan_beam:angles=30,source=60,detector=0,size=16,pixel=1,spacing=1,curved=false,offset=0"
SINOGRAM = np.random.default_rng(0).random((30, 24)).astype(np.float32) * 8


def saved(path, values):
    np.save(path, values)
    return path


@pytest.mark.parametrize("detectors", [16, 21, 25, 40])
@pytest.mark.parametrize("text", [PARALLEL, FAN])
def test_the_file_tells_the_number_of_detectors(tmp_path, text, detectors):
    y = np.random.default_rng(1).random((30, detectors)).astype(np.float32)
    problem = pose(saved(tmp_path / "y.npy", y), text, "0.5", measured=True)
    assert problem.y.shape == (1, 1, 30, detectors) == (1, *problem.operator.measurement_shape((1, 16, 16)))
    assert problem.prior.event_shape == (1, 16, 16)
    assert f"detectors={detectors}, as many as the file has (by default" in problem.facts["operator"]
    stack = saved(tmp_path / "stack.npy", np.stack([y, y, y, y]))
    stated = named(text, True)
    assert arranged((4, 30, detectors), stated, None, None) == (4, 1, 30, detectors)
    found = opened_stack(stack, True, lambda shape: arranged(shape, stated, None, None))
    assert found is not None and found.count == 4


def test_the_default_number_and_a_stated_one_stay(tmp_path):
    path = saved(tmp_path / "y.npy", SINOGRAM)
    assert "detectors" not in pose(path, PARALLEL, "0.5", measured=True).facts["operator"]
    without = named("radon:angles=30,pixel=1", True)  # which tells the size
    assert fitted(without, (30, 24), None) is without
    assert fitted(without, (30, 30), (1, 16, 16)).values["detectors"] == 30
    assert fitted(named("blur:width=1", True), (30, 30), None).values.keys() & {"detectors"} == set()


@pytest.mark.parametrize(("shape", "text", "expected"), [
    ((24, 30), PARALLEL, r"24 x 30 values.*measures 30 views of 24 detectors; it seems transposed: save"),
    ((24, 30), FAN, "it seems transposed: save"),
    ((31, 24), PARALLEL, "give one angle for each view, angles=31"),
    ((30, 20), PARALLEL + ",detectors=22", "measures 22 detectors: give detectors=20"),
    ((30, 24), "radon.skimage:angles=30,size=16,pixel=1,circle=true", "16 detectors: give the other circle"),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_once(tmp_path, shape, text, expected):
    path = saved(tmp_path / "y.npy", np.ones(shape, np.float32))
    line = ["solve", path, "--measured", "--operator", text, "--sigma", 0.5, "--dry", "--out", tmp_path / "out"]
    result = call(*line)
    refused(result, "values, (views, detectors)")
    assert result.output.count("error") == 1
    with pytest.raises(ValueError, match=expected):
        fitted(named(text, True), shape, None)


def test_many_measurements_of_a_wrong_shape_are_refused_once():
    with pytest.raises(ValueError, match=r"array of shape \(5, 16\) was taken as 5 measurements of shape \(16,\)"):
        arranged((5, 16), named("fourier:mask=ones", True), None, None)


def test_integers_of_line_integrals_are_no_pictures(tmp_path):
    values = np.rint(1000 * SINOGRAM + 500).astype(np.uint16)
    tifffile.imwrite(tmp_path / "y.tif", values)
    tifffile.imwrite(tmp_path / "p.tif", values)
    sinogram = pose(tmp_path / "y.tif", PARALLEL, "300", measured=True)
    np.testing.assert_array_equal(sinogram.y[0, 0], values)
    assert "taken as they are, in units of y" in sinogram.facts["picture"]
    picture = pose(tmp_path / "p.tif", "blur:width=1,boundary=reflect", "0.05", measured=True)
    np.testing.assert_allclose(picture.y[0, 0], values / 65535, atol=1e-6)
    same = pose(saved(tmp_path / "y.npy", values.astype(np.int32)), PARALLEL, "300", measured=True)
    torch.testing.assert_close(same.y, sinogram.y)


def test_what_is_a_picture():
    for text in ("radon:angles=3", "radon.skimage:size=4", "fan_beam", "fourier", "noncartesian", "phase_retrieval"):
        assert not of_pictures(text)
    for text in ("blur:width=1", "masking", "downsampling", "transmission", "jpeg"):
        assert of_pictures(text)


def test_an_unknown_sigma_is_sought_at_the_scale_of_y(tmp_path):
    path = saved(tmp_path / "y.npy", 1000 * SINOGRAM)
    problem = pose(path, PARALLEL, measured=True, unknown=["sigma"])
    assert problem.unknown is not None
    found, size = problem.unknown["sigma"], scale(problem.y)
    assert size == pytest.approx(1000 * float(np.sqrt((SINOGRAM.astype(float) ** 2).mean())), rel=1e-6)
    assert found.low == pytest.approx(3e-4 * size, rel=0.05) and found.high == pytest.approx(size, rel=0.05)
    assert "in units of y" in problem.facts["inferred"] and "white" not in problem.facts["inferred"]
    stated = pose(path, PARALLEL, measured=True, unknown=["sigma=2:30"])
    assert stated.unknown is not None and (stated.unknown["sigma"].low, stated.unknown["sigma"].high) == (2, 30)
    assert "of the white" in unknowns(["sigma"], "blur:width=1", None, True).texts()[0]


def test_the_only_dataset_of_a_file_is_its_measurement(tmp_path):
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["sino"] = SINOGRAM
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["sino"], file["theta"] = SINOGRAM, np.arange(30)
    stated = named(PARALLEL, True)
    stack = opened_stack(tmp_path / "one.h5", True, lambda shape: arranged(shape, stated, None, None))
    assert stack is not None and stack.count == 1
    np.testing.assert_array_equal(stack.read(0)[0, 0], SINOGRAM)
    with pytest.raises(ValueError, match=r"no dataset 'y'.*'sino' \(30, 24\), 'theta' \(30,\): name"):
        opened_stack(tmp_path / "two.h5", True)


def test_three_sinograms_are_not_the_channels_of_one(tmp_path):
    path = saved(tmp_path / "y.npy", np.stack([SINOGRAM] * 3))
    with pytest.raises(ValueError, match=r"array of shape \(3, 1, 30, 24\), \(measurements, 1, views, detectors\)"):
        pose(path, PARALLEL, "0.5", "ct", measured=True)


@pytest.mark.parametrize(("operator", "expected"), [
    (Radon(30, 16), "its centre, angles, detector pitch, or the gain and units of y"),
    (Transmission(PoissonNoise(100.0)) @ FanBeam(30, 60.0), "its centre, angles, detector pitch, source distance, or"),
    (Fourier(torch.ones(8, 8)), "its mask or trajectory, its phase and coil sensitivities"),
    (Blur.gaussian(1.0), "for a blur, its kernel"),
    (None, "for a blur, its kernel"),
])  # fmt: skip
def test_residuals_name_the_parts_of_their_operator(operator, expected):
    assert f"the operator is wrong ({expected}" in misfit(1.2, 1e-30, (0.9, 1.1), 1e-4, operator=operator)


def test_what_no_check_tells_is_said(tmp_path):
    assert (
        "means" in untested(Downsampling(2)) and "tissue" in untested(Radon(8)) and untested(Blur.gaussian(1.0)) == ""
    )
    y = saved(tmp_path / "y.npy", np.random.default_rng(0).random((3, 32, 32)).astype(np.float32))
    problem = pose(y, "downsampling:factor=2", "0.05", measured=True)
    assert problem.facts["operator"].endswith(untested(Downsampling(2)))


def test_the_place_of_single_pixels_is_stated(tmp_path):
    """x[::2, ::2] and Pillow's nearest are half a block apart, and y cannot tell them."""
    x = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    path = saved(tmp_path / "y.npy", x[::2, ::2].transpose(2, 0, 1)[None])
    with pytest.raises(ValueError, match=r"add offset=0 for x\[::2\].*or offset=1 for Pillow's"):
        pose(path, "resize:factor=2,kernel=nearest", "0.01", measured=True)
    problem = pose(path, "resize:factor=2,kernel=nearest,offset=0", "0.01", measured=True, size="3x32x32")
    full = torch.from_numpy(x).permute(2, 0, 1)[None]
    torch.testing.assert_close(problem.operator(full), problem.y, atol=1e-6, rtol=0)
    assert "offset=0" in problem.facts["operator"] and "moves the picture" in problem.facts["operator"]
    moved = pose(path, "resize:factor=2,kernel=nearest,offset=1", "0.01", measured=True, size="3x32x32")
    assert float((moved.operator(full) - problem.y).abs().max()) > 0.1
    assert untested(Resize(2)) and "GBRG" not in untested(Bayer("RGGB")) and "BGGR" in untested(Bayer("RGGB"))
