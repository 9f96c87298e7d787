"""Repositories on the Hugging Face hub that hold a checkpoint folder of ours, or a pipeline of diffusers."""

import sys
from pathlib import Path
from typing import Any

CARD, WEIGHTS, INDEX = "card.json", "weights.safetensors", "model_index.json"
PATTERNS = [CARD, WEIGHTS, "moments.safetensors", "samples.h5", INDEX]


def fetch(source: str) -> Path:
    """The folder of a repository: from the local cache, or downloaded with a notice on stderr. Of a pipeline only its
    index is fetched, by which it is known (`is_pipeline`).

    Arguments: source: "OWNER/NAME", or "OWNER/NAME@REVISION" for a branch, tag or commit; or a folder on disk.
    Raises: ValueError where huggingface_hub is not installed; FileNotFoundError where there is neither a folder nor a
    repository with a checkpoint or a pipeline, or the machine is offline.
    """
    if source and Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    name, _, revision = source.partition("@")
    if name.count("/") != 1 or name[0] in "./~" or name[-1] == "/":
        raise FileNotFoundError(
            f"no folder at {source!r}: expected one, or OWNER/NAME or OWNER/NAME@REVISION on the Hugging Face hub"
        )
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError(
            "source 'hf:...' needs the package huggingface_hub: install score-inverse[diffusers], or give a folder"
        ) from None
    download: Any = huggingface_hub.snapshot_download
    options = {"repo_id": name, "revision": revision or None, "allow_patterns": PATTERNS}
    try:
        folder = Path(download(**options, local_files_only=True))
    except Exception:  # not there yet; the package has errors of its own for it
        folder = None
    if folder is None or not (is_checkpoint(folder) or is_pipeline(folder)):
        print(f"hf: downloading {source} from the Hugging Face hub", file=sys.stderr)
        try:
            folder = Path(download(**options))
        except Exception as error:  # the network stack may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FileNotFoundError(
                f"neither a folder {source!r} here nor a repository of that name in the cache or on the hub "
                f"({reason}); check the name, go online, or give the folder of a copy"
            ) from None
    return folder


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder has a card and weights, as `priors.save_pretrained` writes them."""
    return (folder / CARD).exists() and (folder / WEIGHTS).exists()


def is_pipeline(folder: Path) -> bool:
    """Whether a folder has the index of a pipeline of diffusers."""
    return (folder / INDEX).exists()
