"""docs/operators.md against the registry: it lists every operator, and says of it what the code says."""

import re
from pathlib import Path

import pytest
from operator_cases import CASES

import operators

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
WORDS = ("linear", "svd", "orthogonal_rows", "noisy_likelihood")  # differentiable, all are
CODE = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def row(name: str) -> str:
    """The line of the table on one operator, what is not true of all of its cases in brackets."""
    factory, structures = operators.get(name), [case.make().structure for case in CASES[name]]
    some, every = frozenset().union(*structures), frozenset.intersection(*structures)
    words = [(word if word in every else f"({word})").replace("_", " ") for word in WORDS if word in some]
    summary = (factory.__doc__ or "").strip().split("\n")[0].replace("|", "\\|")
    return f"| `{name}` | `{factory.__name__}` | {summary} | {', '.join(words) or '-'} |"


def test_the_table_is_that_of_the_registry():
    expected = [row(name) for name in operators.available()]
    found = re.findall(r"^\| `.*$", PAGE, re.MULTILINE)
    assert found == expected, "docs/operators.md should hold this table:\n" + "\n".join(expected)


def test_all_are_differentiable():
    assert [n for n, cases in CASES.items() for c in cases if "differentiable" not in c.make().structure] == []


@pytest.mark.parametrize("name", operators.available())
def test_the_page_shows_how_it_is_made_and_what_it_computes(name):
    assert re.search(rf"operators\.{operators.get(name).__name__}[.(]", CODE)
    assert f"`{name}`: y " in PAGE.replace("\n", " ")
