"""What files of k-space may look like: each form is read as what it is, or refused with the remedy."""

import ast
import re
import warnings

import h5py
import numpy as np
import pytest
import torch

from inverse.app.fastmri import read_scan
from inverse.app.kspace.checks import KSpaceWarning
from operators.kspace import ifftc
from tests.inverse.app.scan_files import SIZE, made, write

M, WHOLE = made(2, 3), made(2, 3, acceleration=1.0)
Z = M.kspace.numpy()


def compound(z, names=("r", "i"), part=np.float32):
    found = np.zeros(z.shape, [(name, part) for name in names])
    found[names[0]], found[names[1]] = z.real, z.imag
    return found


def file(path, attrs=(), **arrays):
    with h5py.File(path, "w") as held:
        for name, value in arrays.items():
            held[name] = value
        held.attrs.update(dict(attrs))
    return path


def shifted(z, *axes):
    return np.fft.fftshift(z, axes)


FORMS = {
    "complex128": Z.astype(np.complex128),
    "big-endian": Z.astype(">c8"),
    "r, i": compound(Z),
    "real, imag": compound(Z, ("real", "imag"), np.float64),
    "Real, Imag": compound(Z, ("Real", "Imag")),
    "last axis": np.stack([Z.real, Z.imag], -1),
    "half": compound(Z * 1e4, part=np.float16),
    "integers": compound(np.round(Z * 1e9), part=np.int32),
    "integers, last axis": np.round(np.stack([Z.real, Z.imag], -1) * 1e9).astype(np.int32),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("coils", [None, 3])
def test_complex_numbers_of_any_form(tmp_path, form, coils):
    value = FORMS[form] if coils else FORMS[form][:, 0]
    scan = read_scan(file(tmp_path / "a.h5", kspace=value))
    expected, scale = M.kspace if coils else M.kspace[:, 0], {"half": 1e4}.get(form, 1e9 if "int" in form else 1)
    assert scan.kspace.dtype == torch.complex64 and scan.coils == coils
    atol = float(expected.abs().max()) * (2e-3 if form == "half" else 1e-6)
    torch.testing.assert_close(scan.kspace / scale, expected, rtol=0, atol=atol)


def test_sensitivities_of_any_form(tmp_path):
    assert M.maps is not None
    maps = M.maps.numpy()
    for value in (compound(maps), np.stack([maps.real, maps.imag], -1), compound(np.stack([maps, maps]))):
        scan = read_scan(file(tmp_path / "a.h5", kspace=Z, sensitivity=value), [1])
        torch.testing.assert_close(scan.sensitivities, M.maps[None])


@pytest.mark.parametrize("given", ["nothing", "mask", "mask and padding", "padding"])
def test_padded_columns_were_not_measured(tmp_path, given):
    """The measured zeros of a mask of ones would draw the picture's high frequencies to 0."""
    z = WHOLE.kspace.clone()
    z[..., :4], z[..., 33:] = 0, 0
    attrs = {"padding_left": 4, "padding_right": np.int64(33)} if "padding" in given else {}
    arrays = {"mask": np.ones(SIZE[1])} if "mask" in given else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = read_scan(file(tmp_path / "a.h5", attrs, kspace=z.numpy(), **arrays))
    assert [w.category for w in caught] == ([KSpaceWarning] if given == "mask" else [])
    inside = torch.zeros(SIZE[1], dtype=torch.bool)
    inside[4:33] = True
    assert torch.equal(scan.mask, inside.expand(2, *SIZE))
    assert torch.equal(scan.problem(0).operator.mask.bool().expand(1, 1, *SIZE)[0, 0], inside.expand(SIZE))


def test_padding_that_is_filled_with_noise_is_told_by_the_attributes_alone(tmp_path):
    scan = read_scan(file(tmp_path / "a.h5", {"padding_left": 3}, kspace=WHOLE.kspace.numpy()))
    assert torch.equal(scan.mask, (torch.arange(SIZE[1]) >= 3).expand(2, *SIZE))


@pytest.mark.parametrize("coils", [None, 3])
@pytest.mark.parametrize("given", ["nothing", "mask", "right mask"])
@pytest.mark.parametrize("how", ["round trip", "1e-12"])
def test_zeros_that_are_rounded_were_not_measured(tmp_path, coils, given, how):
    """Noisy k-space after an inverse FFT and an FFT in single precision, and with padding of 1e-12 of the largest."""
    z = made(2, coils, 0.02, 1.0).kspace.numpy().astype(np.complex64)
    z[..., :4], z[..., 33:], z[..., 5:12:3] = 0, 0, 0
    measured = (z != 0).reshape(-1, SIZE[1]).any(0)
    if how == "round trip":
        z = np.fft.fft2(np.fft.ifft2(z).astype(np.complex64)).astype(np.complex64)
    else:
        z = z + 1e-12 * np.abs(z).max() * np.random.default_rng(0).normal(size=z.shape)
    assert (z[..., ~measured] != 0).any(), "the zeros are rounding now"
    arrays = {"mask": {"mask": np.ones(SIZE[1]), "right mask": measured * 1.0}[given]} if given != "nothing" else {}
    path = file(tmp_path / "a.h5", kspace=z, **arrays)
    if given == "right mask":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scan = read_scan(path)
    else:
        with pytest.warns(KSpaceWarning, match="treated as not measured"):
            scan = read_scan(path)
    assert torch.equal(scan.mask, torch.from_numpy(measured).expand(2, *SIZE))
    assert scan.problem(0).sigma == pytest.approx(made(2, coils, 0.02, 1.0).sigma, rel=0.5)


@pytest.mark.parametrize("sigma", [1e-2, 1e-4])
def test_quiet_columns_were_measured(tmp_path, sigma):
    """Of a smooth picture, whose outer columns are noise alone: 1e-4 of a pixel, 2e-10 of the largest energy."""
    shape = (64, 96)
    y, x = (np.linspace(-1, 1, n) for n in shape)
    picture = np.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.25**2))
    g = np.random.default_rng(0)
    z = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(picture), norm="ortho"))
    z = z + sigma * (g.normal(size=shape) + 1j * g.normal(size=shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_scan(file(tmp_path / "a.h5", kspace=z[None].astype(np.complex64))).mask.all()


@pytest.mark.parametrize("given", ["mask of ones", "no mask", "right mask", "right mask, zeros"])
def test_columns_of_noise_among_columns_of_signal_are_reported(tmp_path, given):
    """An undersampled scan whose other columns were recorded without signal; the same without them is silent."""
    scan = made(2, 3, 0.002, 1.0)
    z, columns = scan.kspace.numpy().astype(np.complex64), np.arange(SIZE[1])
    seen = (columns % 3 == 0) | (abs(columns - SIZE[1] // 2) < 4)
    g = np.random.default_rng(0)
    noise = scan.sigma * (g.normal(size=z.shape) + 1j * g.normal(size=z.shape)).astype(np.complex64)
    z = np.where(seen, z, 0 if given == "right mask, zeros" else noise)
    arrays = {"mask of ones": {"mask": np.ones(SIZE[1])}, "no mask": {}}.get(given, {"mask": seen * 1.0})
    path = file(tmp_path / "a.h5", kspace=z, **arrays)
    if "right" in given:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_scan(path)
    else:
        with pytest.warns(KSpaceWarning, match="no more power than the noise"):
            read_scan(path)


@pytest.mark.parametrize("attrs", [(5, 5), (20, 37), (-1, 37), (0, 38), (2.5, 37), ("a", 37), ([1, 2], 37)])
def test_padding_that_leaves_out_the_middle_is_refused(tmp_path, attrs):
    path = file(tmp_path / "a.h5", dict(zip(("padding_left", "padding_right"), attrs, strict=True)), kspace=Z)
    with pytest.raises(ValueError, match=r"padding_left = .*first measured column.*18 of 37; correct or delete"):
        read_scan(path)


def test_zero_rows_and_scattered_zeros_were_not_measured(tmp_path):
    z = WHOLE.kspace.clone()
    z[..., :6, :] = 0
    with pytest.warns(KSpaceWarning, match="whole columns or rows: treated as not measured"):
        mask = read_scan(file(tmp_path / "a.h5", kspace=z.numpy(), mask=np.ones(SIZE))).mask
    assert torch.equal(mask, (torch.arange(SIZE[0]) >= 6)[:, None].expand(2, *SIZE))
    seen = torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.8
    with pytest.warns(KSpaceWarning, match="scattered"):
        mask = read_scan(file(tmp_path / "b.h5", kspace=(WHOLE.kspace * seen).numpy(), mask=np.ones(SIZE))).mask
    assert torch.equal(mask, seen.expand(2, *SIZE))
    one = WHOLE.kspace.clone()
    one[:, :, 3, 3] = 0  # a zero by chance, as integers have them
    assert bool(read_scan(file(tmp_path / "c.h5", kspace=one.numpy(), mask=np.ones(SIZE))).mask.all())


@pytest.mark.parametrize("axes", [(-2, -1), (-1,), (-2,)])
@pytest.mark.parametrize("coils", [None, 3])
def test_k_space_that_is_not_shifted_is_refused_and_the_remedy_helps(tmp_path, axes, coils):
    z = Z if coils else Z[:, 0]
    mask = np.broadcast_to(M.mask.numpy(), SIZE)
    corner = np.fft.ifftshift(z, axes)
    with pytest.raises(ValueError, match=rf"ends of axes.*fftshift\(kspace, axes=\({axes[0]},.*mask likewise"):
        read_scan(file(tmp_path / "a.h5", kspace=corner, mask=np.fft.ifftshift(mask, axes)))
    path = file(tmp_path / "b.h5", kspace=shifted(corner, *axes), mask=shifted(np.fft.ifftshift(mask, axes), *axes))
    assert torch.equal(read_scan(path).kspace, torch.from_numpy(z))


def test_k_space_that_is_elsewhere_warns(tmp_path):
    cases = {
        "an image": ifftc(WHOLE.kspace).numpy(),
        "half transformed": ifftc(WHOLE.kspace, (-2,)).numpy(),
        "rows of slices": np.moveaxis(np.stack([WHOLE.kspace[0].numpy()] * 12), 0, -1)[0],
    }
    for name, z in cases.items():
        with pytest.warns(KSpaceWarning, match="most of it there, with k = 0 at"):
            read_scan(file(tmp_path / f"{name}.h5", kspace=z))


@pytest.mark.parametrize("coils", [None, 1, 4])
@pytest.mark.parametrize("sigma", [0.005, 0.05])
def test_a_right_scan_is_read_without_a_word(tmp_path, coils, sigma):
    m = made(2, coils, sigma)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in ({}, {"mask": m.mask}, {"mask": m.mask[0].byte()}):
            assert read_scan(write(tmp_path / "a.h5", m.kspace, **more)).coils == coils


THIRD = np.arange(37) % 3 == 0
FULL = (np.random.default_rng(0).standard_normal((*Z.shape, 2)) @ (1, 1j)).astype(np.complex64)
REFUSED = {
    "one plane": ({"kspace": Z[0, 0]}, r"write kspace\[None\]"),
    "no axis": ({"kspace": np.complex64(1)}, r"expected a dataset 'kspace'"),
    "coils last": ({"kspace": np.moveaxis(np.repeat(Z, 6, 0), 1, -1)}, r"np.moveaxis\(kspace, 3, 1\)"),
    "slices last": ({"kspace": np.moveaxis(Z[:, 0], 0, -1)}, r"np.moveaxis\(kspace, 2, 0\)"),
    "magnitudes": ({"kspace": abs(Z)}, "magnitude images are not k-space"),
    "channels": ({"kspace": np.stack([Z[:, 0].real, Z[:, 0].imag], 1)}, "last axis of 2"),
    "texts": ({"kspace": np.array([b"a"])}, "complex"),
    "other parts": ({"kspace": compound(Z, ("a", "b"))}, "fields r and i"),
    "too large": ({"kspace": Z.astype(np.complex128) * 1e45}, "beyond 3e38"),
    "mask inverted": ({"kspace": Z, "mask": 1 - M.mask[0].float().numpy()}, r"is the mask inverted\? Write 1 - mask"),
    "mask shifted": ({"kspace": Z, "mask": np.roll(M.mask[0].numpy(), 18)}, r"np.fft.fftshift\(mask, axes=-1\)"),
    "mask one column off": ({"kspace": FULL * THIRD, "mask": np.roll(THIRD, 1)}, r"np.roll\(mask, -1, axis=-1\)"),
    "mask of rows": (
        {"kspace": (FULL * THIRD)[..., :30, :30].swapaxes(-1, -2), "mask": THIRD[:30]},
        r"does it select rows\? Write mask\[:, None\]",
    ),
    "mask of texts": ({"kspace": Z, "mask": np.array([b"1"] * 37)}, "0 and 1"),
    "mask of nan": ({"kspace": Z, "mask": np.full(37, np.nan)}, "0 and 1"),
    "mask of another length": ({"kspace": Z, "mask": np.ones(40)}, r"'mask' is \(40,\); expected one of the shapes"),
    "coils taken for slices": ({"kspace": Z[0], "sensitivity": np.ones((3, *SIZE), np.complex64)}, r"kspace\[None\]"),
    "maps of nan": ({"kspace": Z, "sensitivity": np.full((3, *SIZE), np.nan + 0j)}, "'sensitivity' has nan"),
    "maps of two axes": ({"kspace": Z, "sensitivity": np.ones(SIZE, np.complex64)}, "complex values"),
    "a group": ({"kspace/data": Z}, "'kspace' is a group"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_remedy(tmp_path, case):
    arrays, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        read_scan(file(tmp_path / "a.h5", **arrays))
    assert str(tmp_path / "a.h5") in str(caught.value)


def test_numbers_of_a_unit_as_small_as_tesla_are_no_zeros(tmp_path):
    a, b = (read_scan(write(tmp_path / "a.h5", k)).problem(0) for k in (M.kspace, M.kspace * 1e-20))
    torch.testing.assert_close(a.y, b.y)
    assert b.scale == pytest.approx(1e-20 * a.scale) and b.sigma == pytest.approx(1e-20 * a.sigma)


def test_a_single_coil_with_an_axis_is_one_coil(tmp_path):
    one, flat = made(1, 1), made(1, 1).kspace[:, 0]
    with_axis, without = (read_scan(write(tmp_path / "a.h5", k)).problem(0) for k in (one.kspace, flat))
    picture = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    a, b = with_axis.operator(picture), without.operator(picture)
    assert a.shape == (1, 1, 2, *SIZE)
    inside = with_axis.y.square().mean().sqrt()
    assert (a[:, 0] - b).square().mean().sqrt() < 0.2 * inside  # the estimated coil is a phase, to the noise


def test_a_picture_that_is_split_at_the_border_is_warned_of(tmp_path):
    """What fftshift(fft2(x)) makes, without ifftshift of x: every other sample has the other sign."""
    h, w = SIZE
    sign = (-1.0) ** (np.arange(h)[:, None] + np.arange(w))
    with pytest.warns(KSpaceWarning, match=r"split at the border along axes \[-2, -1\].*ifftshift"):
        read_scan(file(tmp_path / "a.h5", kspace=WHOLE.kspace.numpy() * sign.astype(np.complex64)))


def test_k_space_that_is_moved_keeps_its_largest_sample(tmp_path):
    """It is no spike, and the remedy moves k = 0 to the middle."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_scan(file(tmp_path / "a.h5", kspace=np.roll(Z, (10, -5), (-2, -1))))
    texts = [str(w.message) for w in caught]
    power = found.kspace[0].abs().square().reshape(-1, *SIZE).sum(0)
    assert found.mask[0].flatten()[power.argmax()] and not any("spike" in text for text in texts)
    assert any("np.roll(kspace, (-10, 5), (-2, -1))" in text for text in texts), texts


def test_an_echo_that_is_off_by_a_few_columns_is_warned_of(tmp_path):
    away = np.roll(WHOLE.kspace.numpy(), 3, -1)
    with pytest.warns(KSpaceWarning, match=r"highest \+3 from the middle along axis -1") as caught:
        read_scan(file(tmp_path / "a.h5", kspace=away))
    remedy = re.search(r"np.roll\(kspace, (\(.*?\)), (\(.*?\))\)", str(caught[0].message))
    assert remedy is not None and [ast.literal_eval(part) for part in remedy.groups()] == [(-3,), (-1,)]


@pytest.mark.parametrize(
    "factor, warned", [(1.0, False), (1.04, False), (0.9, True), (1.2, True), (0.01, True), (5.0, True), (0.0, True)]
)
def test_sensitivities_of_another_scale_are_warned_of(tmp_path, factor, warned):
    m = made(2, 3, 0.02)
    assert m.maps is not None
    path = write(tmp_path / "scan.h5", m.kspace, sens_maps=factor * m.maps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_scan(path)
    texts = [str(w.message) for w in caught if issubclass(w.category, KSpaceWarning)]
    assert len(texts) == warned
    assert all(f"sum of |sens_maps|^2 over the coils is {factor**2:.3g}" in text for text in texts)


def test_sensitivities_whose_squares_vary_from_place_to_place_are_warned_of(tmp_path):
    """Raw maps, divided by their maximum alone: the picture would be shaded."""
    m = made(2, 3, 0.02)
    assert m.maps is not None
    shade = torch.linspace(0.8, 1.2, SIZE[1])
    with pytest.warns(KSpaceWarning, match="shaded"):
        read_scan(write(tmp_path / "scan.h5", m.kspace, sens_maps=shade * m.maps))


def test_magnitudes_of_kspace_are_warned_of(tmp_path):
    with pytest.warns(KSpaceWarning, match="imaginary part 0"):
        read_scan(file(tmp_path / "a.h5", kspace=np.abs(WHOLE.kspace.numpy()).astype(np.complex64)))
