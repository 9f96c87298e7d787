"""The five laws and the arrows between rooms, read from the source."""

import ast
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from benchmarks.cli import EXPERIMENTS

ROOT = Path(__file__).parents[1]
PACKAGES = {  # package: those that it may import
    "priors": set(),
    "operators": set(),
    "inverse": {"priors", "operators"},
    "benchmarks": {"inverse", "priors", "operators"},
}
LEVELS = (  # inside `inverse`: a room imports from the levels above it in this list, never from its own or below
    {"types", "weights"},
    {"protocols", "solution"},
    {"grids", "predictors", "correctors", "gaussian"},
    {"guidance", "quality"},
    {"population"},
    {"engine"},
    {"methods"},
    {"auto", "costs"},
    {"solve", "examination"},
    {"plan"},
    {"app"},
    {"scans"},
)
APP = (  # inside `inverse.app`, likewise; files of one room may use each other
    {"files", "kspace"},
    {
        "budget", "deepinv", "devices", "early", "evidence", "figures", "mean", "noise_text",
        "options", "tables", "variants",
    },
    {"batch", "fastmri"},
    {"calibration", "learning"},
    {"raw", "reconstruction", "scan_noise", "scan_text"},
    {"demo", "page", "stack"},
    {"scan_page"},
    {"scan"},
    {"arguments"},
    {"operator_values"},
    {"operator_text"},
    {"measured"},
    {"photo_shape", "unknown_text"},
    {"operator_help", "photo", "series"},
    {"batching", "calibrating", "listings", "solve_text", "suspicions", "unconditional"},
    {"learn_file", "settled"},
    {"solving", "volumes"},
    {"batch_command", "calibrate_command", "learn_command", "volume_command"},
    {"cli"},
)  # fmt: skip
FLOORS = {"inverse": 20, "benchmarks": 8}  # package: files and folders with code that it may have at most
COMMANDS = {  # signatures of command lines, which import their work when a command runs: a help text needs no torch
    "inverse.app.batch_command",
    "inverse.app.calibrate_command",
    "inverse.app.cli",
    "inverse.app.learn_command",
    "inverse.app.volume_command",
    "priors.cli",
    "priors.packing",
    "benchmarks.commands",
}
BY_NAME = {  # files that import by a name in a text; nothing else may, where arrows could hide
    "priors.lazy",  # a package its own modules
    "benchmarks.cli",  # an experiment when it runs
    "benchmarks.suite.problems",  # a user's modules
    "benchmarks.peers.base",  # other toolkits
}
OPTIONAL = {
    "PIL", "astropy", "deepinv", "diffusers", "finufft", "huggingface_hub", "ismrmrd", "lpips", "matplotlib", "nibabel",
    "pydicom", "ray", "scipy", "skimage", "tifffile", "torchvision", "zarr",
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target``, a module as precisely as it is known; ``inside``: within a function; ``command``:
    at the top of a public function of the module, such as a command."""

    module: str
    target: str
    line: int
    inside: bool
    command: bool = False

    @property
    def place(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax of every file; not read where tests are only collected."""
    return {module: ast.parse(path.read_text()) for module, path in FILES.items()}


@cache
def imports() -> list[Import]:
    return [i for m, tree in trees().items() for i in imports_of(m, tree, FILES[m].name == "__init__.py")]


def statements(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node but expressions, which import nothing, and whether it is within a function."""
    yield tree, inside
    inside = inside or isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.expr):
            yield from statements(child, inside)


def imports_of(module: str, tree: ast.Module, is_package: bool) -> Iterator[Import]:
    """Every import, relative names resolved; ``from package import name`` is of package.name if that is a module."""
    public = [f for f in tree.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")]
    commands = {id(statement) for function in public for statement in function.body}
    for node, inside in statements(tree):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, node.module] if node.module else kept)
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in FILES else base for a in node.names]
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, inside, id(node) in commands)


def level(module: str, levels: tuple[set[str], ...] = LEVELS, package: str = "inverse") -> int:
    """The level of a module of a package; its root, which gathers all, stands under everything."""
    room = module.removeprefix(f"{package}.").split(".")[0] if module.startswith(f"{package}.") else ""
    return next((i for i, rooms in enumerate(levels) if room in rooms), len(levels))


def wrong_package(i: Import) -> bool:
    ours, theirs = i.module.split(".")[0], i.target.split(".")[0]
    return theirs == "tests" or (theirs in PACKAGES and theirs != ours and theirs not in PACKAGES[ours])


def wrong_level(i: Import) -> bool:
    if i.module.startswith("inverse.app") and i.target.startswith("inverse.app."):
        within = i.module.split(".")[:3] == i.target.split(".")[:3] and i.target.count(".") > 2
        return level(i.target, APP, "inverse.app") >= level(i.module, APP, "inverse.app") and not within
    room, theirs = i.module.split(".")[1:2], i.target.split(".")[1:2]
    within = room == theirs and i.target.count(".") > 1  # a package gathers its own files, which may use each other
    return level(i.target) >= level(i.module) and not within


def hidden(i: Import) -> bool:
    if i.module in COMMANDS and i.command:
        return False
    return i.inside and i.target.split(".")[0] not in OPTIONAL


def graph(imports: list[Import]) -> dict[str, set[str]]:
    return {module: {i.target for i in imports if i.module == module and i.target in FILES} for module in FILES}


def names_in(tree: ast.AST) -> set[str]:
    """Every identifier that a tree mentions: names, arguments, attributes, keywords."""
    found = set()
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name"):
            if isinstance(value := getattr(node, field, None), str):
                found |= set(value.split("."))
    return found


def rooms(*names: str) -> list[str]:
    """The modules of the rooms of `inverse`, of which there must be some."""
    found = [m for m in FILES if m.partition(".")[2].split(".")[0] in names and m.startswith("inverse.")]
    assert found, f"no files of {names}: was a room renamed?"
    return found


def test_packages_import_one_way():
    assert [i.place for i in imports() if wrong_package(i)] == []


def test_every_file_of_inverse_has_a_level():
    assert [m for m in FILES if m.startswith("inverse.") and level(m) == len(LEVELS)] == []
    assert [m for m in FILES if m.startswith("inverse.app.") and level(m, APP, "inverse.app") == len(APP)] == []


@pytest.mark.parametrize("package", FLOORS)
def test_floors_are_not_crowded(package):
    found = {m.split(".")[1] for m in FILES if m.startswith(f"{package}.")}
    assert len(found) <= FLOORS[package], sorted(found)


def test_rooms_of_inverse_import_one_way():
    within = [i for i in imports() if i.module.startswith("inverse.") and i.target.split(".")[0] == "inverse"]
    assert len(within) > 100
    assert [i.place for i in within if wrong_level(i)] == []


def test_the_engine_knows_abstractions_only():
    known = {i.target for i in imports() if i.module == "inverse.engine" and i.target.split(".")[0] in PACKAGES}
    assert known <= {"inverse.types", "inverse.protocols", "inverse.population"}


def test_imports_inside_functions_are_of_optional_packages_or_the_work_of_a_command():
    assert [i.place for i in imports() if hidden(i)] == []
    assert {i.module for i in imports() if i.command and i.module in COMMANDS} == COMMANDS


def test_few_files_import_by_name():
    assert {m for m in FILES if "import_module" in names_in(trees()[m])} == BY_NAME
    for place in EXPERIMENTS.values():
        module, function = place.split(":")
        assert function in {f.name for f in trees()[module].body if isinstance(f, ast.FunctionDef)}, place


def test_no_import_circles():
    try:
        TopologicalSorter(graph(imports())).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_priors_never_see_operators_but_where_the_posterior_is_exact():  # law 1
    allowed = {"priors.analytic", "priors.conditioning", "priors.empirical", "priors.empirical_posterior"}
    assert {m for m, tree in trees().items() if m.startswith("priors.") and "operator" in names_in(tree)} == allowed


def test_operators_never_see_time_but_a_noisy_likelihood():  # law 2
    seen = {
        function.name
        for module, tree in trees().items()
        if module.startswith("operators")
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        and {"t", "sde"} & {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    }
    assert seen == {"noisy_log_likelihood"}


def test_kernels_never_see_a_measurement():  # law 3
    for module in rooms("grids", "predictors", "correctors"):
        assert not names_in(trees()[module]) & {
            "y",
            "operator",
            "operators",
            "Operator",
            "likelihood",
            "log_likelihood",
        }, module


def integrators() -> set[str]:
    """What moves a state in time: the functions of the rooms that integrate flows, and the kernels."""
    rooms_of_flows = ("priors.ode", "priors.runge_kutta", "inverse.predictors")
    bodies = [node for module in rooms_of_flows for node in trees()[module].body]
    found = {node.name for node in bodies if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"}
    assert {"shoot", "heun_step", "decode", "Ancestral"} <= found
    return found | {"transition", "sample_terminal", "pairwise", "grid"}


def test_guidance_never_advances_time():  # law 4
    """But DAPS, whose estimate of x0 is where the flow from x_t ends: the state stays at t, and it is asked there."""
    seen = {module: names_in(trees()[module]) & integrators() for module in rooms("guidance")}
    assert {module: names for module, names in seen.items() if names} == {"inverse.guidance.daps": {"shoot"}}


def test_the_engine_never_branches_on_type():  # law 5
    tree = trees()["inverse.engine"]
    assert not names_in(tree) & {"isinstance", "issubclass", "type", "hasattr", "getattr", "callable", "__class__"}
    assert not any(isinstance(node, ast.Match | ast.Try) for node in ast.walk(tree))


def test_the_loop_stays_in_sight():
    tree = trees()["inverse.engine"]
    (run,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "run"]
    assert run.end_lineno is not None and run.end_lineno - run.lineno + 1 <= 60


@pytest.mark.parametrize("module", FILES)
def test_files_are_short(module):
    assert len(FILES[module].read_text().splitlines()) <= 300


def test_importing_is_light():
    code = f"import sys, inverse, priors, operators; print(*({OPTIONAL!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("priors.made_up", "import operators.noise", wrong_package),
        ("operators.made_up", "from inverse.types import State", wrong_package),
        ("inverse.made_up", "import benchmarks", wrong_package),
        ("inverse.types", "from .protocols import Kernel", wrong_level),
        ("inverse.predictors", "from inverse import correctors", wrong_level),
        ("inverse.grids", "from inverse.guidance.dps import DPS", wrong_level),
        ("inverse.guidance.dps", "from ..population import Independent", wrong_level),
        ("inverse.engine", "import inverse", wrong_level),
        ("inverse.solve", "def f():\n    from inverse.types import State", hidden),
        ("inverse.solve", "class A:\n    def f(self):\n        import json", hidden),
        ("inverse.app.cli", "def _f():\n    from inverse.app import demo", hidden),
        ("inverse.app.cli", "def f():\n    def g():\n        from inverse.app import demo", hidden),
    ],
)
def test_these_checks_see_a_wrong_arrow(module, source, wrong):
    found = list(imports_of(module, ast.parse(source), is_package=False))
    assert [wrong(i) for i in found] == [True]


def test_these_checks_see_a_circle():
    circle = [
        Import("inverse.types", "inverse.protocols", 1, False),
        Import("inverse.protocols", "inverse.types", 1, False),
    ]
    with pytest.raises(CycleError):
        TopologicalSorter(graph(circle)).prepare()


def test_contributing_shows_these_levels():
    arrows = "\n".join(" ".join(sorted(rooms)) for rooms in LEVELS)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert f"```text\n{arrows}\n```" in text, f"CONTRIBUTING.md should have these lines:\n{arrows}"


def test_the_drawing_of_rooms_is_that_of_the_source():
    """Remake it by `python docs/rooms.py`."""
    drawing = runpy.run_path(str(ROOT / "docs/rooms.py"))["drawing"]()
    assert drawing == (ROOT / "docs/rooms.svg").read_text()
