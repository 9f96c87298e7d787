"""The examples keep their promises, against closed forms."""

import importlib.util
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from inverse import UnreliableWeights

FOLDER = Path(__file__).parents[1] / "examples"


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_evidence_picks_the_noise_level_and_the_blur_width():
    """Of three candidates each, the one that made the measurement, by evidences that agree with the closed form."""
    example = loaded("evidence")
    prior = example.smooth_images()
    x = prior.sample(1, seed=3)
    for candidates, true in (
        ({s: example.blur(0.8, s) for s in (0.1, 0.2, 0.4)}, 0.2),
        ({w: example.blur(w, 0.05) for w in (0.4, 0.8, 1.4)}, 0.8),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableWeights)
            found = example.ladder(prior, candidates, candidates[true].measure(x, seed=7), n=60)
        assert max(found, key=lambda value: found[value][0]) == true
        for log_z, error, truth in found.values():
            assert 0 < error < 0.5 and abs(log_z - truth) < 4 * error + 0.05


def test_the_exact_mode_gives_modes_their_shares_where_a_plain_method_errs():
    found = loaded("mode_weights").shares(n=1000)
    truth = found.pop("closed form")
    far = {name: 0.5 * float((share - truth).abs().sum()) for name, share in found.items()}
    assert far["exact"] < 0.03
    assert all(far[name] > 0.1 for name in far if name != "exact"), far


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_each_says_how_to_run_it(path):
    assert f"uv run python examples/{path.name}" in path.read_text()


NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path):
    notebook = nbformat.read(path, 4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output for output in outputs if output.get("name") == "stderr"] == []  # no warning


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_small_and_whole(path):
    assert path.stat().st_size < 300_000
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
