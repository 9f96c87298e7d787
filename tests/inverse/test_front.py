"""Command lines: what needs no torch does not import it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from {module} import {name} as start
sys.argv = ["command", *sys.argv[1:]]
try:
    start()
finally:
    print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("module", "name", "words", "expected", "code"),
    [
        ("inverse.front", "main", ["--help"], "scan", 0),
        ("inverse.front", "main", ["solve", "--help"], "--operator", 0),
        ("inverse.front", "main", ["slove"], "solve", 2),
        ("inverse.front", "main", ["solve", "nowhere.png", "--operator", "masking"], "nowhere.png", 2),
        ("priors.front", "train", ["--help"], "--data", 0),
        ("priors.front", "pack", ["--oops"], "--oops", 2),
        ("benchmarks.front", "app", ["--help"], "measure", 0),
    ],
)
def test_help_and_mistakes_import_no_torch(module, name, words, expected, code):
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(module=module, name=name), *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == code and expected in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_command_finds_what_it_needs():
    """The imports that waited are made, and a name that is a module's too stays the function."""
    words = [sys.executable, "-c", RUN.format(module="inverse.front", name="main"), "methods"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "mmps" in done.stdout and done.stdout.splitlines()[-1] == "True"
    code = "import inverse.solve, inverse; print(callable(inverse.solve), inverse.solve.__module__)"
    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["True", "inverse.solve"]
