"""Docstrings of the API pages: their parts ("Formula:", "Arguments:", ...) as Markdown with bold titles."""

import re

import griffe

PARTS = ("Formula", "Source", "Arguments", "Attributes", "Keys", "Returns", "Raises", "Warns")
PART = re.compile(rf"^({'|'.join(PARTS)}): ?", re.MULTILINE)
LISTS = ("Arguments", "Attributes")


def escaped(text: str) -> str:
    """Text in which asterisks (shapes such as (N, *E)) and "<" are not Markdown, except in code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("*", r"\*").replace("<", "&lt;") for p in pieces)


def entries(text: str, names: frozenset[str] | set[str]) -> list[str]:
    """The entries of a list "a (int); b: what (c; d). Default 1", one per argument; all of ``names`` begin one.

    Semicolons and full stops outside brackets separate entries where a name follows; without names semicolons do.
    """
    found, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        following = re.match(r"\s+(\w+)", text[i + 1 :])
        named = following is not None and following[1] in names
        if depth <= 0 and ((letter == ";" and (named or not names)) or (letter == "." and named)):
            found.append(text[start:i])
            start = i + 1
    return [" ".join(entry.split()) for entry in (*found, text[start:]) if entry.strip()]


def markdown(doc: str, names: frozenset[str] | set[str] = frozenset()) -> str:
    """A docstring as Markdown: its parts in bold, arguments, of these ``names``, as a list."""
    parts = PART.split(doc)
    out = [escaped(parts[0].strip())]
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        text = escaped(text.strip())
        if title in LISTS:
            lines = (re.sub(r"^(\w+)", r"`\1`", entry) for entry in entries(text, names))
            out.append(f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines))
        else:
            out.append(f"**{title}.** {text}")
    return "\n\n".join(out)


def names_of(obj: griffe.Object) -> set[str]:
    """The parameters of a function; of a class those of its constructor, and its attributes."""
    if isinstance(obj, griffe.Function):
        return {parameter.name for parameter in obj.parameters}
    if isinstance(obj, griffe.Class):
        init = obj.members.get("__init__")
        attributes = {name for name, member in obj.members.items() if member.is_attribute}
        return attributes | (names_of(init) if isinstance(init, griffe.Function) else set())
    return set()


class Parts(griffe.Extension):
    """Rewrites every docstring that mkdocstrings shows."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value, names_of(obj))
