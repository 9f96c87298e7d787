"""The table of the bridge to deepinv."""

import json

import pytest

from benchmarks.peers.bridge import row_of, run_bridge
from benchmarks.peers.physics import EXAMPLES, Example

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
