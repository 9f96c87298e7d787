"""The table of the bridge to deepinv."""

import json

import pytest
import torch

from benchmarks.peers.bridge import bridged, row_of, run_bridge
from benchmarks.peers.physics import EXAMPLES, Example
from benchmarks.peers.solve_overhead import TWINS, run_solve_overhead

pytest.importorskip("deepinv")


def test_a_table_has_what_each_physics_is(tmp_path):
    names = ["Denoising", "SpatialUnwrapping", "SequentialMRI", "Inpainting, 3 x 256 x 256"]
    run_bridge(names, repeats=1, slow=False, out=tmp_path)
    *rows, large = json.loads((tmp_path / "deepinv-bridge.json").read_text())["rows"]
    assert large["as"] == "SVD" and float(large["overhead"]) > 0 and large["check"] == "-"
    assert [row["as"][:7] for row in rows] == ["SVD", "refused", "linear"]
    assert [row["check"] for row in rows] == ["passes", "-", "passes"]
    assert "replaced" in rows[2]["A^T off by"] and float(rows[0]["overhead"]) > 0
    assert rows[0]["not"] == "-" and "ddrm" in rows[2]["not"]


def test_what_is_missing_is_named():
    row = row_of("made up", Example(EXAMPLES["PET"].make, (1, 4, 4), needs=("no_such_package",)), 1, False)
    assert row["as"] == "not installed: no_such_package"


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"physics \['Blurr'\]: expected some of Denoising"):
        run_bridge(["Blurr"], out=tmp_path)


@pytest.mark.parametrize("name", TWINS)
def test_twins_measure_the_same(name):
    """One picture by deepinv's physics and by our operator: equal but for the order of y."""
    twin = TWINS[name]
    theirs, ours = bridged(twin.example)[0], twin.ours()
    x = torch.rand(1, *theirs.events.shape, generator=torch.Generator().manual_seed(1))
    y = theirs(x)
    torch.testing.assert_close(ours(x), y if twin.turned is None else twin.turned(y), rtol=1e-5, atol=1e-5)


def test_the_table_of_solves(tmp_path):
    run_solve_overhead(["Inpainting", "Demosaicing"], repeats=1, n_steps=1, out=tmp_path)
    first, second = json.loads((tmp_path / "deepinv-solve.json").read_text())["rows"]
    assert float(first["overhead"]) > 0 and first["as"] == second["as"] == "SVD" and float(second["seconds"]) > 0
    with pytest.raises(ValueError, match=r"physics \['Blurr'\]: expected some of Denoising"):
        run_solve_overhead(["Blurr"], out=tmp_path)
