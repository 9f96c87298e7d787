"""Hooks of mkdocs: the site also shows files outside docs/: tables, notebooks, examples.

A page links to a file of the repository, as it does on GitHub; here the file becomes a page, and the link leads to it.
"""

import json
import re
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.structure.files import File

import inverse

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")
SHOWN = ("benchmarks/results/**/*.md", "benchmarks/results/**/*.png", "examples/**/*.py", "examples/*.ipynb")
MORE = ("CONTRIBUTING.md", "CHANGELOG.md", "priors/shipped/*/card.json", "priors/configs/*.toml")
FOLDERS = {"priors/configs": "training.md", "examples": "notebooks.md", "benchmarks/results": "results.md"}
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}


def page_of(path: str) -> str:
    """The place on the site of a file of the repository."""
    inside = path.removeprefix("docs/")
    return path if inside == path and path.endswith((".md", ".png")) else inside if inside != path else f"{path}.md"


def notebook(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and the pictures and texts that it stores."""
    out = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        out.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                out.append(f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                out.append(f"```text\n{text}\n```")
    return "\n\n".join(out)


def content(path: Path) -> str | bytes:
    """What the site shows of a file."""
    if path.suffix == ".ipynb":
        return notebook(path)
    if path.suffix in LANGUAGES:
        return f"# {path.name}\n\n```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n"
    if path.suffix == ".png":
        return path.read_bytes()
    wide = "---\nhide: [toc]\n---\n" if path.parts[-2] != ROOT.name else ""  # tables of results
    return wide + path.read_text()


def on_config(config):
    """The version that the pages are of, at the foot of each."""
    config.copyright = f"score-inverse {inverse.__version__}, Apache-2.0"
    return config


def on_files(files, config):
    for pattern in (*SHOWN, *MORE):
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, page_of(name), content=content(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    source = here if files.get_file_from_path(here).generated_by else f"docs/{here}"  # its place in the repository
    source = source.removesuffix(".md") if not (ROOT / source).exists() else source

    def lead(match: re.Match) -> str:
        target = normpath(f"{source}/../{match[2]}").rstrip("/")
        found = FOLDERS.get(target) or page_of(target)
        if files.get_file_from_path(found) is None:
            return match[0]
        return match[1] + relpath(found, str(Path(here).parent))

    return LINK.sub(lead, markdown)
