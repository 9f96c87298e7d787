"""Lines of finished work: what was written is found again, and nothing else."""

import json
import warnings

import numpy as np
import pytest

from benchmarks.common.keys import key
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
    for name in ("first", "second"):
        Records(path).add(name, {"x": 0.25, "method": "mmps"})
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.warns(DamagedRecords, match=r"lines \[1\] are damaged"):
        assert Records(path).found == {"second": {"x": 0.25, "method": "mmps"}}


def test_lines_of_older_versions_have_no_checksum(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"key": "one", "record": {"x": 1}}) + "\n")
    assert Records(path).found == {"one": {"x": 1}}


def test_processes_that_share_a_file_see_each_other_s_records(tmp_path):
    first, second = Records(tmp_path / "r.jsonl"), Records(tmp_path / "r.jsonl")
    first.add("one", {"x": 1})
    assert second.found == {}
    second.refresh()
    assert second.found == {"one": {"x": 1}}
    with first.path.open("ab") as file:
        file.write(b'{"key": "two", "rec')  # a third one is killed here
    second.add("three", {"x": 3})
    first.refresh()
    assert first.found == second.found == {"one": {"x": 1}, "three": {"x": 3}}


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    writer, reader = Records(tmp_path / "a.jsonl"), Records(tmp_path / "b.jsonl")
    writer.add("one", {"x": 1})
    line = writer.path.read_bytes()
    for part in (line[:20], line[20:]):
        with reader.path.open("ab") as file:
            file.write(part)
        reader.refresh()
    assert reader.found == {"one": {"x": 1}}


def test_the_last_line_of_a_key_counts_and_a_withdrawn_record_does_not(tmp_path):
    records = Records(tmp_path / "r.jsonl")
    for key_, value in (("one", 1), ("two", 2), ("one", 3)):
        records.add(key_, {"x": value})
    assert Records(records.path).found == {"two": {"x": 2}, "one": {"x": 3}}
    records.withdraw("one")
    assert records.found == Records(records.path).found == {"two": {"x": 2}}
    records.add("one", {"x": 4})
    assert Records(records.path).found["one"] == {"x": 4}


def test_arrays_lie_beside_their_line(tmp_path):
    records, arrays = Records(tmp_path / "r.jsonl"), {"a/b": np.arange(6.0).reshape(2, 3), "c": np.array([np.nan])}
    records.add("one", {"x": 1}, arrays)
    records.add("two", {"x": 2})
    again = Records(records.path)
    found = again.arrays("one")
    assert sorted(found) == sorted(arrays) and again.arrays("two") == {}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    records.add("three", {"x": 3}, {"c": np.ones(1)})
    (tmp_path / "r" / "three.h5").replace(tmp_path / "r" / "one.h5")
    with pytest.raises(ValueError, match=r"one\.h5: its arrays are not those of the record"):
        again.arrays("one")
    with pytest.raises(ValueError, match="expected a file name"):
        records.add("a/b", {}, arrays)


def test_a_key_depends_on_all_facts_and_not_on_their_order():
    facts = {"method": ("mmps", {"steps": 3}), "seed": 0}
    assert key("oracle", **facts) == key("oracle", **dict(reversed(facts.items())))
    changed = [key("suite", **facts), key("oracle", **facts | {"seed": 1}), key("oracle", **facts, n=2)]
    assert len({key("oracle", **facts), *changed}) == 4
    with pytest.raises(TypeError):
        key("oracle", method=object())
    with pytest.raises(ValueError):
        key("oracle", sigma=float("nan"))
