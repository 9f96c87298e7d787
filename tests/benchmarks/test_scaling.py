"""The model of scaling: its rows are what its numbers give."""

import pytest

from benchmarks.trained.scaling import FILES, LOCKS, UNITS, Assumed, Machine, Measured, batch_row, model, tiles_row

M = Measured(0.5, 4.0, 1e4, 2e4, 1.0, 2.0, 512**2, 1e9, 176)
A = Assumed(gpu=100, meta=1000)


def test_one_core_computes_all_units():
    row = batch_row(M, A, Machine("1 core", 1))
    seconds = 4.0 + 0.5 * UNITS + UNITS * (LOCKS + FILES) / 20_000 + UNITS * 3e4 / 1e9
    assert row["total"] == f"{seconds // 60:.0f} min {seconds % 60:.0f} s" and row["messages"] == "60,000"


def test_operations_of_all_processes_on_all_units_limit_many_nodes():
    row = batch_row(M, A, Machine("many", 512, 100, 64))
    assert row["largest"].startswith("operations of the file system")
    assert row["messages"] == f"{UNITS * (512 * LOCKS + FILES):,}"


def test_tiles_go_out_and_come_back():
    row = tiles_row(M, A, Machine("2 cores", 2))
    assert row["messages"] == "64" and float(row["GB"]) == pytest.approx(64 * 4 * 1376**2 / 1e9, rel=1e-2)
    assert "network 1 min 1 s" in row["parts"]  # 32 tiles of 1.89 megapixels


def test_parts_that_are_smaller_than_their_margins_are_seen():
    rows = {(row["what"], row["machine"]): row for row in model(M, A)}
    assert len(rows) == 9
    part = 8192 / 512**0.5
    assert f"margins {1 - part**2 / (part + 352) ** 2:.0%}" in rows["split", "64 nodes of 8 GPUs"]["parts"]
