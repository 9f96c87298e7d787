"""Shared by all command lines: user errors in one line, warnings in one line each, text without markup."""

import warnings
from contextlib import ContextDecorator
from typing import Any

import typer
from rich.console import Console

console = Console(markup=False, highlight=False, emoji=False)  # paths and names may look like markup
MENDABLE = (ValueError, TypeError, OSError, ArithmeticError)


class explained(ContextDecorator):
    """Turn user errors into one line and exit status 2, and warnings into one line each.

    Raises: typer.Exit in place of an error of `MENDABLE`.
    """

    def __enter__(self):
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.showwarning = _caution
        return self

    def __exit__(self, kind, error, trace):
        self._caught.__exit__(kind, error, trace)
        if isinstance(error, MENDABLE):
            text = " ".join(str(error).split()) or type(error).__name__
            say(f"error: {text}", "red")
            raise typer.Exit(2) from error


def say(text: Any, style: str | None = None) -> None:
    """Print a line as it is, however long; style: of rich, such as "red"."""
    console.print(printable(str(text)), style=style, soft_wrap=True)


def printable(text: str) -> str:
    """Text without the control characters and invalid UTF-8 that file names may contain."""
    kept = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return kept.encode(errors="backslashreplace").decode()


def _caution(message: Warning | str, *about: Any) -> None:
    say(f"caution: {message}", "yellow")
