"""What is in the repository, and what must not be."""

import hashlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import inverse
import priors
from benchmarks.common.commands import SMALL_PRIORS
from benchmarks.trained.identifiability import TRAINED_APART
from benchmarks.trained.likelihood import LIKELIHOOD_PRIORS
from priors.checkpoints import SHIPPED, read_card

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# written with a ~, so that this file does not hold what it looks for
REGISTRIES = "py~pi.org python~hosted.org py~torch.org/whl ana~conda.org npm~js.org crates~.io".replace("~", "").split()
PLACES = "/~work/ /~root/ /~home/ /~Users/".replace("~", "").split()

# name -> the least version that is promised
LEAST = {Requirement(r).name: next(iter(Requirement(r).specifier)).version for r in PROJECT["dependencies"]}


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def in_repository() -> list[Path]:
    """Tracked files, and those that the next `git add` would track."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_lock_file_is_ignored():
    assert git("check-ignore", "-q", "uv.lock").returncode == 0
    assert git("ls-files", "uv.lock").stdout == ""


def test_no_file_names_a_registry_or_a_place_on_one_machine():
    found = []
    for path in in_repository():
        content = path.read_bytes()
        if b"\0" not in content:  # binary files hold any bytes
            text = content.decode()
            found += [(str(path.relative_to(ROOT)), word) for word in REGISTRIES + PLACES if word in text]
    assert found == []


def test_the_wheel_leaves_out_what_only_the_repository_needs():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()} - {"tests"} == set(built["packages"])
    assert all((ROOT / path).is_dir() for path in built["exclude"])
    left_out = [f for f in in_repository() if any(f.is_relative_to(ROOT / path) for path in built["exclude"])]
    assert left_out and not any(f.suffix == ".py" for f in left_out)
    shipped = [f for f in in_repository() if f.relative_to(ROOT).parts[0] in built["packages"] and f not in left_out]
    # weights hardly get smaller in a zip file, code becomes a quarter; the package index takes files of up to 100 MB
    assert sum(f.stat().st_size * (0.25 if f.suffix == ".py" else 1) for f in shipped) < 80e6


def test_files_are_small():
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in in_repository()}
    assert {name: size for name, size in sizes.items() if size >= 16e6} == {}
    assert sum(sizes.values()) < 150e6


@pytest.mark.parametrize(("kind", "load"), [("prior", priors.load), ("classifier", priors.load_classifier)])
def test_shipped_folders_are_whole(kind, load):
    for name in priors.available(kind):
        card = read_card(SHIPPED / name)
        for key in ("data", "licence", "sde", "command", "hardware", "training", "sha256"):
            assert card.get(key), f"the card of {name} lacks {key}"
        with (SHIPPED / name / "weights.safetensors").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == card["sha256"]
        assert card["training"]["seconds"] > 0
        assert card["training"]["losses"]["test"] > 0, (
            "the loss on test images, which Trainer.held_out_loss(test) gives"
        )
        assert load(name).event_shape == tuple(card["event_shape"])  # loading verifies the checksum
        if kind == "prior":
            assert len(priors.samples(name)) > 0, "test images, for the demo and the tests"


@pytest.mark.parametrize("name", sorted({*LIKELIHOOD_PRIORS, *TRAINED_APART}))
def test_priors_of_the_benchmarks_were_trained_alike(name):
    card, first = (read_card(SMALL_PRIORS / n) for n in (name, "ve"))
    assert priors.load(SMALL_PRIORS / name).event_shape == (1, 28, 28)
    assert card["training"]["steps"] == first["training"]["steps"] and card["training"]["losses"]["test"] > 0
    if name != "ve-wide":
        assert card["network"] == first["network"]


@pytest.mark.parametrize(
    ("specifiers", "version"),
    [(PROJECT["requires-python"], v) for v in ("3.11.0", "3.12.4", "3.13.0")]
    + [(str(Requirement(r).specifier), f"{LEAST['torch']}.0") for r in PROJECT["dependencies"] if "torch" in r],
)
def test_the_promised_versions_are_admitted(specifiers, version):
    assert SpecifierSet(specifiers).contains(version)


def test_torch_is_stated():
    """Before 2.6 torch.load(weights_only=True), which reads other people's files, could run code."""
    assert tuple(map(int, LEAST["torch"].split("."))) >= (2, 6)


@pytest.mark.parametrize("command", ["inverse", "inverse-train", "inverse-pack", "inverse-bench"])
def test_commands_are_callable(command):
    (point,) = metadata.entry_points(group="console_scripts", name=command)
    assert point.value == PROJECT["scripts"][command]
    assert callable(point.load())


def test_the_citation_agrees_with_the_project():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software" and cited["message"]
    assert (cited["title"], cited["license"], cited["version"]) == (
        PROJECT["name"],
        PROJECT["license"],
        inverse.__version__,
    )
    assert cited["authors"] == PROJECT["authors"] and cited["keywords"] == PROJECT["keywords"]
    assert cited["abstract"] == PROJECT["description"]


def test_hosted_ci_runs_what_is_here():
    """The least torch is the one of pyproject.toml, the Pythons those promised, the scripts are in .ci."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {".ci/run", "uv run pytest", f".ci/torch {LEAST['torch']}"} <= set(runs)
    assert all((ROOT / word).is_file() for run in runs for word in run.split() if word.startswith(".ci/"))
    pythons = {"3.11", *jobs["tests"]["strategy"]["matrix"]["python"]}
    assert {c.split(" :: ")[-1] for c in PROJECT["classifiers"] if ":: Python ::" in c} <= pythons
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0") for version in pythons)


def test_versions_agree():
    assert inverse.__version__ == metadata.version("score-inverse")
    assert re.search(rf"^## \[{re.escape(inverse.__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["run", "wheel", "torch"])
def test_ci_is_executable(name):
    assert os.access(ROOT / ".ci" / name, os.X_OK)


def test_hooks_of_a_commit(tmp_path):
    def hook(*arguments: object) -> int:
        return subprocess.run([sys.executable, ROOT / ".ci" / "hooks.py", *map(str, arguments)]).returncode

    small, big = tmp_path / "small", tmp_path / "big"
    small.write_bytes(b"a \t\n  b\r\n\nc  ")
    big.write_bytes(b" \n\0" * 333_400)
    assert hook("large", small) == 0 and hook("large", small, big) == 1
    assert hook("trim", small, big) == 1 and small.read_bytes() == b"a\n  b\r\n\nc"
    assert hook("trim", small, big) == 0 and big.stat().st_size == 1_000_200


def test_packages_are_found_here():
    """That the tests test this tree, not an installed copy."""
    assert Path(inspect.getfile(inverse)).parent == ROOT / "inverse"


def test_the_licence_is_the_stated_one():
    text = (ROOT / "LICENSE").read_text()
    assert (
        PROJECT["license"] == "Apache-2.0"
        and "Version 2.0, January 2004" in text
        and "The score-inverse authors" in text
    )
