"""Files of scanners, microscopes and telescopes, made by their own libraries: in by the command line, and out."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from inverse.app import series
from inverse.app.cli import app
from inverse.app.files import dicom, fits, nifti, tiff
from priors import Units

nibabel = pytest.importorskip("nibabel", reason="nibabel (extra files)")
pydicom = pytest.importorskip("pydicom", reason="pydicom (extra files)")
astropy_fits = pytest.importorskip("astropy.io.fits", reason="astropy (extra files)")
tifffile = pytest.importorskip("tifffile")

S, H, W = 2, 16, 20
CHEAP = ["--operator", "identity", "--sigma", "0.05", "--method", "diffpir", "--steps", "2", "--samples", "2"]


def volume(low=-1000.0, high=1000.0) -> np.ndarray:
    """Slices (S, H, W), symmetric in nothing, from low to high."""
    s, y, x = np.mgrid[:S, :H, :W]
    values = np.exp(-((y - 6 - s) ** 2 + (x - 12) ** 2) / 20) + 0.02 * x
    return low + (high - low) * (values - values.min()) / np.ptp(values)


def solved(path, out, *options):
    return CliRunner().invoke(app, ["solve", str(path), "--out", str(out), *CHEAP, *options], env={"COLUMNS": "300"})


def run(path, out, *options):
    result = solved(path, out, *options)
    assert result.exit_code == 0, result.output
    return result.output


def near(found, expected, span=2000.0) -> None:
    """Two steps of a cheap method at sigma .05: the picture within a few sigma, in the file's units."""
    assert found.shape == expected.shape
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * span


# -- NIfTI


def a_nifti(path, kind=nibabel.Nifti1Image):
    affine = np.array([[0.0, -1.5, 0, 10], [0.9, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    image = kind(volume().transpose(2, 1, 0).astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"made by a scanner"
    image.header["cal_min"], image.header["cal_max"] = -1000, 1000
    image.set_qform(affine, 1)
    image.set_sform(affine, 4)
    nibabel.save(image, path)
    return image


@pytest.mark.parametrize(("ending", "kind"), [(".nii.gz", nibabel.Nifti1Image), (".nii", nibabel.Nifti2Image)])
def test_nifti(tmp_path, ending, kind):
    given = a_nifti(tmp_path / f"scan{ending}", kind)
    text = run(tmp_path / f"scan{ending}", tmp_path / "out", "--range", "-1000", "1000")
    assert "2 slices" in text and "black is -1000, white 1000 (--range" in text
    for name in ("mean", "std", "sample-1", "sample-2"):
        found = nibabel.load(tmp_path / "out" / f"{name}{ending}")
        assert type(found) is kind and found.shape == given.shape == (W, H, S)
        np.testing.assert_allclose(found.affine, given.affine, atol=1e-5)
        np.testing.assert_allclose(found.header.get_zooms(), given.header.get_zooms(), rtol=1e-6)
        assert found.header.get_xyzt_units() == ("mm", "sec") and found.header["descrip"] == given.header["descrip"]
        assert (int(found.header["qform_code"]), int(found.header["sform_code"])) == (1, 4)
    near(nibabel.load(tmp_path / "out" / f"mean{ending}").get_fdata(), given.get_fdata())
    spread = nibabel.load(tmp_path / "out" / f"std{ending}").get_fdata()
    drawn = [nibabel.load(tmp_path / "out" / f"sample-{k}{ending}").get_fdata() for k in (1, 2)]
    np.testing.assert_allclose(spread, np.std(drawn, axis=0, ddof=1), rtol=1e-3, atol=1e-2)
    assert not np.allclose(drawn[0][..., 0] - given.get_fdata()[..., 0], drawn[0][..., 1] - given.get_fdata()[..., 1])
    again = run(tmp_path / f"scan{ending}", tmp_path / "out", "--range", "-1000", "1000")
    assert again.count("nothing to do") == S


def test_the_window_of_a_file_and_percentiles(tmp_path):
    a_nifti(tmp_path / "scan.nii")
    found = nifti.read(tmp_path / "scan.nii")
    assert series.scale(found, None, "file")[:2] == (-1000, 1000)
    assert series.scale(found, None, "percentiles")[:2] == tuple(np.percentile(found.slices, (0.5, 99.5)))
    assert series.scale(found, None, "prior", Units("HU", -1024.0, 3071.0))[:2] == (-1024, 3071)
    with pytest.raises(ValueError, match="is in adu, the prior in HU"):
        series.scale(replace(found, units="adu"), None, "prior", Units("HU", -1024.0, 3071.0))
    with pytest.raises(ValueError, match="give a --prior that has units"):
        series.scale(found, None, "prior")
    with pytest.raises(ValueError, match="--range and --window were both given"):
        series.scale(found, (0, 1), "file")
    for given in ((5.0, 5.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="expected LOW < HIGH"):
            series.scale(found, given, None)


def test_finer_pixels_show_the_same_field_of_view(tmp_path):
    """The corner of the picture stays where it was, in the coordinates of the scanner."""
    a_nifti(tmp_path / "scan.nii")
    found = nifti.read(tmp_path / "scan.nii")
    path = found.write(tmp_path, "mean", np.zeros((S, 2 * H, 4 * W)), False)
    before, after = nibabel.load(tmp_path / "scan.nii"), nibabel.load(path)
    assert after.shape == (4 * W, 2 * H, S)
    corner = np.array([-0.5, -0.5, 0, 1])
    far = np.array([W - 0.5, H - 0.5, 1, 1])
    np.testing.assert_allclose(after.affine @ corner, before.affine @ corner, atol=1e-4)
    np.testing.assert_allclose(after.affine @ (far * [4, 2, 1, 1] + [1.5, 0.5, 0, 0]), before.affine @ far, atol=1e-4)


# -- FITS


def a_fits(path):
    header = astropy_fits.Header()
    header["CTYPE1"], header["CTYPE2"], header["BUNIT"] = "RA---TAN", "DEC--TAN", "adu"
    header["CRPIX1"], header["CRPIX2"], header["CRVAL1"], header["CRVAL2"] = 10.5, 8.5, 83.6, 22.0
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -1e-4, 2e-6, 2e-6, 1e-4
    header["OBJECT"], header["EXPTIME"] = "M1", 300.0
    data = volume(100, 4000)[0].astype(np.uint16)
    table = astropy_fits.BinTableHDU.from_columns([astropy_fits.Column("a", "E", array=np.arange(3.0))])
    image = astropy_fits.ImageHDU(data, header, name="SCI")
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), image, table]).writeto(path)
    return header, data


def test_fits(tmp_path):
    header, data = a_fits(tmp_path / "sky.fits")
    text = run(tmp_path / "sky.fits", tmp_path / "out", "--window", "percentiles")
    assert "percentiles 0.5 and 99.5 of all values" in text and "adu" in text
    with astropy_fits.open(tmp_path / "out" / "mean.fits") as found:
        assert [type(h).__name__ for h in found] == ["PrimaryHDU", "ImageHDU", "BinTableHDU"]
        assert {key: found["SCI"].header[key] for key in header} == dict(header)
        assert "BZERO" not in found["SCI"].header and found["SCI"].data.dtype.kind == "f"
        near(found["SCI"].data, data, 3900)
    with astropy_fits.open(tmp_path / "out" / "std.fits") as found:
        assert 0 < np.median(found["SCI"].data) < 400


def test_world_coordinates_of_finer_pixels(tmp_path):
    wcs = pytest.importorskip("astropy.wcs")
    a_fits(tmp_path / "sky.fits")
    path = fits.read(tmp_path / "sky.fits").write(tmp_path, "mean", np.zeros((1, 2 * H, 2 * W)), False)
    before, after = (
        wcs.WCS(astropy_fits.getheader(p, "SCI")).pixel_to_world_values for p in (tmp_path / "sky.fits", path)
    )
    np.testing.assert_allclose(after(2 * 3 + 0.5, 2 * 5 + 0.5), before(3, 5), atol=1e-9)


# -- DICOM


def a_dicom(path, index, values, **changed):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{index + 1}"
    found = pydicom.Dataset()
    found.file_meta = meta
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.PatientName, found.Modality, found.SeriesInstanceUID = "Doe^Jane", "CT", "1.2.3"
    found.InstanceNumber, found.ImageType = index + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.ImagePositionPatient, found.ImageOrientationPatient = [-50, -60, 5.0 * index], [1, 0, 0, 0, 1, 0]
    found.PixelSpacing, found.SliceThickness = [0.7, 0.8], 5.0
    found.Rows, found.Columns = values.shape
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation, found.SamplesPerPixel, found.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = 1, -1024, "HU"
    found.WindowCenter, found.WindowWidth = [40, 0], [400, 1000]
    found.PixelData = np.rint(values + 1024).astype("<u2").tobytes()
    for key, value in changed.items():
        setattr(found, key, value)
    pydicom.dcmwrite(path, found, enforce_file_format=True)


@pytest.fixture
def dicoms(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for name, index in (("b.dcm", 0), ("a.dcm", 1)):  # in order of position, not of names
        a_dicom(folder / name, index, volume()[index])
    (folder / "notes.txt").write_text("no slice")
    return folder


def test_a_dicom_series(dicoms, tmp_path):
    text = run(dicoms, tmp_path / "out", "--range", "-1000", "1000")
    assert "2 slices" in text and text.index("b.dcm:") < text.index("a.dcm:")
    for name in ("mean", "sample-2", "std"):
        found = [pydicom.dcmread(tmp_path / "out" / name / f"{n}.dcm") for n in "ba"]
        for index, one in enumerate(found):
            assert one.PatientName == "Doe^Jane" and one.PixelSpacing == [0.7, 0.8] and one.SliceThickness == 5
            assert one.ImagePositionPatient == [-50, -60, 5 * index] and one.Rows == H and one.Columns == W
            assert one.ImageType == ["DERIVED", "SECONDARY", "AXIAL"] and name in one.SeriesDescription
            assert one.SOPInstanceUID != f"1.2.3.{index + 1}" == f"1.2.3.{one.InstanceNumber}"
            assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert found[0].SeriesInstanceUID == found[1].SeriesInstanceUID != "1.2.3"
        rescaled = (found[0].RescaleSlope, found[0].RescaleIntercept)
        assert rescaled == (1, -1024) if name != "std" else rescaled[1] == 0
    mean = dicom.read(tmp_path / "out" / "mean")
    near(mean.slices, volume())
    spread = dicom.read(tmp_path / "out" / "std").slices
    drawn = [dicom.read(tmp_path / "out" / f"sample-{k}").slices for k in (1, 2)]
    inside = np.min(drawn, axis=0) > -1024  # samples are clipped to the integers, and rounded to 1 HU
    np.testing.assert_allclose(spread[inside], np.std(drawn, axis=0, ddof=1)[inside], atol=1.0)
    assert 0 < np.median(spread) < 200


def test_a_dicom_file_and_its_window(tmp_path):
    a_dicom(tmp_path / "one.dcm", 0, volume(-160, 240)[0])
    run(tmp_path / "one.dcm", tmp_path / "out", "--window", "file")
    near(dicom.read(tmp_path / "out" / "mean.dcm").slices, volume(-160, 240)[:1], 400)


def test_spacing_of_finer_dicom_pixels(dicoms, tmp_path):
    path = dicom.read(dicoms).write(tmp_path, "mean", np.zeros((S, 2 * H, 4 * W)), False)
    found = pydicom.dcmread(path / "b.dcm")
    assert found.PixelSpacing == [0.35, 0.2] and (found.Rows, found.Columns) == (2 * H, 4 * W)
    np.testing.assert_allclose(found.ImagePositionPatient, [-50 - 0.3, -60 - 0.175, 0])


# -- TIFF


def test_ome_tiff(tmp_path):
    facts = {"axes": "ZYX", "PhysicalSizeX": 0.11, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.12,
             "PhysicalSizeYUnit": "µm", "PhysicalSizeZ": 0.5, "PhysicalSizeZUnit": "µm", "Name": "cells"}  # fmt: skip
    values = volume(0, 60000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cells.ome.tif", values, metadata=facts, ome=True)
    text = run(tmp_path / "cells.ome.tif", tmp_path / "out")
    assert "white 65535 (the limits of its integers" in text
    with tifffile.TiffFile(tmp_path / "out" / "mean.ome.tif") as found:
        assert found.is_ome and found.series[0].axes == "ZYX"
        image = tifffile.xml2dict(found.ome_metadata)["OME"]["Image"]
        known = {key: image["Pixels"][key] for key in facts if key.startswith("Physical")}
        assert known == {key: facts[key] for key in known} and len(known) == 6 and image["Name"] == "cells"
        near(found.asarray(), values, 65535)
    path = tiff.read(tmp_path / "cells.ome.tif").write(tmp_path, "fine", np.zeros((S, 2 * H, W)), False)
    with tifffile.TiffFile(path) as found:
        pixels = tifffile.xml2dict(found.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (0.11, 0.06)


def test_an_imagej_stack(tmp_path):
    values = volume(0, 250).astype(np.uint8)
    facts = {"axes": "ZYX", "spacing": 0.4, "unit": "um"}
    tifffile.imwrite(tmp_path / "stack.tif", values, imagej=True, resolution=(10, 5), metadata=facts)
    run(tmp_path / "stack.tif", tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out" / "std.tif") as found:
        assert found.is_imagej and found.imagej_metadata["spacing"] == 0.4 and found.imagej_metadata["unit"] == "um"
        assert found.series[0].axes == "ZYX" and found.series[0].shape == (S, H, W)
        assert found.pages[0].tags["XResolution"].value == (10, 1) and found.pages[0].tags["YResolution"].value == (
            5,
            1,
        )


def test_a_plain_tiff_with_values_of_its_own(tmp_path):
    values = volume(-3, 5)[0].astype(np.float32)
    tifffile.imwrite(
        tmp_path / "map.tif", values, resolution=(300, 300), resolutionunit="INCH", description="height", metadata=None
    )
    assert "from -3 to 5" in solved(tmp_path / "map.tif", tmp_path / "no").output  # the reader of pictures
    run(tmp_path / "map.tif", tmp_path / "out", "--range", "-3", "5")
    with tifffile.TiffFile(tmp_path / "out" / "mean.tif") as found:
        page = found.pages[0]
        assert page.description == "height" and page.tags["XResolution"].value == (300, 1)
        assert int(page.tags["ResolutionUnit"].value) == 2
        near(page.asarray(), values, 8)


# -- measured slices, and what is refused


def test_measured_slices(tmp_path):
    """The file is y itself: a stack that was blurred, of noise that is estimated."""
    a_nifti(tmp_path / "y.nii")
    operator = ["--operator", "blur:sigma=0.6,boundary=reflect", "--measured", "--window", "file"]
    run(tmp_path / "y.nii", tmp_path / "out", *operator)
    assert nibabel.load(tmp_path / "out" / "mean.nii").shape == (W, H, S)
    operator[1] = "blur:sigma=0.6"
    assert "boundary=reflect" in solved(tmp_path / "y.nii", tmp_path / "valid", *operator).output
    operator[1] = "downsampling:factor=2"
    run(tmp_path / "y.nii", tmp_path / "fine", *operator)
    fine = nibabel.load(tmp_path / "fine" / "mean.nii")
    assert fine.shape == (2 * W, 2 * H, S)
    np.testing.assert_allclose(fine.header.get_zooms(), [0.45, 0.75, 3.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "make", "fragment"),
    [
        ("a.nii", lambda p: a_nifti(p), "from -1000 to 1000, and which of them are black and white is not known"),
        ("a.nii", lambda p: a_nifti(p), "--window file (-1000 to 1000), --window prior for a prior with units"),
        ("a.nii", lambda p: p.write_bytes(b"not a volume"), "is not a readable NIfTI file"),
        ("a.nii.gz", lambda p: p.write_bytes(gzip.compress(b"0" * 400)), "is not a readable NIfTI file"),
        ("a.fits", lambda p: p.write_bytes(b"SIMPLE  =" + 100 * b" "), "is not a readable FITS file"),
        ("a.fits", lambda p: astropy_fits.PrimaryHDU().writeto(p), "has no image"),
        ("a.fits", lambda p: astropy_fits.PrimaryHDU(np.full((4, 4), np.nan)).writeto(p), "not finite: replace them"),
        ("a.dcm", lambda p: p.write_bytes(b"\0" * 200), "is not a readable DICOM file"),
        ("a.dcm", lambda p: a_dicom(p, 0, volume()[0], PixelData=b"\0\0"), "is not a readable DICOM file"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.zeros((2, 5, 6, 7), np.uint8), ome=True, metadata={"axes": "ZCYX"}),
         "save each channel"),
        ("a.nii", lambda p: None, "no image at"),
    ],
)  # fmt: skip
def test_refused(tmp_path, name, make, fragment):
    make(tmp_path / name)
    result = solved(tmp_path / name, tmp_path / "out")
    assert result.exit_code == 2 and fragment in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output and not (tmp_path / "out").exists()


def test_truncated_files(tmp_path):
    a_nifti(tmp_path / "a.nii")
    a_fits(tmp_path / "a.fits")
    a_dicom(tmp_path / "a.dcm", 0, volume()[0])
    tifffile.imwrite(tmp_path / "a.tif", volume(0, 99).astype(np.uint8), imagej=True)
    for name in ("a.nii", "a.fits", "a.dcm", "a.tif"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) - 3 * H * W // 2 if name != "a.fits" else 6000])
        result = solved(tmp_path / name, tmp_path / "out", "--range", "-1000", "1000")
        assert result.exit_code == 2 and "is not a readable" in result.output, (name, result.output)


def test_series_of_several_and_ranges_of_pictures(dicoms, tmp_path):
    a_dicom(dicoms / "c.dcm", 2, volume()[0], SeriesInstanceUID="1.9")
    assert "the files of 2 series" in solved(dicoms, tmp_path / "out", "--range", "0", "1").output
    (dicoms / "c.dcm").unlink()
    a_dicom(dicoms / "c.dcm", 2, volume()[0, :8])
    assert "remove localisers" in solved(dicoms, tmp_path / "out", "--range", "0", "1").output
    np.save(tmp_path / "y.npy", np.zeros((1, 1, 8, 8), np.float32))
    assert "omit them" in solved(tmp_path / "y.npy", tmp_path / "out", "--range", "0", "1").output


def test_a_missing_library_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for read, name in ((nifti.read, "nibabel"), (fits.read, "astropy"), (dicom.read, "pydicom")):
        with pytest.raises(ValueError, match=rf'needs {name}: pip install "score-inverse\[files\]"'):
            read(tmp_path / "a")
