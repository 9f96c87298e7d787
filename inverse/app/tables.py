"""Tables on a terminal."""

from rich.table import Table

from priors.terminal import console, printable


def print_table(title: str, rows: list[dict[str, str]]) -> None:
    """Print rows of strings; the keys of the first row are the headings."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ("nothing here",):
        table.add_column(name)
    for row in rows:
        table.add_row(*map(printable, row.values()))
    console.print(table)
