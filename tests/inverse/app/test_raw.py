"""Raw data as ISMRMRD, written by its own library: the same scan as fastMRI's layout, and the noise scan."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from inverse.app.cli import app
from inverse.app.fastmri import read_scan
from inverse.app.raw import is_raw, read_raw, whitening
from priors.files import FileError
from tests.inverse.app.scan_files import SIZE, made, write

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd (extra mri)")
M = made()
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{h}</x><y>{w}</y><z>{d}</z></matrixSize>
   <fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{h}</x><y>{w}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm></reconSpace>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
   </kspace_encoding_step_1></encodingLimits>
  <trajectory>{trajectory}</trajectory>
 </encoding>
</ismrmrdHeader>"""


def raw(path, kspace, mask, noise=None, trajectory="cartesian", depth=1, flags=(), reverse=False, twice=False, **idx):
    """Columns of k-space as readouts of an ISMRMRD file."""
    h, w = SIZE
    facts = {"h": h, "w": w, "d": depth, "last": w - 1, "centre": w // 2, "trajectory": trajectory}
    with ismrmrd.Dataset(str(path), "dataset", create_if_needed=True) as file:
        file.write_xml_header(HEADER.format(**facts).encode())
        if noise is not None:
            one = ismrmrd.Acquisition.from_array(noise.astype(np.complex64))
            one.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
            file.append_acquisition(one)
        for s, picture in enumerate(kspace.numpy()):
            for column in mask[0].nonzero()[:, 0].tolist() * (2 if twice else 1):
                values = picture[..., column]
                one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(values[:, ::-1] if reverse else values))
                one.center_sample = h - 1 - h // 2 if reverse else h // 2
                one.idx.slice, one.idx.kspace_encode_step_1 = s, column
                for name, value in idx.items():
                    setattr(one.idx, name, value if not callable(value) else value(column))
                for flag in (*flags, *([ismrmrd.ACQ_IS_REVERSE] if reverse else [])):
                    one.set_flag(flag)
                file.append_acquisition(one)
    return path


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"twice": True}], ids=str)
def test_it_is_the_scan_of_the_other_format(tmp_path, options):
    path = raw(tmp_path / "raw.h5", M.kspace, M.mask, **options)
    assert is_raw(path) and not is_raw(write(tmp_path / "fast.h5", M.kspace)) and not is_raw(tmp_path / "none.h5")
    found, expected = read_raw(path), read_scan(tmp_path / "fast.h5")
    torch.testing.assert_close(found.kspace, expected.kspace)
    assert torch.equal(found.mask, M.mask.expand_as(found.mask)) and (found.total, found.slices) == (2, (0, 1))
    one = read_raw(path, [1])
    assert torch.equal(one.kspace, found.kspace[1:]) and one.slices == (1,)
    a, b = found.problem(0), expected.problem(0)
    torch.testing.assert_close(a.y, b.y)
    assert a.sigma == pytest.approx(b.sigma)


def test_a_noise_scan_whitens(tmp_path):
    """Mixed coils of different noise: the noise of the file is white afterwards, and of the mean variance before."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)) + 3 * np.diag([1, 2, 3, 4])

    def noise(*shape):
        return np.einsum("cd,...dn->...cn", mix, rng.standard_normal(shape) + 1j * rng.standard_normal(shape))

    pure = torch.from_numpy(noise(2, 4, SIZE[0] * SIZE[1]).reshape(2, 4, *SIZE).astype(np.complex64))
    path = raw(tmp_path / "raw.h5", pure, torch.ones(SIZE, dtype=torch.bool), noise(4, 20000))
    with pytest.warns(UserWarning):  # noise has no picture
        found = read_raw(path).kspace.movedim(1, 0).reshape(4, -1).to(torch.complex128)
    covariance = (found @ found.mH / found.shape[1]).numpy()
    level = 2 * np.trace(mix @ mix.conj().T).real / 4
    assert np.abs(covariance / level - np.eye(4)).max() < 0.08  # 3000 samples: 1 / sqrt(3000) each, several of them
    before = pure.movedim(1, 0).reshape(4, -1)
    assert np.abs((before @ before.mH / before.shape[1]).numpy() / level - np.eye(4)).max() > 0.5


def test_whitening_of_white_noise_changes_nothing(tmp_path):
    noise = np.random.default_rng(0).standard_normal((3, 200000, 2)) @ [1, 1j]
    np.testing.assert_allclose(whitening(tmp_path, noise), np.eye(3), atol=0.01)
    with pytest.raises(FileError, match="at least 30"):
        whitening(tmp_path, noise[:, :20])
    with pytest.raises(FileError, match="remove such coils"):
        whitening(tmp_path, noise * [[1], [0], [1]])


def test_the_command_takes_it(tmp_path):
    path = raw(tmp_path / "raw.h5", M.kspace, M.mask, flags=[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING])
    options = ["--prior", "brain-mri", "--slices", "1", "--samples", "2", "--steps", "2", "--method", "diffpir"]
    for file in (path, write(tmp_path / "fast.h5", M.kspace)):
        out = tmp_path / f"{file.stem}-out"
        result = CliRunner().invoke(app, ["scan", str(file), "--out", str(out), *options], env={"COLUMNS": "300"})
        assert result.exit_code == 0, result.output
        assert "slice 1 of 2: 40 x 37, 4 coils (estimated)" in result.output


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"trajectory": "radial"}, "radial trajectory: expected a Cartesian one; build operators.NonCartesian"),
        ({"depth": 8}, "three-dimensional"),
        ({"contrast": lambda column: column % 2}, r"values \[0, 1\] of 'contrast'"),
        ({"kspace_encode_step_1": 90}, "lies outside the encoded matrix of 40 x 37"),
        ({"flags": [ismrmrd.ACQ_IS_NAVIGATION_DATA]}, "no readouts of a picture"),
        ({"noise": np.ones((4, 9))}, "9 noise samples of 4 coils: expected at least 40"),
    ],
)
def test_refused(tmp_path, options, fragment):
    with pytest.raises(FileError, match=fragment):
        read_raw(raw(tmp_path / "raw.h5", M.kspace[:1], M.mask, **options))


def test_missing_and_damaged(tmp_path, monkeypatch):
    path = raw(tmp_path / "raw.h5", M.kspace[:1], M.mask)
    with pytest.raises(ValueError, match="slices from 0 to 0"):
        read_raw(path, [1])
    with ismrmrd.Dataset(str(path), "dataset") as file:
        file.write_xml_header(b"<ismrmrdHeader>")
    with pytest.raises(FileError, match="is not a readable ISMRMRD file"):
        read_raw(path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs ismrmrd: pip install "score-inverse\[mri\]"'):
        read_raw(path)
