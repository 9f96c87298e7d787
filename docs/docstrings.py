"""Docstrings of the API pages: their parts ("Formula:", "Arguments:", ...) as Markdown with bold titles."""

import re

import griffe

PARTS = ("Formula", "Source", "Arguments", "Attributes", "Keys", "Returns", "Raises", "Warns")
PART = re.compile(rf"^({'|'.join(PARTS)}): ?", re.MULTILINE)
LISTS = ("Arguments", "Attributes")


def escaped(text: str) -> str:
    """Text in which asterisks (shapes such as (N, *E)) and "<" are no Markdown, but for code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("*", r"\*").replace("<", "&lt;") for p in pieces)


def entries(text: str) -> list[str]:
    """The entries of a list "a (int); b: what (c; d)", which semicolons outside brackets separate."""
    found, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == ";" and depth <= 0:
            found.append(text[start:i])
            start = i + 1
    return [" ".join(entry.split()) for entry in (*found, text[start:]) if entry.strip()]


def markdown(doc: str) -> str:
    """A docstring as Markdown: its parts in bold, arguments as a list."""
    parts = PART.split(doc)
    out = [escaped(parts[0].strip())]
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        text = escaped(text.strip())
        if title in LISTS:
            lines = (re.sub(r"^(\w+)", r"`\1`", entry) for entry in entries(text))
            out.append(f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines))
        else:
            out.append(f"**{title}.** {text}")
    return "\n\n".join(out)


class Parts(griffe.Extension):
    """Rewrites every docstring that mkdocstrings shows."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
