"""Every method on every shipped prior with every operator that it serves; the whole is `inverse-bench run matrix`."""

import pytest

import operators
from benchmarks.trained import matrix
from inverse import METHODS

CLASSES = {name: operators.get(name) for name in operators.available() if "inverse" not in name}


def test_every_registered_operator_and_conditional_method_has_a_cell():
    shapes = ((1, 32, 32), (3, 32, 32))
    made = [make(shape) for name, make in matrix.OPERATORS.items() if name != "classifier" for shape in shapes]
    for name, factory in CLASSES.items():
        kind = factory if isinstance(factory, type) else object
        assert name == "classifier" or any(isinstance(operator, kind) for operator in made), name
    assert {cell.method for cell in matrix.cells()} == {name for name, m in METHODS.items() if m.conditional}
    with pytest.raises(ValueError, match="expected names among"):
        list(matrix.cells(["no such prior"]))


def test_finished_cells_are_read_and_the_table_counts(tmp_path, monkeypatch):
    chosen = list(matrix.cells(["fashion-mnist"], ["masking", "bayer"], ["ddrm", "diffpir"]))
    outcomes = iter(("right", "no problem", "silent and wrong", "warned of"))
    monkeypatch.setattr(
        matrix, "execute", lambda cell: {"outcome": next(outcomes), "chi2": 9.0, "psnr": 1.0, "pinv": 2.0}
    )
    assert len(matrix.run(chosen, tmp_path, False, limit=1)) == 1
    found = matrix.run(chosen, tmp_path, False)
    assert len(found) == 4 and matrix.run(chosen, tmp_path, False, limit=0) == found
    whole = matrix.table(found)[-1]
    assert (whole["method"], whole["runs"], whole["right"], whole["silent and wrong"]) == ("all", "3", "1", "1")


@pytest.mark.parametrize("kind", matrix.OPERATORS)
def test_every_linear_problem_has_a_pseudo_inverse_of_its_size(kind):
    name = "natural" if kind in ("grayscale", "bayer") else "fashion-mnist"
    problem = matrix.posed(matrix.Cell(name, kind, "mmps"))
    assert problem is not None
    if isinstance(problem.operator, operators.LinearOperator):
        assert problem.operator.pinv(problem.y).shape == problem.truth.shape


@pytest.mark.parametrize(
    "name", ["ddrm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mmps", "pigdm", "ddnm"))]
)
def test_a_blur_of_a_small_picture_is_right(name):
    record = matrix.execute(matrix.Cell("fashion-mnist", "blur", name))
    assert record["outcome"] == "right", record


def test_pictures_in_another_layout_of_memory_pass():
    """The network of "natural" answers in memory that is not contiguous; the pivot's population reshapes its rows."""
    record = matrix.execute(matrix.Cell("natural", "linear", "pivot"))
    assert record["outcome"] in ("right", "warned of"), record


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if m.conditional])
def test_nothing_is_silent_and_wrong(method, tmp_path):
    found = matrix.run(list(matrix.cells(methods=[method])), tmp_path, False)
    wrong = [(cell, record) for cell, record in found if record["outcome"] == "silent and wrong"]
    assert not wrong
