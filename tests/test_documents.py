"""The examples of the documents, executed: a document is one session from top to bottom, in an empty folder."""

import ast
import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import inverse
import operators
import priors
from benchmarks.suite import methods, metrics
from operators import registry
from priors import pictures
from priors.cli import app as train
from priors.packing import app as pack
from priors.runge_kutta import integrate

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"load": "prior", "load_classifier": "classifier", "samples": "prior"}
SHIPPED = re.compile(rf"""\b({"|".join(KINDS)})\(\s*["']([\w-]+)["']""")


def lacks(block: str) -> list[str]:
    """The shipped names that a block loads and that are not there (yet)."""
    return [name for call, name in SHIPPED.findall(block) if name not in priors.available(KINDS[call])]


def names(block: str) -> tuple[set[str], set[str]]:
    """The names that a block reads and those that it binds."""
    read, bound = set(), set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
    return read, bound


@pytest.fixture
def session(tmp_path, monkeypatch):
    """An empty folder, and registries that forget what an example adds to them."""
    monkeypatch.chdir(tmp_path)
    for module, name in ((registry, "REGISTRY"), (metrics, "METRICS"), (methods, "ROWS")):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    kept = dict(inverse.METHODS)
    yield
    inverse.METHODS.clear()
    inverse.METHODS.update(kept)


@pytest.fixture
def short(session, monkeypatch):
    """Every method in a few steps, and flows to a loose tolerance: whether an example runs, not how good its pictures
    are."""
    for name, method in inverse.METHODS.items():
        inverse.METHODS[name] = replace(method, n_steps=3)
    for rows in ("evidence", "networks"):  # "auto" takes its default, in as few steps
        monkeypatch.setattr(f"inverse.auto.{rows}", list)
    for module in ("ode", "likelihood"):
        monkeypatch.setattr(f"priors.{module}.integrate", lambda *given: integrate(*given[:-2], rtol=1e-2, atol=1e-2))


def run_examples(document: Path) -> None:
    """Execute a document's blocks in one namespace, but for those that need what is not shipped."""
    space: dict = {"__name__": "document"}
    absent: set[str] = set()
    text = document.read_text()
    for match in BLOCK.finditer(text):
        language, block = match.groups()
        line = text[: match.start()].count("\n") + 1
        if language == "toml":
            read_toml(block)
        elif language == "bash":
            read_bash(block)
        elif language == "python":
            read, bound = names(block)
            if lacks(block) or read & absent - bound - set(space):
                absent |= bound
            else:
                exec(compile("\n" * line + block, str(document), "exec"), space)


def read_toml(block: str) -> None:
    """A recipe is written to the file that its first line names; an entry point must be in the group that is read."""
    content = tomllib.loads(block)
    if first := re.match(r"# ([\w-]+\.toml)\n", block):
        Path(first[1]).write_text(block)
    for group in content.get("project", {}).get("entry-points", {}):
        assert group == registry.GROUP


def read_bash(block: str) -> None:
    """Packing and trainings of what is there run, the latter in two steps unless they say how many; of other lines,
    what `uv run` starts must exist."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["uv", "run"]:
            assert words[2] in {*scripts, "pytest", "pre-commit", "ruff", "pyright", "python", "mkdocs"}, line
        command, arguments = words[2:3], words[3:]
        app = {"inverse-train": train, "inverse-pack": pack}.get(command[0]) if words[:2] == ["uv", "run"] else None
        if app is not None and Path(arguments[0]).exists():
            timed = app is pack or "steps" in tomllib.loads(Path(arguments[0]).read_text())["training"]
            result = CliRunner().invoke(app, arguments if timed else [*arguments, "--steps", "2"])
            assert result.exit_code == 0, result.output + repr(result.exception)


def test_contributing_runs(session):
    run_examples(ROOT / "CONTRIBUTING.md")


def test_the_operator_of_the_page_is_registered(short):
    run_examples(ROOT / "docs" / "own-operator.md")
    assert "average" in operators.available()


def test_the_method_of_the_page_is_in_methods(session):
    run_examples(ROOT / "docs" / "own-method.md")
    assert "flat" in inverse.METHODS


def test_readme_runs(short):
    run_examples(ROOT / "README.md")


def test_a_block_without_its_prior_is_left_out(session, tmp_path):
    document = tmp_path / "made_up.md"
    blocks = (
        'import priors\nprior = priors.load("no-such-prior")',
        "x = priors.VESDE(), prior",
        "z = 2",
        "assert z == 3",
    )
    document.write_text("\n".join(f"```python\n{block}\n```\n" for block in blocks))
    with pytest.raises(AssertionError):  # only of the last block: those before it are left out, or run
        run_examples(document)


def test_a_folder_of_pictures_becomes_a_prior(short):
    """docs/training.md with the steps that it names, none left out: pack, train, load, solve."""
    run_examples(ROOT / "docs" / "training.md")
    photos = Path("photos.h5"), Path("runs/photos/card.json"), Path("runs/stars/card.json")
    assert all(path.exists() for path in photos)
    recipe = tomllib.loads(Path("photos.toml").read_text())
    made = pictures.read("photos.h5")
    values = torch.cat([p.flatten() for p in made.pictures]).double() / 255
    assert recipe["range"]["shift"] == pytest.approx(values.mean().item(), abs=0.006)
    assert recipe["range"]["scale"] == pytest.approx(values.std().item(), abs=0.006)


PAGES = sorted((ROOT / "docs").rglob("*.md"))
APART = ("training", "own-operator", "own-method")  # pages with a test of their own


@pytest.mark.parametrize(
    "document", [p for p in PAGES if p.stem not in APART and "```python" in p.read_text()], ids=lambda path: path.name
)
def test_pages_run(document, short):
    run_examples(document)


DOCUMENTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
