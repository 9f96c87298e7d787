"""The site of the documentation: what its pages hold, how docstrings and notebooks look. CI builds it strictly."""

import importlib.util
import json
import re
import types
from pathlib import Path

import pytest

import inverse
import operators
import priors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def loaded(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", [inverse, priors, operators], ids=lambda package: package.__name__)
def test_the_api_pages_have_every_public_name(package):
    text = (DOCS / "api" / f"{package.__name__}.md").read_text()
    shown = {line.split(".")[-1] for line in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
    assert set(package.__all__) - shown - {"METHODS"} == set()


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages <= listed
    assert [page for page in listed if not (DOCS / page).exists() and not (ROOT / page).exists()] == []


def test_the_gallery_has_every_operator_and_every_method():
    text = (DOCS / "gallery.md").read_text()
    wanted = [f"operator-{name}" for name in operators.available() if operators.get(name).__module__ in vars_of()]
    wanted += [f"method-{name}" for name in inverse.METHODS]
    assert [name for name in wanted if f"gallery/{name}.png" not in text] == []
    pictures = list((DOCS / "gallery").glob("*.png"))
    assert sum(path.stat().st_size for path in pictures) < 2**20
    assert {path.stem for path in pictures} == {*wanted, "hero"}


def vars_of() -> set[str]:
    """The modules of `operators`: entries of plug-ins and of other tests are not ours."""
    return {getattr(operators, name).__module__ for name in operators.__all__}


def test_docstrings_become_paragraphs_and_lists():
    markdown = loaded("docstrings").markdown
    doc = (
        "What it is, (N, *E).\n\nFormula: a * b < c.\nArguments: x (N, *E; any); y: a `*raw*`\nword.\n"
        "Raises: ValueError."
    )
    assert markdown(doc) == (
        "What it is, (N, \\*E).\n\n**Formula.** a \\* b &lt; c.\n\n"
        "**Arguments**\n\n- `x` (N, \\*E; any)\n- `y`: a `*raw*` word.\n\n**Raises.** ValueError."
    )


def test_an_entry_begins_where_an_argument_is_named():
    found = loaded("docstrings").entries("a: one; or none. b (c; a); two, at. Most", {"a", "b"})
    assert found == ["a: one; or none", "b (c; a); two, at. Most"]


def test_a_notebook_becomes_a_page(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {
            "cell_type": "code",
            "source": ["print(1)"],
            "outputs": [{"text": ["1\n"]}, {"data": {"image/png": "AAAA\n", "text/plain": ["<Figure>"]}}],
        },
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert loaded("site").notebook(tmp_path / "a.ipynb") == (
        "# Title\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n![output](data:image/png;base64,AAAA)"
    )


def test_pages_carry_the_version():
    config = types.SimpleNamespace(copyright=None)
    assert loaded("site").on_config(config) is config
    assert config.copyright.startswith(f"score-inverse {inverse.__version__},")
