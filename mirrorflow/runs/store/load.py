"""Reading result folders, also those of strangers."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import Array, InputError
from mirrorflow.extras import require
from mirrorflow.runs.store.table import as_frame
from mirrorflow.runs.untrusted import read_arrays

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["load", "load_paths", "read_manifest"]

LARGEST_FILE = 2**30  # bytes, of rows.parquet and of its pages
LARGEST_TABLE = 10**8  # entries, rows times columns; 100,000 rows of theorem23 are 10⁷
LARGEST_TEXT = 2**30  # bytes of text once it is read; short files can repeat a long one
LARGEST_MANIFEST = 2**24  # bytes
UNIT = 80  # characters


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
    found = [Path(name) for name in sorted(glob.glob(str(where), recursive=True))]
    folders = [path for path in found if (path / "rows.parquet").is_file()]
    if not folders:
        raise InputError(f"{where} must match result folders, but it matches none.")
    tables, left = [], LARGEST_TABLE
    for path in folders:
        tables.append(_table(path, left))
        left -= tables[-1].num_rows * tables[-1].num_columns
    return as_frame(_joined(folders, tables))


def load_paths(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a paths.npz, by name (KEY/NAME); no pickle.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    return read_arrays(path, every=True)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest.json of a result folder; nothing in it has been checked.

    Raises
    ------
    InputError
        If it is missing, too large or not a JSON object.
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
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise InputError(f"{path} must be a file, but it is none.")
        if about.st_size > largest:
            raise InputError(
                f"{path} must have at most {largest} bytes, but it has {about.st_size}."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path.parent} holds no {path.name}; has its study finished?") from None
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}).") from None


def _table(folder: Path, largest: int) -> pyarrow.Table:
    """The rows of a folder, at most `largest` entries."""
    path = folder / "rows.parquet"
    content = _content(path, LARGEST_FILE)
    noted = read_manifest(folder).get("sha256")
    expected = noted.get("rows.parquet") if isinstance(noted, dict) else None
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path} is not the file that manifest.json describes; it is damaged.")
    try:
        return _parsed(content, path, largest)
    except InputError:
        raise
    except Exception as error:  # a hostile pair of files: Parquet's readers raise anything
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is not a readable Parquet file ({said}).") from None


def _parsed(content: bytes, path: Path, largest: int) -> pyarrow.Table:
    import pyarrow
    from pyarrow import parquet

    file = parquet.ParquetFile(pyarrow.BufferReader(content))
    claimed, schema = file.metadata, file.schema_arrow
    groups = [claimed.row_group(i) for i in range(claimed.num_row_groups)]
    rows = max([claimed.num_rows, sum(group.num_rows for group in groups)])
    pages = sum(group.total_byte_size for group in groups)
    if rows * max(len(schema), 1) > largest or not 0 <= pages <= LARGEST_FILE:
        raise InputError(
            f"{path} claims {rows} rows of {len(schema)} columns in {pages} bytes, more than "
            f"{largest} entries or {LARGEST_FILE} bytes."
        )
    kinds = (pyarrow.null(), pyarrow.bool_(), pyarrow.int64(), pyarrow.float64(), pyarrow.string())
    for field in schema:
        if field.type not in kinds:
            said = f"{field.name[:80]!r} of type {str(field.type)[:80]}"
            raise InputError(f"{path} must hold numbers and text, but it holds {said}.")
    if len(set(schema.names)) < len(schema):
        raise InputError(f"{path} must name each column once, but it repeats a name.")
    texts = [field.name for field in schema if field.type == pyarrow.string()]
    # text is read as numbers of a dictionary, and measured before it is written out
    file = parquet.ParquetFile(pyarrow.BufferReader(content), read_dictionary=texts)
    table = file.read()
    size = sum(_text_size(table.column(name)) for name in texts)
    if size > LARGEST_TEXT:
        raise InputError(f"{path} holds {size} bytes of text, more than {LARGEST_TEXT}.")
    fields = [_without_long_unit(field) for field in schema]
    columns = [
        column.cast(field.type) if field.type == pyarrow.string() else column
        for field, column in zip(fields, table.columns, strict=True)
    ]
    whole = pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields))
    whole.validate(full=True)
    return whole


def _text_size(column: pyarrow.ChunkedArray) -> int:
    import pyarrow.compute as compute

    sizes = 0
    for chunk in column.chunks:
        lengths = compute.binary_length(chunk.dictionary)
        sizes += compute.sum(lengths.take(chunk.indices)).as_py() or 0
    return sizes


def _without_long_unit(field: pyarrow.Field) -> pyarrow.Field:
    unit = (field.metadata or {}).get(b"unit", b"")
    return field.remove_metadata().with_metadata({"unit": unit[:UNIT]} if unit else {})


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
        own["folder"] = pyarrow.array([str(folder)] * table.num_rows, pyarrow.string())
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
