"""What ``method="auto"`` chooses by, as the oracle writes it."""

import json

from benchmarks.exact.oracle_tables import write_evidence


def test_evidence_takes_the_place_of_the_same_candidate_s_and_of_methods_that_are_no_more(tmp_path):
    path = tmp_path / "evidence.json"
    line = {
        "problem": "p",
        "measured": 3,
        "n_steps": 9,
        "nfe": 10,
        "nvjp": 20.4,
        "samples": 50,
        "sw1_ratio": 1.5,
        "failed": 0,
    }
    old = [{"problem": p, "candidate": c, "n_steps": 9, "samples": 50, "ratio": 9.0} for p, c in
           (("p", "mmps"), ("p", "tds"), ("q", "mmps"), ("p", "no more"))]  # fmt: skip
    path.write_text(json.dumps(old))
    write_evidence([line | {"method": "mmps"}, line | {"method": "auto"}, line | {"method": "ddrm", "failed": 1}], path)
    kept, fresh = old[1:3], {"problem": "p", "candidate": "mmps", "measured": 3, "n_steps": 9, "passes": 30}
    assert json.loads(path.read_text()) == [*kept, fresh | {"samples": 50, "ratio": 1.5}]
