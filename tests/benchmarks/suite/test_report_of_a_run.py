"""From measurements to the page: what the runner leaves is what the report and the comparison read."""

import csv
import io

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.suite import problems, records, runner, units

from .test_report_page import faults_of, outside


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    made = tmp_path_factory.mktemp("records")
    chosen, _ = units.plan(problems.read(bench / "bench.toml"))
    runner.run(chosen, made)
    return made


def call(*arguments) -> str:
    found = CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments])
    assert found.exit_code == 0, found.output
    return found.output


def test_a_run_is_reported(folder, tmp_path):
    call("report", folder, "--out", tmp_path / "r.html", "--markdown", tmp_path / "r.md", "--csv", tmp_path / "r.csv")
    page, text = (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()
    assert faults_of(page) == [] and outside(page) == []
    held = records.load(folder)
    for r in held:
        assert f"| {r.method} |" in text and r.task in page and r.provenance["commit"] in page
    assert page.count('class="block gallery"') == 2 and page.count('class="block tradeoffs"') == 2
    assert " at 0x" not in page
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    read = {(r["problem"], r["method"], int(r["seed"]), int(r["image"]), r["metric"]): float(r["value"]) for r in rows}
    kept = {
        (r.problem, r.method, r.seed, image, metric): value
        for r in held
        for metric, values in r.metrics.items()
        for image, value in zip(r.images, values, strict=True)
        if value == value
    }
    assert read == kept


def test_a_run_is_no_regression_of_itself(folder):
    assert "no regressions" in call("compare", folder, folder)
