"""What is imported when: a help text needs no torch, and packages import their names on first use."""

import ast
import inspect
import pickle
import subprocess
import sys
from importlib import import_module

import pytest
import typer.main
from typer.core import TyperGroup

import inverse
import priors
from benchmarks.cli import app as bench
from inverse.app.cli import app
from priors.cli import app as train
from priors.packing import app as pack

MODULES = {"inverse.app.cli": app, "benchmarks.cli": bench, "priors.cli": train, "priors.packing": pack}
LAZY = [inverse, priors]


def lines(module):
    """The command line of a module and, of a group, each of its commands but those of `inverse-bench run`."""
    command = typer.main.get_command(MODULES[module])
    return [[], *([name] for name in (command.commands if isinstance(command, TyperGroup) else {}) if name != "run")]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("module", MODULES)
def test_help_texts_import_no_torch(module):
    """One process for all commands of a module: what one of them imports stays."""
    code = f"""if True:
        import sys
        from typer.testing import CliRunner
        from {module} import app
        for line in {lines(module)}:
            result = CliRunner().invoke(app, [*line, "--help"])
            assert result.exit_code == 0 and "Usage" in result.output, (line, result.output)
        print(*({{"torch", "numpy", "h5py", "operators"}} & set(sys.modules)))"""
    assert run(code) == []


def test_a_missing_file_is_told_without_torch():
    """Of each command that reads one: the message is that of the reader, in a tenth of the time."""
    operator = ["--operator", "masking"]
    lines = [
        ["solve", "none.png", *operator],
        ["solve", "none.npy", *operator, "--measured"],
        ["batch", "none.h5", *operator, "--out", "o.h5"],
        ["learn", "none.h5", *operator, "--out", "o"],
        ["likelihood", "none.png"],
        ["scan", "none.h5"],
    ]
    code = f"""if True:
        import sys
        from typer.testing import CliRunner
        from inverse.app.cli import app
        for line in {lines}:
            result = CliRunner().invoke(app, line)
            assert result.exit_code == 2 and f"at {{line[1]}}" in result.output, (line, result.output)
            assert result.output.startswith("error: no ")
        print(*({{"torch", "numpy", "h5py", "operators"}} & set(sys.modules)))"""
    assert run(code) == []


def test_importing_inverse_is_lazy():
    assert run("import sys, inverse, priors; print('torch' in sys.modules)") == ["False"]


@pytest.mark.parametrize("package", LAZY, ids=lambda p: p.__name__)
class TestLazyPackage:
    def test_names_are_those_that_type_checkers_see(self, package):
        (block,) = [n for n in ast.parse(inspect.getsource(package)).body if isinstance(n, ast.If)]
        seen = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
        assert sorted(seen) == sorted(package.__all__)
        for name, module in seen.items():
            assert getattr(package, name) is getattr(import_module(module), name)
        assert set(package.__all__) <= set(dir(package))

    def test_other_names_are_refused(self, package):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'absent'"):
            _ = package.absent
        with pytest.raises(ImportError, match="cannot import name 'absent'"):
            exec(f"from {package.__name__} import absent")

    def test_names_are_pickled(self, package):
        for name in package.__all__:
            if callable(thing := getattr(package, name)) and hasattr(thing, "__name__"):
                assert pickle.loads(pickle.dumps(thing)) is thing


FIRST = [
    "import inverse",
    "import inverse.plan, inverse.solve",
    "from inverse.plan import span; from inverse.solve import sample",
    "import inverse; inverse.methods; from inverse import plan; import inverse.solve as _",
    "from inverse import *; import inverse.plan, inverse.solve; import inverse",
]


@pytest.fixture(scope="module")
def hidden():
    """What each of `FIRST` finds, in one process: torch is imported once, our own modules anew for every line."""
    found = "print(callable(inverse.plan), callable(inverse.solve), inverse.plan is sys.modules['inverse.plan'].plan)"
    code = f"""if True:
        import sys, torch
        for first in {FIRST!r}:
            for name in [m for m in sys.modules if m.partition(".")[0] in ("inverse", "operators", "priors")]:
                del sys.modules[name]
            space = {{"sys": sys}}
            exec(first + "; import inverse", space)
            exec({found!r}, space)"""
    words = run(code)
    return {first: words[3 * i : 3 * i + 3] for i, first in enumerate(FIRST)}


@pytest.mark.parametrize("first", FIRST)
def test_functions_hide_the_modules_of_their_names(hidden, first):
    assert hidden[first] == ["True"] * 3
