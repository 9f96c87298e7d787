"""Pictures of different sizes on disk, and random crops of them."""

import h5py
import pytest
import torch

from priors.pictures import MEASURED, NUMBERS, Crops, Pictures, holds, read, shrunk, write
from tests.priors.cases import stripes


def pictures(*sizes: tuple[int, int]) -> Pictures:
    """Every pixel tells picture, row and column."""
    made = []
    for i, (h, w) in enumerate(sizes or ((12, 20), (16, 9), (30, 30))):
        rows, columns = torch.arange(h)[:, None].expand(h, w), torch.arange(w)[None].expand(h, w)
        made.append(torch.stack([torch.full((h, w), i), rows, columns]).byte())
    return Pictures(tuple(made), source="made by tests")


def places(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, NUMBERS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("split", [None, "train"])
def test_round_trip(tmp_path, split):
    data = pictures()
    assert not holds(tmp_path / "set.h5", split)
    write(tmp_path / "set.h5", data, split)
    again = read(tmp_path / "set.h5", split)
    assert holds(tmp_path / "set.h5", split) and not holds(tmp_path / "set.h5", "test")
    assert again.names == data.names and again.source == data.source
    assert all(torch.equal(a, b) for a, b in zip(again.pictures, data.pictures, strict=True))
    with h5py.File(tmp_path / "set.h5") as file:
        assert "uint8" in str(file.attrs["units"])


def deep(*sizes: tuple[int, int]) -> Pictures:
    """Of 16 bits, each pixel of them another one."""
    generator = torch.Generator().manual_seed(3)
    made = [torch.randint(0, 65536, (1, *size), generator=generator) for size in sizes or ((12, 20), (30, 30))]
    return Pictures(tuple(picture.to(torch.uint16) for picture in made), source="made by tests")


def test_pictures_of_16_bits(tmp_path):
    data = deep()
    write(tmp_path / "set.h5", data)
    again = read(tmp_path / "set.h5")
    assert again.dtype == torch.uint16
    assert all(torch.equal(a, b) for a, b in zip(again.pictures, data.pictures, strict=True))
    with h5py.File(tmp_path / "set.h5") as file:
        assert file.attrs["units"] == "uint16, 65535 is 1 in image units"
    crops = Crops(data, 12)
    whole = crops.drawn(torch.zeros(60, dtype=torch.long), places(60))
    assert set((65535 * whole).double().round().long().unique().tolist()) <= set(
        data.pictures[0].long().unique().tolist()
    )
    measured = crops.measured()
    assert measured.images.dtype == torch.uint16 and len(measured.images.long().unique()) > 256
    same = crops.drawn(torch.arange(2).repeat(MEASURED), places(2 * MEASURED, 0))
    assert torch.equal(measured.floats(), same)


def test_scaling_in_16_bits_is_that_of_numbers():
    picture = deep((40, 40)).pictures[0]
    small = shrunk(picture, 0.5)
    assert small.dtype == torch.uint16 and small.shape == (1, 20, 20)
    coarse = shrunk((picture.float() / 257).round().byte(), 0.5)
    assert (small.float() / 257 - coarse.float()).abs().max() <= 1.5  # both rounded, before and after


def test_a_part_is_added_beside_others(tmp_path):
    with pytest.raises(FileNotFoundError, match="write the first part"):
        write(tmp_path / "set.h5", pictures(), "test", add=True)
    write(tmp_path / "set.h5", pictures(), "train")
    write(tmp_path / "set.h5", pictures((9, 9)), "test", add=True)
    assert len(read(tmp_path / "set.h5", "train")) == 3 and len(read(tmp_path / "set.h5", "test")) == 1
    with pytest.raises(ValueError, match="has 'test_pictures' already"):
        write(tmp_path / "set.h5", pictures(), "test", add=True)
    write(tmp_path / "set.h5", pictures())
    assert not holds(tmp_path / "set.h5", "train")


def test_what_is_no_file_of_pictures(tmp_path):
    from priors.data import write as write_images

    with pytest.raises(FileNotFoundError, match="inverse-pack makes one"):
        read(tmp_path / "none.h5")
    write_images(tmp_path / "images.h5", stripes(4))
    with pytest.raises(ValueError, match="has no group 'train_pictures'"):
        read(tmp_path / "images.h5", "train")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="not a readable HDF5 file of pictures"):
        read(tmp_path / "text.h5")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((), "at least one picture"),
        ((torch.zeros(3, 4, 4),), "torch.float32"),
        ((torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint8)), "with one C"),
        ((torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint16)), "all uint16"),
    ],
)
def test_pictures_that_are_none(wrong, message):
    with pytest.raises(ValueError, match=message):
        Pictures(wrong)


def test_names_are_one_each():
    with pytest.raises(ValueError, match="1 names for 3 pictures"):
        Pictures(pictures().pictures, ("a",))


def test_crops_are_windows_of_their_pictures():
    """Without turns a crop's rows are consecutive rows of the picture, its columns columns, or mirrored."""
    crops = Crops(pictures(), 8, turns=False)
    x = (crops.drawn(torch.arange(3).repeat(50), places(150)) * 255).round()
    assert torch.equal(x[:, 0].amin((1, 2)), x[:, 0].amax((1, 2)))
    assert x[:, 0, 0, 0].tolist() == [0, 1, 2] * 50
    assert (x[:, 1].diff(dim=1) == 1).all() and (x[:, 1].diff(dim=2) == 0).all()
    steps = x[:, 2].diff(dim=2).flatten(1)
    assert (steps.abs() == 1).all() and 0.3 < float((steps[:, 0] == 1).float().mean()) < 0.7
    corners = x[0::3, 1, 0, 0]  # 12 rows: a crop of 8 begins in one of 5
    assert sorted(set(corners.int().tolist())) == [0, 1, 2, 3, 4]


def test_turns_are_all_eight():
    crops = Crops(pictures((8, 8)), 8)
    x = crops.drawn(torch.zeros(200, dtype=torch.long), places(200))
    assert len({tuple(image.flatten().tolist()) for image in x}) == 8


def test_a_crop_is_a_function_of_its_row_and_numbers():
    crops, rows = Crops(pictures(), 8, (1.0, 0.7)), torch.tensor([2, 0, 1, 2])
    x = crops.drawn(rows, places(4))
    assert torch.equal(crops.drawn(rows[1:3], places(4)[1:3]), x[1:3])
    assert torch.equal(Crops(pictures(), 8, (1.0, 0.7)).drawn(rows, places(4)), x)
    assert not torch.equal(x[0], x[3])


def test_scales_shrink_without_aliasing_and_never_below_a_crop():
    fine = torch.zeros(3, 40, 40, dtype=torch.uint8)
    fine[:, ::2] = 200  # stripes of one pixel, which half the size cannot show
    half = shrunk(fine, 0.5)
    assert half.shape == (3, 20, 20) and (half.float() - 100).abs().max() < 30  # every other row would give 0 or 200
    crops = Crops(pictures((12, 20)), 8, (1.0, 0.5))
    assert [p.shape for p in crops._scaled[0]] == [(3, 12, 20), (3, 8, 13)]
    assert crops.drawn(torch.zeros(40, dtype=torch.long), places(40)).shape == (40, 3, 8, 8)


def test_a_loss_is_measured_on_fixed_crops():
    crops = Crops(pictures(), 8)
    data = crops.measured()
    assert len(data) == MEASURED * 3 and data.event_shape == crops.event_shape == (3, 8, 8)
    assert torch.equal(crops.measured().images, data.images) and len(crops[:2]) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 10}, r"crops of 10 pixels: pictures \['00001'\] are smaller"),
        ({"size": 8, "scales": (1.5,)}, r"scales, a scale = 1.5: expected a number in \(0, 1\]"),
        ({"size": 8, "scales": ()}, "at least one"),
    ],
)
def test_crops_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        Crops(pictures(), **fields)
