"""The rows as a table that fits a page: what differs in columns, what is the same in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mirrorflow.runs.report.markup import code, escaped, number, table

if TYPE_CHECKING:
    import pandas

__all__ = ["failures", "rows_table", "same_in_all"]

MOST_ROWS = 300
MOST_COLUMNS = 120
MOST_CELLS = 20_000
MESSAGES = 5  # different ones
LONGEST_CELL = 60  # characters
LONGEST_MESSAGE = 4000


def failures(failed: pandas.DataFrame) -> str:
    """How many runs failed, with the first of each kind of message."""
    if failed.empty:
        return ""
    groups = failed.groupby("message", sort=False, dropna=False)["attempts"].agg(["size", "max"])
    parts: list[str] = []
    for message, (count, attempts) in zip(groups.index, groups.to_numpy(), strict=True):
        if len(parts) == MESSAGES:
            parts.append(f"<p>… and {len(groups) - MESSAGES} other messages, in the rows.</p>")
            break
        runs = "1 run" if count == 1 else f"{count} runs"
        tries = "1 attempt" if attempts == 1 else f"{int(attempts)} attempts"
        text = str(message)[-LONGEST_MESSAGE:]  # a traceback ends with what was raised
        parts.append(f"<p>{runs}, after {tries}:</p>{code(text)}")
    return "\n".join(parts)


def rows_table(rows: pandas.DataFrame, failed: pandas.DataFrame) -> tuple[str, str]:
    """The table, failed runs first, and a sentence on what it leaves out.

    A certificate's `NAME`, `NAME_bound` and `NAME_holds` share a column; ✗ marks what exceeds its
    bound.
    """
    import pandas

    everything = pandas.concat([failed, rows]) if len(failed) else rows
    names = [name for name in _differing(everything) if not _of_certificate(name, everything)]
    shown = names[:MOST_COLUMNS]
    count = min(len(everything), MOST_ROWS, max(MOST_CELLS // max(len(shown), 1), 1))
    some = everything.iloc[:count]
    if not shown:
        return "", f"{len(everything)} rows."
    units = rows.attrs.get("units", {})
    columns = [_column(name, some) for name in shown]
    numeric = [pandas.api.types.is_numeric_dtype(some[name].dtype) for name in shown]
    headings = [_heading(name, units.get(name)) for name in shown]
    cells = list(zip(*columns, strict=True))
    said = (
        f"{len(everything)} rows"
        if count == len(everything)
        else (f"The first {count} of {len(everything)} rows")
    )
    if len(shown) < len(names):
        said += f", {len(shown)} of {len(names)} columns"
    if count < len(everything) or len(shown) < len(names):
        said += "; rows.parquet holds the rest"
    return table(headings, cells, numeric, "Rows"), f"{said}."


def same_in_all(rows: pandas.DataFrame) -> list[tuple[str, Any, str]]:
    """Name, value and unit of each column whose entries are all the same."""
    units = rows.attrs.get("units", {})
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


def _heading(name: str, unit: str | None) -> str:
    words = escaped(name, LONGEST_CELL).replace("_", "_<wbr>")
    return words + (f" <small>{escaped(unit, LONGEST_CELL)}</small>" if unit else "")


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
    return escaped(value, LONGEST_CELL)
