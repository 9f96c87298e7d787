"""Which records make a row, and which rows can be best."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.suite.records import Record, Scale
from benchmarks.suite.report.pooling import pool
from benchmarks.suite.report.tables import build, number

PSNR = Scale("PSNR, dB", "higher")


def record(method="a", images=(0, 1), seed=0, metric="psnr_mean", values=(1.0, 2.0), scale=PSNR, **others) -> Record:
    facts = {"key": f"{method}{images}{seed}", "problem": "p", "task": "t", "prior": "q", "posterior": True} | others
    metrics = {metric: np.array(values)} if not facts.get("error") else {}
    return Record(method=method, seed=seed, images=images, metrics=metrics, scales={metric: scale}, **facts)


def test_blocks_and_seeds_are_pooled():
    (problem,) = pool([record(), record(images=(2, 3), values=(3.0, 4.0)), record(seed=1, values=(5.0, np.nan))])
    (row,) = problem.rows
    assert row.images == (0, 1, 2, 3) and row.seeds == (0, 1)
    assert row.values["psnr_mean"] == {(0, 0): 1, (1, 0): 2, (2, 0): 3, (3, 0): 4, (0, 1): 5}


def test_problems_are_apart_by_prior_and_rows_by_settings():
    found = pool([record(), record(prior="r"), record(settings={"steps": 9}), record(settings={"steps": 3}, seed=1)])
    assert [(p.name, p.prior) for p in found] == [("p", "q"), ("p", "r")]
    assert [row.name for row in found[0].rows] == ["a", "a steps=3", "a steps=9"]
    assert [row.name for row in found[1].rows] == ["a"]


def test_where_an_object_was_in_memory_makes_no_row():
    found = [record(seed=i, settings={"guidance": f"<TMPD object at 0x7f{i}>"}) for i in range(2)]
    assert [row.name for row in pool(found)[0].rows] == ["a"]


def test_the_later_of_two_alike_counts():
    old = record(values=(1.0, 1.0), provenance={"date": "2026-01-02"})
    new = record(values=(9.0, 9.0), provenance={"date": "2026-01-03"}, images=(1, 2), key="new")
    for order in ([old, new], [new, old]):
        (row,) = pool(order)[0].rows
        assert row.values["psnr_mean"] == {(0, 0): 1, (1, 0): 9, (2, 0): 9} and row.superseded == 0
    whole = replace(new, images=(0, 1))
    (row,) = pool([old, whole])[0].rows
    assert row.values["psnr_mean"] == {(0, 0): 9, (1, 0): 9} and row.superseded == 1


def test_a_failed_unit_is_told_of_unless_another_stands_in():
    failed = record(error="ValueError: no", seed=1)
    (row,) = pool([record(settings={"steps": 9}), failed])[0].rows  # it may not know its settings
    assert row.failed == (failed,) and row.seeds == (0,)
    (row,) = pool([failed, record(seed=1)])[0].rows
    assert row.failed == ()
    (row,) = pool([failed])[0].rows
    assert row.failed == (failed,) and not row.units


def test_costs_are_per_image_and_per_sample():
    (row,) = pool([record(seconds=6.0, nfe=50), record(images=(2,), values=(1.0,), seconds=6.0, nfe=50)])[0].rows
    assert row.seconds == 4.0 and row.nfe == 50


def line(table, name):
    return next(found for found in table.lines if found.name == name)


def test_the_best_and_what_is_not_told_apart_are_marked():
    images, rng = tuple(range(20)), np.random.default_rng(1)
    base = rng.normal(25, 3, size=20)
    found = [
        record("first", images, values=base + 1), record("behind", images, values=base + 0.8),
        record("near", images, values=base + 1 + rng.normal(0, 0.5, 20) - 0.02),
    ]  # fmt: skip
    table = build(pool(found)[0])
    marks = {name: line(table, name).cells["psnr_mean"].mark for name in ("first", "near", "behind")}
    assert sorted([marks["first"], marks["near"]]) == ["best", "tie"] and marks["behind"] == ""
    assert [found.name for found in table.lines][2] == "behind"


def test_an_incomplete_method_cannot_be_best():
    images = tuple(range(10))
    lucky = record("lucky", images[:4], values=np.full(4, 99.0))
    others = [record(name, images, values=np.arange(10.0) + i) for i, name in enumerate("abc")]
    more = record("more", tuple(range(14)), values=np.concatenate([np.arange(10.0), np.full(4, 1000.0)]))
    table = build(pool([lucky, *others, more])[0])
    assert table.best["psnr_mean"] == "c"
    assert line(table, "lucky").cells["psnr_mean"].note == "4 of 10 images"
    assert line(table, "more").cells["psnr_mean"].value == 4.5  # its four images more are not counted
    assert any("most methods" in note for note in table.notes)


def test_a_row_says_what_it_lacks():
    found = [
        record("a"),
        record("a", seed=1),
        record("b"),
        record("c", (0,), values=(1.0,)),
        record("d", posterior=False),
    ]
    table = build(pool(found)[0])
    remarks = {name: line(table, name).remark for name in "abcd"}
    assert remarks == {"a": "", "b": "2 of 4 images and seeds", "c": "1 of 2 images", "d": ""}


def test_differences_are_to_the_best_or_the_baseline():
    found = [record("a", values=(1.0, 2.0)), record("b", values=(4.0, 5.0))]
    table = build(pool(found)[0])
    assert line(table, "a").cells["psnr_mean"].change == "−3.00" and table.against == "the best"
    table = build(pool(found)[0], "a")
    assert line(table, "b").cells["psnr_mean"].change == "+3.00" and table.against == "a"


@pytest.mark.parametrize(
    ("value", "scale", "signed", "text"),
    [
        (-1.234, PSNR, False, "−1.23"), (0.9444, Scale("c", 0.95, 1, percent=True), False, "94.4"),
        (0.5, PSNR, True, "+0.50"), (-0.001, PSNR, True, "0.00"), (float("nan"), PSNR, False, "–"),
    ],
)  # fmt: skip
def test_figures_are_printed(value, scale, signed, text):
    assert number(value, scale, signed) == text


def test_what_is_missing_says_why():
    estimate = record("b", metric="other", missing={"psnr_mean": "its image is elsewhere"})
    cells = line(build(pool([record("a"), estimate])[0]), "b").cells
    assert cells["psnr_mean"].note == "its image is elsewhere"
    failed = line(build(pool([record("a"), record("b", error="E: x")])[0]), "b")
    assert failed.cells["psnr_mean"].note == "every unit failed" and "1 unit failed" in failed.remark
