"""Rows as a typed table: Arrow's types on disk, their pandas counterparts in memory.

| values of a column                 | dtype, where none is missing | where some are |
|------------------------------------|------------------------------|----------------|
| whole numbers                      | int64                        | Int64          |
| true and false                     | bool                         | boolean        |
| numbers                            | float64                      | float64, NaN   |
| text, or values of several kinds   | pandas' text                 | the same       |
| nothing at all                     | –                            | object, None   |

Each column's unit is kept in its field's metadata on disk and in `frame.attrs["units"]`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mirrorflow.runs.store.run import Row

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["as_frame", "as_table", "as_text", "split"]

WHOLE = range(-(2**63), 2**63)


def as_table(rows: Sequence[Row], units: Mapping[str, str]) -> pyarrow.Table:
    """A table of rows; a column that some rows lack is missing there.

    Parameters
    ----------
    rows : sequence of dict
        Of str, int, float, bool and None; anything else is kept as text.
    units : mapping of str to str
        Column and its unit. Columns that end in `_seconds` have one, "s".
    """
    import pyarrow

    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays, fields = [], []
    for name in names:
        array = _column([row.get(name) for row in rows])
        unit = units.get(name, "s" if name.endswith("_seconds") else None)
        metadata = None if unit is None else {"unit": unit}
        arrays.append(array)
        fields.append(pyarrow.field(as_text(name), array.type, metadata=metadata))
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))


def _column(values: list[Any]) -> pyarrow.Array:
    import pyarrow

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pyarrow.nulls(len(values))
    whole = kinds == {int} and all(value is None or value in WHOLE for value in values)
    if kinds == {bool} or whole:
        return pyarrow.array(values)
    if float in kinds and kinds <= {int, float}:
        with contextlib.suppress(OverflowError):  # a whole number beyond all floats stays text
            return pyarrow.array([None if value is None else float(value) for value in values])
    return pyarrow.array([None if value is None else as_text(value) for value in values])


def as_text(value: Any) -> str:
    """Text as it is, but for what UTF-8 can't say; anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()


def as_frame(table: pyarrow.Table) -> pandas.DataFrame:
    """The rows for pandas, with the dtypes of this module's table and `attrs["units"]`."""
    import pandas
    import pyarrow

    nullable: dict[Any, Any] = {
        pyarrow.int64(): pandas.Int64Dtype(),
        pyarrow.bool_(): pandas.BooleanDtype(),
    }
    gaps = [
        field.name
        for field, column in zip(table.schema, table.columns, strict=True)
        if field.type in nullable and column.null_count
    ]
    plain = table.drop_columns(gaps).to_pandas()
    if gaps:
        rest = table.select(gaps).to_pandas(types_mapper=nullable.get)
        plain = pandas.concat([plain, rest], axis=1)[table.column_names]
    plain.attrs["units"] = _units(table.schema)
    return plain


def _units(schema: pyarrow.Schema) -> dict[str, str]:
    metadata = {field.name: (field.metadata or {}).get(b"unit") for field in schema}
    return {name: unit.decode(errors="replace") for name, unit in metadata.items() if unit}


def split(frame: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Rows of runs that finished, and rows of runs that failed in every attempt.

    The first have no entry in `attempts`, and dtypes as if the second did not exist; a study may
    well have a status "failed" of its own among them.

    Parameters
    ----------
    frame : DataFrame
        Of `load`.

    Returns
    -------
    finished, failed : DataFrame

    Examples
    --------
    >>> import pandas
    >>> frame = pandas.DataFrame({"seed": [0, 1], "attempts": [None, 3]})
    >>> finished, failed = split(frame)
    >>> list(finished["seed"]), list(failed["seed"])
    ([0], [1])
    """
    if "attempts" not in frame:
        return frame, frame.iloc[:0]
    failed = frame["attempts"].notna()
    done = frame[~failed].drop(columns="attempts").reset_index(drop=True)
    plain = {"Int64": "int64", "boolean": "bool"}  # of nullable columns without a gap
    kinds = {name: plain.get(str(done[name].dtype)) for name in done if not done[name].hasnans}
    settled = done.astype({name: kind for name, kind in kinds.items() if kind})
    return settled, frame[failed].reset_index(drop=True)
