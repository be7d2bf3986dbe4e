"""Files of strangers: NPZ, CSV, Parquet and PNG; no pickle, sizes checked before allocation.

Whoever reads a file that others may have written comes through here; behind it data are as honest
as our own.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import math
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from mirrorflow.checks import InputError, column_names

if TYPE_CHECKING:
    import pyarrow

__all__ = ["LARGEST_FILE", "MAX_BYTES", "file_size", "naming", "png_description"]
__all__ += ["read_arrays", "read_bytes", "read_parquet", "read_png", "read_table"]

DESCRIPTOR = 24  # bytes behind a member that was written as a stream, at the most
LARGEST_FILE = 2**30  # bytes of a Parquet file, and of its pages
LARGEST_TEXT = 2**30  # bytes of text once it is read; short files can repeat a long one
UNIT = 80  # characters
LARGEST_SIDE = 20_000  # pixels of an image
MAX_BYTES = 8 * 2**30  # of all arrays; a larger claim is refused before memory is asked for


@contextlib.contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Put the file's name before what is said of its contents."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def file_size(path: Path) -> int:
    """Bytes of a regular file.

    Raises
    ------
    OSError
        If there is none: a pipe would be waited for, a device has no end.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError("it is no regular file")
    return about.st_size


def read_arrays(
    path: str | PathLike[str],
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    *,
    every: bool = False,
) -> dict[str, np.ndarray]:
    """Read the named arrays of an NPZ file, or every one; of other members only the names.

    An array `a` is the member `a.npy`, or `a`, as other programs than NumPy call it. Those in
    `text` are optional and hold text (NumPy's `str_`), all others real numbers.

    Raises
    ------
    InputError
        If the file can't be opened, is damaged, lacks a required name or has it twice, or holds
        objects.
    """
    path = Path(path)
    try:
        file_size(path)
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            _check_gapless(archive, stream)
            members: dict[str, list[str]] = {}
            for member in archive.namelist():
                members.setdefault(member.removesuffix(".npy"), []).append(member)
            missing = [name for name in required if name not in members]
            if missing:
                held = ", ".join(sorted(members)) or "nothing"
                raise InputError(
                    f"{path} must hold {' and '.join(required)}, but {' and '.join(missing)} "
                    f"is missing (it holds {held[:200]})."
                )
            names = [n for n in (*required, *optional, *text) if n in members]
            if every:
                names = sorted(name for name, files in members.items() if f"{name}.npy" in files)
            twice = [name for name in names if len(members[name]) > 1]
            if twice:
                raise InputError(f"{path} must hold {twice[0][:200]} once, but holds it twice.")
            for info in archive.infolist():
                if info.filename.removesuffix(".npy") not in names:
                    # compares its name with the directory's, where a flipped bit would hide it
                    archive.open(info).close()
            arrays: dict[str, np.ndarray] = {}
            for name in names:
                remaining = MAX_BYTES - sum(array.nbytes for array in arrays.values())
                info, kinds = archive.getinfo(members[name][0]), "U" if name in text else "fiub"
                arrays[name] = _member(archive, info, name[:200], kinds, path, remaining)
            return arrays
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except InputError:
        raise
    except Exception as error:  # what a damaged archive raises has no end: zlib, tokenize, …
        raise InputError(f"{path} is not a readable NPZ file ({str(error)[:200]}).") from None


def _check_gapless(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Refuse an archive whose directory leaves out a part of it.

    Nothing protects the directory: where a bit of a length flips, members are gone.
    """
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if not end <= info.header_offset <= end + DESCRIPTOR:
            raise zipfile.BadZipFile("its directory is damaged")
        stream.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", stream.read(4))
        end = info.header_offset + 30 + name + extra + info.compress_size
    if not end <= archive.start_dir <= end + DESCRIPTOR:
        raise zipfile.BadZipFile("its directory is damaged")


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, kinds: str, path: Path, limit: int
) -> np.ndarray:
    """One array of at most `limit` bytes, whose dtype is one of `kinds`."""
    with archive.open(info) as stream:
        try:
            shape, fortran, dtype = _header(stream)
            size = math.prod(shape) * dtype.itemsize
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
            raise
        except Exception as error:
            raise InputError(f"{name} in {path} is damaged ({str(error)[:200]}).") from None
        if dtype.kind not in kinds:
            what = "text" if kinds == "U" else "real numbers"
            raise InputError(f"{name} in {path} must hold {what}, but its dtype is {dtype}.")
        if size > limit or size > info.file_size:
            raise InputError(
                f"{name} in {path} claims shape {shape} ({size} bytes), "
                f"more than the file holds or {limit} bytes."
            )
        data = stream.read(size)
        # reading to the end is also what makes zipfile check the member's CRC
        if len(data) == size and stream.read(1):
            raise InputError(f"{name} in {path} holds more than its shape {shape}.")
    if len(data) != size:
        raise InputError(f"{name} in {path} is cut short: {len(data)} of {size} bytes.")
    if kinds == "U" and (np.frombuffer(data, f"{dtype.str[0]}u4") > sys.maxunicode).any():
        raise InputError(f"{name} in {path} holds letters that there are not.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
    elif version in ((2, 0), (3, 0)):  # 3 differs in names of fields, which are refused anyway
        shape, fortran, dtype = npy.read_array_header_2_0(stream)
    else:
        raise ValueError(f"unknown version {version} of the npy format")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"impossible shape {shape}")
    np.broadcast_to(np.empty((), dtype), shape)  # refuses shapes that no array can have
    return shape, fortran, dtype


def read_table(
    path: str | PathLike[str], target: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read a CSV with a header: column `target` is y, every other column a feature, in order.

    Returns the features, y and the names of the features.

    Raises
    ------
    InputError
        If a column has no name or that of another, none is `target`, a row is short or long, or
        an entry is not a finite number.
    """
    path = Path(path)
    try:
        if (size := file_size(path)) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes, more than {MAX_BYTES}.")
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines, rows = [], []
            for row in reader:
                if row:
                    lines.append(reader.line_num)
                    rows.append(row)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}).") from None
    header = [name.strip() for name in rows[0]] if rows else []
    if target not in header or len(header) < 2 or len(rows) < 2:
        listing = repr([name[:40] for name in header[:8]])[:-1] + (", …]" if header[8:] else "]")
        for mark in ";\t|":
            if len(header) == 1 and mark in header[0]:
                listing += f"; separate fields by commas instead of {mark!r}"
        raise InputError(
            f"{path} must start with a header that names one column {target!r} and at least one "
            f"feature, followed by rows; its header is {listing}. Name the column of y by target."
        )
    for line, row in zip(lines, rows, strict=True):  # all, before a table is asked for
        if len(row) != len(header):
            fault = f"{path} row {line} has {len(row)} entries, but the header has {len(header)}"
            if len(row) == len(header) + 1:
                fault += "; names of rows are left out by R's write.csv(row.names = FALSE)"
            raise InputError(f"{fault}.")
    if path.read_bytes().count(b'"') % 2:
        raise InputError(f"{path} is not a readable CSV file (it ends within quotes).")
    with naming(path):
        names = column_names("the header", header)
    table = np.empty((len(rows) - 1, len(names)))
    for i, row in enumerate(rows[1:]):
        for j, entry in enumerate(row):
            try:
                # Python reads 1_000 as a number; nothing else that writes CSV does
                table[i, j] = number = float(entry.replace("_", "?"))
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                rule = "a number" if math.isnan(number) else "finite"
                point = " (write a decimal point, no comma)" if "," in entry else ""
                raise InputError(
                    f"{path} row {lines[i + 1]}, column {names[j][:40]!r} must be {rule}, "
                    f"but it is {entry[:40]!r}{point}."
                )
    at = names.index(target)
    return np.delete(table, at, axis=1), table[:, at], names[:at] + names[at + 1 :]


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a regular file of at most `largest` bytes.

    Raises
    ------
    InputError
        If it is none, larger, or the system doesn't let it be read.
    FileNotFoundError
        If there is none.
    """
    try:
        if (size := file_size(path)) > largest:
            raise InputError(f"{path} must have at most {largest} bytes, but it has {size}.")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        none = error.strerror is None  # file_size: a pipe, a device, a folder
        rule = "must be a file, but it is none" if none else f"can't be read ({error.strerror})"
        raise InputError(f"{path} {rule}.") from None


def read_parquet(content: bytes, path: Path, largest: int) -> pyarrow.Table:
    """The table of a Parquet file's content: numbers, truth values and text.

    Raises
    ------
    InputError
        If it is damaged, holds anything else, or more than `largest` entries.
    """
    try:
        return _parquet(content, path, largest)
    except InputError:
        raise
    except Exception as error:  # Parquet's readers raise anything
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is not a readable Parquet file ({reason}).") from None


def _parquet(content: bytes, path: Path, largest: int) -> pyarrow.Table:
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
            fault = f"{field.name[:80]!r} of type {str(field.type)[:80]}"
            raise InputError(f"{path} must hold numbers and text, but it holds {fault}.")
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
    # without the file's own description of a frame: a stranger may have written it
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


def read_png(path: Path, sha256: Any, largest: int) -> tuple[bytes, int, int] | None:
    """Content, width and height of the PNG file with this digest; None if it is anything else."""
    try:
        # a link may lead out of the folder
        content = None if path.is_symlink() else read_bytes(path, largest)
    except (InputError, OSError):
        return None
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        return None
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or len(content) < 24:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    fits = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
    return (content, width, height) if fits else None


def png_description(content: bytes) -> str:
    """The text `Description` of a PNG file, UTF-8 (chunk iTXt) or Latin-1 (tEXt); empty if none."""
    at = 8
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        keyword, _, text = content[at + 8 : at + 8 + length].partition(b"\0")
        if keyword == b"Description" and kind == b"tEXt":
            return text.decode("latin-1")
        if keyword == b"Description" and kind == b"iTXt" and text[:2] == b"\0\0":  # uncompressed
            return text.split(b"\0", 4)[-1].decode(errors="replace")
        at += 12 + length
    return ""
