"""Samples by batches and threads, on next to nothing."""

import pytest

from benchmarks.trained import batches


@pytest.mark.filterwarnings("ignore")  # about samples of few steps
def test_a_row_per_method_with_its_largest_difference(tmp_path):
    found = batches.run(["fashion-mnist"], ["diffpir", "ddrm"], tmp_path, most=3)
    rows = batches.table(found)
    assert [row["method"] for row in rows] == ["diffpir", "ddrm"]
    assert all(row["above 0.0001"] == "0 of 2" for row in rows)
    assert batches.run(["fashion-mnist"], ["diffpir", "ddrm"], tmp_path, most=3) == found  # read, not made again


def test_a_large_difference_is_counted_where_it_is():
    small, large = dict.fromkeys(batches.OTHERS, 1e-7), {**dict.fromkeys(batches.OTHERS, 1e-7), "two threads": 0.5}
    found = [("a", "mmps", "image", small), ("b", "mmps", "image", large), ("a", "mmps", "noise", small)]
    (row,) = batches.table(found)
    assert row["above 0.0001"] == "1 of 3" and row["image: on"] == "b, two threads"
    assert row["y of an image: largest difference"] == "5.0e-01"
