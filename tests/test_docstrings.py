"""What the public names say of themselves: summary, formula, source, arguments with shapes, errors, in this order."""

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass

import pytest

import operators
from inverse.correctors import CORRECTORS
from inverse.grids import GRIDS
from inverse.guidance import GUIDANCES
from inverse.methods import METHODS
from inverse.predictors import PREDICTORS
from inverse.protocols import Kernel
from priors.losses import WEIGHTS
from priors.score_prior import PREDICTIONS
from priors.sde import SDES

PACKAGES = ("inverse", "priors", "operators", "benchmarks")
MODULES = (
    "inverse.correctors", "inverse.grids", "inverse.guidance", "inverse.methods", "inverse.population",
    "inverse.predictors", "inverse.protocols", "inverse.types", "inverse.quality.measures", "inverse.quality.residuals",
    "inverse.quality.scale",
    "priors.base", "priors.likelihood", "priors.losses", "priors.ode", "priors.runge_kutta", "priors.sde",
)  # fmt: skip
REGISTRIES = {
    "PREDICTORS": PREDICTORS, "CORRECTORS": CORRECTORS, "GRIDS": GRIDS, "GUIDANCES": GUIDANCES, "SDES": SDES,
    "WEIGHTS": WEIGHTS, "PREDICTIONS": PREDICTIONS, "OPERATORS": {n: operators.get(n) for n in operators.available()},
}  # fmt: skip
PARTS = ("Formula", "Source", "Arguments", "Attributes", "Returns", "Raises")
CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__init_subclass__")
ERRORS = {"ValueError", "TypeError", "FileNotFoundError", "NonFiniteState"}
SHAPE = re.compile(r"\((N|B|K|n|m|d|M|\*E|\*M)[^)]*\)|\b0-d\b")
YEAR = re.compile(r"\b(19|20)\d\d")


@dataclass(frozen=True)
class Target:
    """A public class, function or method; ``doc``: its own text or that of the method it implements."""

    name: str
    thing: object  # class or plain function
    doc: str
    owner: type | None = None

    @property
    def around(self) -> str:
        """The text that a reader of it has before them: a method's class included."""
        return self.doc if self.owner is None else f"{self.doc}\n{own_doc(self.owner)}"


def own_doc(thing) -> str:
    doc = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    generated = isinstance(thing, type) and (doc or "").startswith(f"{thing.__name__}(")  # by dataclass
    return "" if doc is None or generated else inspect.cleandoc(doc)


def contract(owner: type, name: str) -> str:
    """The docstring of a method, from the nearest of our classes that has one; kernels implement `Kernel` by shape."""
    protocols = (Kernel,) if owner in {*PREDICTORS.values(), *CORRECTORS.values()} else ()
    for cls in (*owner.__mro__, *protocols):
        if cls.__module__.split(".")[0] in PACKAGES and (member := vars(cls).get(name)) is not None:
            doc = plain(member).__doc__
            if doc:
                return inspect.cleandoc(doc)
    return ""


def plain(member):
    """The function under a property, a classmethod or a decorator."""
    member = getattr(member, "fget", None) or getattr(member, "__func__", member)
    return inspect.unwrap(member)


def methods_of(cls: type) -> dict[str, object]:
    kinds = (property, classmethod, staticmethod)
    return {
        name: plain(member)
        for name, member in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds))
    }


def described(name: str, thing) -> list[Target]:
    """The targets of a class or function: itself and its public methods; nothing for constants and type aliases."""
    if isinstance(thing, type):
        methods = methods_of(thing).items()
        return [Target(name, thing, own_doc(thing))] + [
            Target(f"{name}.{m}", function, contract(thing, m), thing) for m, function in methods
        ]
    return [Target(name, inspect.unwrap(thing), own_doc(thing))] if inspect.isfunction(thing) else []


def public_names() -> dict[str, object]:
    """name -> thing, of what packages export, modules define and registries hold; each thing once."""
    found: dict[str, object] = {}
    for package in map(importlib.import_module, PACKAGES):
        names = getattr(package, "__all__", [n for n in vars(package) if not n.startswith("_")])
        found |= {f"{package.__name__}.{name}": getattr(package, name) for name in names}
    for module in map(importlib.import_module, MODULES):
        mine = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
        found |= {f"{module.__name__}.{name}": value for name, value in mine.items() if not name.startswith("_")}
    for registry, entries in REGISTRIES.items():
        found |= {f"{registry}[{name}]": value for name, value in entries.items()}
    first = {id(thing): name for name, thing in reversed(found.items())}
    return {name: found[name] for name in reversed(first.values())}


TARGETS = {t.name: t for name, thing in public_names().items() for t in described(name, thing)}
# a private entry of a registry is called as the registry's type alias says
EXPLAINED = {n: t for n, t in TARGETS.items() if t.owner is None and not t.thing.__name__.startswith("_")}


def parts_of(doc: str) -> list[str]:
    """The parts of a docstring in the order in which they stand. "Args:" is an older title of "Arguments:"."""
    return [
        m.replace("Args", "Arguments") for m in re.findall(r"^ *(\w+):", doc, re.MULTILINE) if m in (*PARTS, "Args")
    ]


def errors_of(function) -> set[str]:
    """The errors that a function's own body raises; functions inside it run later and speak for themselves."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # made by dataclass
        return set()
    (body,) = tree.body
    raised, queue = set(), list(ast.iter_child_nodes(body))
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            raised |= {error.id} if isinstance(error, ast.Name) else set()
        queue += ast.iter_child_nodes(node)
    return raised & ERRORS


def raised_by(thing) -> set[str]:
    if not isinstance(thing, type):
        return errors_of(thing)
    if getattr(thing, "_is_protocol", False):  # its constructor is typing's
        return set()
    constructors = [plain(vars(thing)[name]) for name in CONSTRUCTORS if name in vars(thing)]
    return set().union(*map(errors_of, constructors))


def parameters_of(thing) -> dict[str, str]:
    """name -> annotation as a text; of a class, what its constructor takes."""
    if isinstance(thing, type) and ("__init__" not in vars(thing) or getattr(thing, "_is_protocol", False)):
        return {}
    function = vars(thing)["__init__"] if isinstance(thing, type) else thing
    parameters = inspect.signature(function).parameters
    return {
        n: str(p.annotation) for n, p in parameters.items() if n not in ("self", "cls") and p.kind is not p.VAR_KEYWORD
    }


@pytest.mark.parametrize("name", TARGETS)
def test_it_says_what_it_is(name):
    summary = TARGETS[name].doc.split("\n")[0]
    assert summary, f"{name} has no docstring"
    assert not parts_of(summary), f"{name}: the summary comes first, found {summary!r}"


@pytest.mark.parametrize("name", TARGETS)
def test_parts_come_in_order(name):
    parts = parts_of(TARGETS[name].doc)
    assert parts == sorted(set(parts), key=PARTS.index)


@pytest.mark.parametrize("name", [name for name, t in TARGETS.items() if raised_by(t.thing)])
def test_it_states_its_errors(name):
    target = TARGETS[name]
    assert "Raises" in parts_of(target.around), f"{name} raises {raised_by(target.thing)}"


@pytest.mark.parametrize("name", [n for n, t in EXPLAINED.items() if parameters_of(t.thing)])
def test_it_explains_its_arguments(name):
    """A part for them; of classes, and of functions that no package exports, it is enough to name each."""
    target, parameters = TARGETS[name], parameters_of(TARGETS[name].thing)
    if {"Arguments", "Attributes"} & set(parts_of(target.doc)):
        return
    exported = name.count(".") == 1 and inspect.isfunction(target.thing)
    unnamed = [p for p in parameters if not re.search(rf"\b{p}\b", target.doc)]
    assert not exported and not unnamed, (
        f"{name} has no part 'Arguments:'; parameters {list(parameters)}, unnamed {unnamed}"
    )


@pytest.mark.parametrize(
    "name", [n for n, t in TARGETS.items() if any("Tensor" in a for a in parameters_of(t.thing).values())]
)
def test_tensors_have_shapes(name):
    assert SHAPE.search(TARGETS[name].around), f"{name} takes tensors of unstated shape"


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(thing, id=f"{registry}[{name}]")
        for registry in ("PREDICTORS", "CORRECTORS", "GRIDS", "GUIDANCES", "SDES", "WEIGHTS", "PREDICTIONS")
        for name, thing in REGISTRIES[registry].items()
    ],
)
def test_it_names_its_source(thing):
    assert YEAR.search(own_doc(thing)), f"no paper and year: {own_doc(thing)!r}"


@pytest.mark.parametrize("name", METHODS)
def test_methods_cite(name):
    assert YEAR.search(METHODS[name].citation) and "unconditional" not in METHODS[name].needs


def test_these_checks_see_what_is_wrong():
    def wrong(x):
        if x:
            raise ValueError

        def later():
            raise TypeError

        return later

    assert errors_of(wrong) == {"ValueError"}
    assert parts_of("What.\n\nRaises: A.\nSource: B 2020.\n  Args:\nraises: no") == ["Raises", "Source", "Arguments"]
    assert own_doc(dataclass(type("Bare", (), {}))) == ""
    assert SHAPE.search("x (N, *E)") and SHAPE.search("(*M)") and not SHAPE.search("x (a tensor)")
