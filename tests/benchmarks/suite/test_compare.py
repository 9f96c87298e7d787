"""What `inverse-bench compare` calls a change, and how it ends."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.suite.compare import Tolerance, compare
from benchmarks.suite.records import opened, write
from benchmarks.suite.report_cli import parse
from tests.benchmarks.suite.synthetic import records

METHODS = ["mmps", "ddrm", "linear MMSE"]


@pytest.fixture(scope="module")
def first():
    return records(n=8, methods=METHODS, pictures=False)


def changed(found, method="mmps", metric="psnr_mean", by=-0.5, **others):
    return [
        replace(r, metrics={**r.metrics, metric: r.metrics[metric] + by}, **others) if r.method == method else r
        for r in found
    ]


def verdicts(found) -> dict[tuple[str, str], str]:
    return {(c.row, c.metric): c.verdict for c in found.changes if c.verdict != "same"}


def test_the_same_is_the_same(first):
    found = compare(first, first)
    assert verdicts(found) == {} and not found.regressions and not found.only and len(found.changes) == 6 + 6 + 3


@pytest.mark.parametrize(
    ("metric", "by", "verdict"),
    [
        ("psnr_mean", -0.5, "REGRESSION"), ("psnr_mean", 0.5, "better"), ("psnr_mean", -0.01, "worse, tolerated"),
        ("crps", 0.01, "REGRESSION"), ("crps", -0.01, "better"), ("width95", 0.05, "changed"),
        ("coverage95", -0.1, "REGRESSION"), ("coverage95", 0.1, "REGRESSION"),
    ],
)  # fmt: skip
def test_what_got_better_or_worse(first, metric, by, verdict):
    found = compare(first, changed(first, metric=metric, by=by))
    assert verdicts(found) == {("mmps", metric): verdict}
    assert found.regressions == (verdict == "REGRESSION")


def test_towards_the_target_is_better(first):
    found = compare(changed(first, "ddrm", "coverage95", -0.1), first)
    assert verdicts(found) == {("ddrm", "coverage95"): "better"}


def test_chance_is_no_regression(first):
    rng = np.random.default_rng(0)
    noise = [
        replace(r, metrics={**r.metrics, "psnr_mean": r.metrics["psnr_mean"] + 0.3 * rng.normal(size=len(r.images))})
        for r in first
    ]
    found = compare(first, noise, Tolerance(0.0))
    assert found.regressions <= 1 and "within chance" in verdicts(found).values()


def test_only_shared_images_and_seeds_are_compared(first):
    wrong = [r for r in changed(first, by=-9.0) if r.seed == 1]
    second = [r for r in first if r.seed == 0 and r.images[0] == 0] + [replace(r, seed=5) for r in wrong]
    found = compare(first, second)
    assert verdicts(found) == {} and {c.difference.n for c in found.changes} == {4}


def test_what_is_in_one_only_is_told_and_no_regression(first):
    second = [r for r in first if r.method != "ddrm"] + records("box", n=2, methods=["mmps"], pictures=False)
    found = compare(first, second)
    assert found.only == (("box / fashion-mnist", "", "second"), ("masking / fashion-mnist", "ddrm", "first"))
    assert not found.regressions
    moved = [replace(r, images=tuple(i + 100 for i in r.images)) for r in first]
    assert len(compare(first, moved).apart) == 3


def test_what_fails_now_is_a_regression(first):
    second = [replace(r, metrics={}, settings={}, ranks=None, error="E: x") if r.method == "ddrm" else r for r in first]
    found = compare(first, second)
    assert found.failing == (("masking / fashion-mnist", "ddrm", 16),) and found.regressions == 1
    back = compare(second, first)
    assert not back.failing and not back.regressions and len(back.failed) == 4


def test_a_metric_that_is_gone_is_told(first):
    second = [replace(r, metrics={k: v for k, v in r.metrics.items() if k != "crps"}) for r in first]
    assert compare(first, second).gone == (("masking / fashion-mnist", "ddrm", "crps"),
                                           ("masking / fashion-mnist", "mmps", "crps"))  # fmt: skip


def test_costs_are_no_regression_unless_asked(first):
    second = [replace(r, seconds=2 * r.seconds) if r.method == "mmps" else r for r in first]
    assert not compare(first, second).regressions
    found = compare(first, second, grown=0.5)
    assert [(c.row, c.name) for c in found.costs if c.regression] == [("mmps", "seconds per image")]


def test_tolerances():
    assert parse(["0.1", "crps=0.5"]) == Tolerance(0.1, {"crps": 0.5}) and parse([]) == Tolerance()
    for wrong in ("x", "psnr=", "-1", "nan", "crps=-2"):
        with pytest.raises(ValueError, match="METRIC=NUMBER"):
            parse([wrong])


def folder(path, found):
    kept = opened(path)
    for record in found:
        write(record, kept)
    return str(path)


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["compare", *arguments])


def test_exit_codes(first, tmp_path):
    a, worse = folder(tmp_path / "a", first), folder(tmp_path / "b", changed(first))
    slow = folder(tmp_path / "c", [replace(r, seconds=9 * r.seconds) for r in first])
    same = call(a, a)
    assert same.exit_code == 0 and "no regressions" in same.output
    found = call(a, worse)
    assert found.exit_code == 1 and "REGRESSION" in found.output and "PSNR of the mean, dB" in found.output
    assert "−0.50" in found.output and "1 regression\n" in found.output
    assert call(worse, a).exit_code == 0
    assert call(a, worse, "--tolerance", "0.5").exit_code == 0
    assert call(a, worse, "--tolerance", "psnr_mean=0.6").exit_code == 0
    assert call(a, slow).exit_code == 0 and call(a, slow, "--costs", "1").exit_code == 1
    assert "linear MMSE" in call(a, a, "--all").output


def test_bad_input_ends_with_2(first, tmp_path):
    a = folder(tmp_path / "a", first[:1])
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.h5").write_bytes(b"no record")
    for other in ("nowhere", "empty", "broken"):
        assert call(a, str(tmp_path / other)).exit_code == 2
    assert call(a, a, "--tolerance", "much").exit_code == 2
    assert call(a).exit_code == 2


def test_the_report_command(first, tmp_path):
    a = folder(tmp_path / "a", first)
    names = [str(tmp_path / name) for name in ("r.html", "r.md", "r.csv")]
    given = ["report", a, "--out", names[0], "--markdown", names[1], "--csv", names[2], "--title", "Mine"]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    assert "<title>Mine</title>" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.md").read_text().startswith("# Mine") and (tmp_path / "r.csv").read_text().count("\n") > 100
    assert CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")]).exit_code == 2
    assert CliRunner().invoke(app, [*given, "--baseline", "nobody"]).exit_code == 2
