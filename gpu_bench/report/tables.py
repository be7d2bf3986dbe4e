"""Tables that fit the console: what does not is left out or set below, and nothing is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

__all__ = ["INTERVAL", "print_table"]

INTERVAL = " ± 95 % confidence interval"  # of a title, where cells hold mean ± half width
FRAME = 3  # characters of a column beside its cells


def print_table(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    names: int = 1,
    remarks: Sequence[str] = (),
) -> None:
    """Print a table no wider than the console.

    Where it is too wide, first the half widths (± …) go, then names are wrapped between words, then
    the columns of numbers are set below each other, each time beside the names, which are the first
    `names` columns. A row without cells ends a section; remarks stand below, without empty ones.
    """
    needed = _total(_widths(headings, rows))
    if needed > console.width and any(" ± " in cell for row in rows for cell in row):
        rows = [[cell.partition(" ± ")[0] for cell in row] for row in rows]
        title = title.replace(INTERVAL, f" (its 95 % confidence interval needs {needed} columns)")
    widths = _widths(headings, rows)
    words = _widths(headings, rows, str.split)[:names]
    room = console.width - _total(words)
    blocks: list[list[int]] = [[]]
    for i in range(names, len(headings)):
        if blocks[-1] and sum(widths[k] + FRAME for k in [*blocks[-1], i]) > room:
            blocks.append([])
        blocks[-1].append(i)
    for block in blocks:
        table = Table(title_justify="left", caption_justify="left")
        table.title = title if block is blocks[0] else None
        table.caption = "\n".join(filter(None, remarks)) or None if block is blocks[-1] else None
        numbers = sum(widths[i] + FRAME for i in block)
        fitted = _wrapped(widths[:names], words, console.width - numbers - _total([0] * names))
        for i, width in enumerate(fitted):
            table.add_column(headings[i], width=width, overflow="fold")
        for i in block:
            table.add_column(headings[i], width=widths[i], justify="right", overflow="fold")
        for row in rows:
            if row:
                table.add_row(*row[:names], *(row[i] for i in block))
            else:
                table.add_section()
        console.print(table)


def _widths(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    parts: Callable[[str], list[str]] = str.splitlines,
) -> list[int]:
    """Return each column's longest line, or with `str.split` its longest word."""
    columns = zip(headings, *filter(None, rows), strict=True)
    return [max(cell_len(part) for cell in column for part in parts(cell)) for column in columns]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + FRAME * len(widths) + 1


def _wrapped(widths: Sequence[int], words: Sequence[int], room: int) -> list[int]:
    """Return widths of names that leave the widest first, down to their longest words."""
    fitted = list(widths)
    while sum(fitted) > room and fitted != list(words):
        i = max(range(len(fitted)), key=lambda i: fitted[i] - words[i])
        fitted[i] -= 1
    return fitted
