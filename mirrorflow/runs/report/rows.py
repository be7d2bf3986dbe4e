"""The rows as a table that fits a page: what differs in columns, what is the same in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mirrorflow.runs.report.text import number, plain

if TYPE_CHECKING:
    import pandas

__all__ = ["failures", "rows_table", "same_in_all"]

MOST_ROWS = 300
MOST_COLUMNS = 120
MOST_CELLS = 20_000
MESSAGES = 5  # different ones
LONGEST_CELL = 60  # characters
LONGEST_MESSAGE = 4000


class Failures(NamedTuple):
    """The first kinds: message, number of runs, most attempts; and how many other kinds."""

    first: list[tuple[str, int, int]]
    more: int


class Column(NamedTuple):
    """The head of a column."""

    name: str
    unit: str | None
    numeric: bool


class Table(NamedTuple):
    """A sentence on what the table leaves out, its columns and its cells, row by row."""

    about: str
    columns: list[Column]
    cells: list[tuple[str, ...]]


def failures(failed: pandas.DataFrame) -> Failures:
    """How many runs failed, with the first of each kind of message."""
    if failed.empty:
        return Failures([], 0)
    groups = failed.groupby("message", sort=False, dropna=False)["attempts"].agg(["size", "max"])
    # a traceback ends with what was raised
    messages = [str(message)[-LONGEST_MESSAGE:] for message in groups.index]
    first = list(zip(messages, groups["size"], groups["max"], strict=True))[:MESSAGES]
    return Failures(first, len(groups) - len(first))


def rows_table(rows: pandas.DataFrame, failed: pandas.DataFrame) -> Table:
    """The table, failed runs first.

    A certificate's `NAME`, `NAME_bound` and `NAME_holds` share a column; ✗ marks what exceeds its
    bound.
    """
    import pandas

    everything = pandas.concat([failed, rows]) if len(failed) else rows
    if everything.empty:
        return Table("No run has finished.", [], [])
    names = [name for name in _differing(everything) if not _of_certificate(name, everything)]
    visible = names[:MOST_COLUMNS]
    count = min(len(everything), MOST_ROWS, max(MOST_CELLS // max(len(visible), 1), 1))
    if not visible:
        return Table(f"{len(everything)} rows.", [], [])
    some, units = everything.iloc[:count], rows.attrs["units"]
    numeric = pandas.api.types.is_numeric_dtype
    columns = [Column(name, units.get(name), numeric(some[name].dtype)) for name in visible]
    about = f"{len(everything)} rows"
    if count < len(everything):
        about = f"The first {count} of {about}"
    if len(visible) < len(names):
        about += f", {len(visible)} of {len(names)} columns"
    if count < len(everything) or len(visible) < len(names):
        about += "; rows.parquet holds the rest"
    cells = list(zip(*(_column(name, some) for name in visible), strict=True))
    return Table(f"{about}.", columns, cells)


def same_in_all(rows: pandas.DataFrame) -> list[tuple[str, Any, str]]:
    """Name, value and unit of each column whose entries are all the same."""
    units = rows.attrs["units"]
    differing = set(_differing(rows))
    return [
        (str(name), rows[name].iloc[0], units.get(name, ""))
        for name in rows.columns[: 4 * MOST_COLUMNS]
        if name not in differing and len(rows) and not rows[name].isna().all()
    ]


def _differing(frame: pandas.DataFrame) -> list[str]:
    return [str(name) for name in frame if frame[name].nunique(dropna=False) > 1]


def _of_certificate(name: str, frame: pandas.DataFrame) -> bool:
    stem, _, last = name.rpartition("_")
    return last in ("bound", "holds") and stem in frame and f"{stem}_holds" in frame


def _column(name: str, frame: pandas.DataFrame) -> list[str]:
    cells = [_cell(value) for value in _values(frame[name])]
    if f"{name}_holds" not in frame:
        return cells
    holds = _values(frame[f"{name}_holds"])
    return [f"✗ {c}" if h is False else c for c, h in zip(cells, holds, strict=True)]


def _values(column: pandas.Series) -> list[Any]:
    missing = column.isna()
    return [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value, ".4g")
    return plain(value, LONGEST_CELL)
