"""A stranger's package, installed: a module and a .dist-info folder on sys.path."""

import sys
import warnings

import pytest
import torch

import operators
from operators import registry

SOURCE = '''
import torch
from operators import LinearOperator


class Upside(LinearOperator):
    """The picture upside down, with a gain per measurement."""

    def __init__(self, gain=1.0, noise=None):
        super().__init__(noise)
        self.batched_buffer("gain", gain, event_ndim=0)

    def forward(self, x):
        return self.aligned("gain", x) * x.flip(-2)
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    monkeypatch.setattr(registry, "_visited", set())
    monkeypatch.syspath_prepend(tmp_path)

    def package(name, source, entry_points):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[inverse.operators]\n{entry_points}\n")

    yield package
    for module in ("strangers_package", "broken_package"):
        sys.modules.pop(module, None)


def test_a_plugin_is_found_made_and_sound(install):
    assert "upside" not in operators.available()
    install("strangers_package", SOURCE, "upside = strangers_package:Upside")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "upside" in operators.available() and "masking" in operators.available()
    op = operators.make("upside", gain=torch.tensor([1.0, 2.0]), noise=operators.GaussianNoise(0.1))
    report = operators.check(op, (2, 4, 3))
    assert report["adjoint"] < 1e-5 and report["pinv"] < 1e-3
    x = torch.arange(12.0).reshape(1, 1, 4, 3)
    torch.testing.assert_close(op.rows(torch.tensor([1]))(x), 2 * x.flip(-2))


@pytest.mark.parametrize(
    ("source", "entry_points", "why"),
    [
        ("import no_such_module", "bad = broken_package:Bad", "ModuleNotFoundError"),
        ("", "bad = broken_package:Bad", "AttributeError"),
        ("Bad = 3", "bad = broken_package:Bad", "expected a class or function"),
        ("def blur(): ...", "blur = broken_package:blur", "already used"),
    ],
)
def test_a_broken_plugin_takes_nothing_down(install, source, entry_points, why):
    install("broken_package", source, entry_points)
    install("strangers_package", SOURCE, "upside = strangers_package:Upside")
    with pytest.warns(UserWarning, match=f"broken_package.*{why}"):
        names = operators.available()
    assert {"upside", "masking", "blur"} <= set(names) and "bad" not in names
    assert operators.get("blur") is operators.Blur
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # warned once
        operators.available()
