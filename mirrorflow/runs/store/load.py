"""Reading result folders, also those of strangers."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import Array, InputError
from mirrorflow.extras import require
from mirrorflow.runs.store.table import as_frame
from mirrorflow.runs.untrusted import LARGEST_FILE, read_arrays, read_bytes, read_parquet

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["load", "load_paths", "read_manifest"]

LARGEST_TABLE = 10**8  # entries, rows times columns; 100,000 rows of theorem23 are 10⁷
LARGEST_MANIFEST = 2**24  # bytes


def load(where: str | os.PathLike[str]) -> pandas.DataFrame:
    """The rows of one result folder, or of several.

    Parameters
    ----------
    where : path
        A folder, or a pattern of folders: "results/*", "runs/**/theorem23" (`**` stands for any
        folders in between). With a pattern the first column, `folder`, says where a row is from,
        folders come in alphabetical order, and those without rows.parquet are passed over.

    Returns
    -------
    DataFrame
        One row per run, or per reading of a run (`gpu_bench`). Whole numbers are int64, or Int64
        where some are missing; true and false bool or boolean; numbers float64 (NaN where
        missing); text pandas' own text dtype; a column without entries holds None. Where folders
        disagree on a column numbers become float64, and anything else text. Runs that failed have
        an entry in `attempts`; `split` takes them apart.

        `frame.attrs["units"]` maps columns to units: "s" for each that ends in `_seconds`, and
        what the study says. A column without a unit (a count, a seed, a ratio) is not there.

    Raises
    ------
    InputError
        If nothing matches, or if rows.parquet or manifest.json is missing, damaged, not of one
        pair, too large to be meant, or holds columns that are neither numbers nor text.

    Examples
    --------
    >>> frame = load("results/theorem23")  # doctest: +SKIP
    >>> frame.groupby("schedule")["distance_to_limit"].max()  # doctest: +SKIP
    >>> frame.attrs["units"]["t_end"]  # doctest: +SKIP
    'flow time'
    """
    require("mirrorflow.results.load", "pandas", "pyarrow")
    folder = Path(where)
    if folder.is_dir() or not glob.has_magic(str(where)):
        return as_frame(_table(folder, LARGEST_TABLE))
    matches = [Path(name) for name in sorted(glob.glob(str(where), recursive=True))]
    folders = [path for path in matches if (path / "rows.parquet").is_file()]
    if not folders:
        raise InputError(f"{where} must match result folders, but it matches none.")
    tables, remaining = [], LARGEST_TABLE
    for path in folders:
        tables.append(_table(path, remaining))
        remaining -= tables[-1].num_rows * tables[-1].num_columns
    return as_frame(_joined(folders, tables))


def load_paths(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a paths.npz, by name (KEY/NAME); no pickle.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict of str to array

    Raises
    ------
    InputError
        If the file is missing or damaged.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "paths.npz"
    >>> np.savez(path, x=np.ones(2))
    >>> load_paths(path)
    {'x': array([1., 1.])}
    """
    return read_arrays(path, every=True)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest.json of a result folder; nothing in it has been checked.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it is missing, too large or not a JSON object.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> _ = (folder / "manifest.json").write_text('{"study": "theorem23"}')
    >>> read_manifest(folder)
    {'study': 'theorem23'}
    """
    path = Path(folder) / "manifest.json"
    content = _content(path, LARGEST_MANIFEST)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable ({str(error)[:120]}).") from None
    if not isinstance(manifest, dict):
        raise InputError(f"{path} must hold a JSON object, but it holds none.")
    return manifest


def _content(path: Path, largest: int) -> bytes:
    try:
        return read_bytes(path, largest)
    except FileNotFoundError:
        raise InputError(f"{path.parent} holds no {path.name}; has its study finished?") from None


def _table(folder: Path, largest: int) -> pyarrow.Table:
    """The rows of a folder, at most `largest` entries."""
    path = folder / "rows.parquet"
    content = _content(path, LARGEST_FILE)
    noted = read_manifest(folder).get("sha256")
    expected = noted.get("rows.parquet") if isinstance(noted, dict) else None
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path} is not the file that manifest.json describes; it is damaged.")
    return read_parquet(content, path, largest)


def _joined(folders: Sequence[Path], tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """One table of all rows, the column `folder` first."""
    import pyarrow

    fields: dict[str, pyarrow.Field] = {}
    for field in (field for table in tables for field in table.schema):
        fields[field.name] = _common(fields.get(field.name, field), field)
    fields = {"folder": pyarrow.field("folder", pyarrow.string()), **fields}
    parts = []
    for folder, table in zip(folders, tables, strict=True):
        own = dict(zip(table.column_names, table.columns, strict=True))
        own["folder"] = pyarrow.array([str(folder)] * table.num_rows)
        nothing = pyarrow.nulls(table.num_rows)
        columns = [own.get(name, nothing).cast(field.type) for name, field in fields.items()]
        parts.append(pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields.values())))
    return pyarrow.concat_tables(parts)


def _common(one: pyarrow.Field, other: pyarrow.Field) -> pyarrow.Field:
    """A field for the values of both."""
    import pyarrow

    kinds = {one.type, other.type} - {pyarrow.null()}
    numbers = {pyarrow.int64(), pyarrow.float64()}
    if len(kinds) <= 1:
        kind = next(iter(kinds), pyarrow.null())
    else:
        kind = pyarrow.float64() if kinds == numbers else pyarrow.string()
    return pyarrow.field(one.name, kind, metadata=one.metadata or other.metadata)
