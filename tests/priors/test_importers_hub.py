"""`hf:` with the hub in a function: nothing is downloaded."""

import sys

import pytest
import torch

import priors
from priors.formats import FORMATS
from priors.importers import hub
from tests.priors.cases import draws, score_prior

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def ours(tmp_path):
    """A folder as `save_pretrained` writes it, and its prior."""
    prior = score_prior()
    priors.save_pretrained(prior, tmp_path / "ours", data="none", licence="CC0-1.0")
    return tmp_path / "ours", prior


def stand_in(monkeypatch, local, network):
    """The hub as two functions, without arguments, of a folder; what it was asked is returned."""
    asked = []

    def download(repo_id, revision, allow_patterns, local_files_only=False):
        asked.append(("cache" if local_files_only else "network", repo_id, revision))
        assert {"card.json", "weights.safetensors", "model_index.json"} <= set(allow_patterns)
        return str((local if local_files_only else network)())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def refuse():
    raise ConnectionError("no route to host\nand more")


def test_a_repository_of_ours(ours, monkeypatch, capsys):
    folder, prior = ours
    asked = stand_in(monkeypatch, refuse, lambda: folder)
    found, x = priors.load("hf:owner/name@v1"), draws(2, 1, 8, 8).float()
    assert torch.equal(found.denoise(x, 0.5), prior.denoise(x, 0.5))
    assert asked == [("cache", "owner/name", "v1"), ("network", "owner/name", "v1")]
    assert "downloading owner/name@v1 from the Hugging Face hub" in capsys.readouterr().err


def test_what_is_in_the_cache_is_not_downloaded(ours, monkeypatch, capsys):
    asked = stand_in(monkeypatch, lambda: ours[0], refuse)
    assert priors.load("hf:owner/name").event_shape == (1, 8, 8)
    assert asked == [("cache", "owner/name", None)] and capsys.readouterr().err == ""


def test_a_cache_with_a_part_of_it_is_completed(ours, tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "card.json").write_text("{}")
    asked = stand_in(monkeypatch, lambda: tmp_path / "part", lambda: ours[0])
    assert priors.load("hf:owner/name").event_shape == (1, 8, 8) and len(asked) == 2


def test_a_folder(ours):
    assert priors.load(f"hf:{ours[0]}").event_shape == (1, 8, 8)


def test_a_pipeline_goes_to_diffusers(tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text("{}")
    stand_in(monkeypatch, lambda: tmp_path, refuse)
    monkeypatch.setattr("priors.formats.diffusers.load", lambda source: score_prior() if source == "a/b@c" else None)
    assert priors.load("hf:a/b@c").event_shape == (1, 8, 8)


def test_offline(monkeypatch):
    stand_in(monkeypatch, refuse, refuse)
    with pytest.raises(FileNotFoundError, match=r"ConnectionError: no route to host\); check the name, go online, or"):
        priors.load("hf:owner/name")


def test_a_repository_of_something_else(tmp_path, monkeypatch):
    stand_in(monkeypatch, refuse, lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected card.json and weights.safetensors"):
        priors.load("hf:owner/name")


@pytest.mark.parametrize("source", ["", "name", "a/b/c", "./none", "owner/", "/no/such"])
def test_no_name_of_a_repository(source):
    with pytest.raises(FileNotFoundError, match="expected one, or OWNER/NAME or OWNER/NAME@REVISION"):
        hub.fetch(source)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"needs the package huggingface_hub: install score-inverse\[diffusers\]"):
        priors.load("hf:owner/name")


class TestFormats:
    def test_the_documentation_has_them_all(self, request):
        text = (request.config.rootpath / "docs" / "priors.md").read_text()
        assert [name for name in FORMATS if f"`{name}:" not in text] == []

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_missing_file_is_named(self, tmp_path, name):
        config = {"score_sde": "cifar10/vp/ddpm"}.get(name)
        with pytest.raises(FileNotFoundError, match="nothing"):
            priors.load(f"{name}:{tmp_path}/nothing", config=config)

    @pytest.mark.parametrize("name", sorted(name for name in FORMATS if "config" not in FORMATS[name].options))
    def test_a_config_that_is_not_asked_for(self, name):
        with pytest.raises(ValueError, match=r"only .*'guided-diffusion'.* take it"):
            priors.load(f"{name}:x", config="ffhq-256")

    def test_an_unknown_format_is_a_path(self):
        with pytest.raises(FileNotFoundError, match=r"no prior 'pickle:x'.*'natural'.*FORMAT:WHERE.*'edm'"):
            priors.load("pickle:x")

    def test_a_file_without_its_format(self, tmp_path):
        (tmp_path / "weights.pth").write_bytes(b"weights")
        with pytest.raises(ValueError, match=r"weights\.pth' is a file: name its format.*'guided-diffusion'"):
            priors.load(tmp_path / "weights.pth")

    @pytest.mark.parametrize("name", ["guided_diffusion", "guided-diffusion"])
    def test_a_format_is_spelled_either_way(self, name, tmp_path):
        with pytest.raises(FileNotFoundError, match="no guided-diffusion state dict"):
            priors.load(f"{name}:{tmp_path}/nothing.pt")
