"""Lines of finished work: what was written is found again, and nothing else."""

import json
import warnings

import pytest

from benchmarks.common.records import DamagedRecords, Records


def test_lines_are_found_again_and_a_torn_one_is_passed_over(tmp_path):
    path = tmp_path / "a" / "records.jsonl"
    held, record = Records(path), {"x": 1 / 3, "of": {9: "a", 10: "b"}, "pair": (1, 2)}
    held.add("one", record)
    held.add("two", {"x": 2})
    path.write_bytes(path.read_bytes()[:-9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Records(path)
        assert again.found == {"one": json.loads(json.dumps(record))}
        again.add("three", {"x": 3})
        assert list(Records(path).found) == ["one", "three"]


@pytest.mark.parametrize(
    ("old", "new"), [("0.25", "0.75"), ("first", "fjrst"), ("sha256", "sha257"), ("mmps", "mm\\q")]
)
def test_a_changed_line_is_passed_over_with_a_warning(tmp_path, old, new):
    path = tmp_path / "records.jsonl"
    for key in ("first", "second"):
        Records(path).add(key, {"x": 0.25, "method": "mmps"})
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.warns(DamagedRecords, match=r"lines \[1\] are damaged"):
        assert Records(path).found == {"second": {"x": 0.25, "method": "mmps"}}


def test_lines_of_older_versions_have_no_checksum(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"key": "one", "record": {"x": 1}}) + "\n")
    assert Records(path).found == {"one": {"x": 1}}
