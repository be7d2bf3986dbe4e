"""Problem files of strangers, NPZ and CSV: what loads is what the file says, nothing executes."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from test_fuzz import fuzzed, refused, some_damage

from mirrorflow import Factors, InputError, load
from mirrorflow.runs.untrusted import read_arrays

CANARY: list[str] = []  # whatever is executed sings

# ---- arrays and archives

tame = st.floats(-1e3, 1e3)
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -2.5, 5e-324, 1e-300, 1e150, 2e150, -1e300]),
    st.floats(width=64),
    st.floats(-1e3, 1e3),
)
DTYPES = ("<f8", ">f8", "<f4", "<f2", "<f16", "<i8", ">i2", "|u1", "|b1", "<c16", "<U3", "<M8[s]")


def sing() -> None:
    CANARY.append("the pickle ran")


class Explodes:
    """An object whose pickle runs code when it is read."""

    def __reduce__(self):
        return sing, ()


def npy_text(descr: str, fortran: str, shape: str, data: bytes, version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


@st.composite
def arrays(draw: Any, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    entry = draw(st.sampled_from([tame, tame, tame, numbers]))
    values = np.array(draw(st.lists(entry, min_size=size, max_size=size))).reshape(shape)
    dtype = draw(st.one_of(st.just("<f8"), st.sampled_from(DTYPES)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = values.astype(dtype)
    if array.dtype == np.longdouble and draw(st.booleans()):
        array = array * np.longdouble("1e4000")  # more than a double holds, where it is longer
    return np.asfortranarray(array) if draw(st.booleans()) else array


DESCRS = "'<f8'", "'|O'", "'>f4'", "'<f8 '", "'<f999'", "'|V8'", "'\\d'", "('<f8', (2,))", "{}"
DESCRS += "[('a', '<f8')]", "[('a\\n', '<f8')]", "__import__('os')", "'" + "f" * 300 + "'"
SHAPES = "(1,)", "(2,)", "(1, 2)", "(2, 1)", "()", "(-1,)", "(1L,)", "(1.0,)", "(True, 2)", "1"
SHAPES += f"({10**12},)", f"({2**40}, {2**40})", "(0, 3)", f"({10**18}, 0)", "(1, 1, 2)"
SHAPES += "(" * 200, "(" + "1," * 70 + ")", f"({'9' * 5000},)", "(2,), 'shape': (1,)"


@st.composite
def members(draw: Any) -> bytes:
    """The bytes of an .npy member whose header says what it likes, in an order of its own."""
    descr, shape = st.sampled_from(DESCRS), st.sampled_from(SHAPES)
    fortran = draw(st.sampled_from(["False", "True", "1", "None"]))
    data = struct.pack("<2d", 2.0, -3.0)[: draw(st.sampled_from([0, 7, 8, 16]))]
    extra = draw(st.sampled_from([b"", b"", bytes(8), bytes(100_000)]))
    return npy_text(
        draw(descr), fortran, draw(shape), data + extra, draw(st.sampled_from([1, 2, 3]))
    )


NAMES = ("Z.npy", "y.npy", "x_true.npy", "m0.npy", "w0.npy")
LABELS = "a", "β", "", " a", "Unnamed: 0", "x" * 50, "a\nb", "\x1b[2J", "\U0010ffff"
STRANGE = ("../Z.npy", "/y.npy", "Z", "Z.npy/", "a\nb\x1b[2J.npy", ".npy", "C:\\Z.npy", "ü.npy")


@st.composite
def archives(draw: Any) -> bytes:
    """An archive: members by their right names as a rule, some by others, some twice."""
    n, d = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stream, paired = io.BytesIO(), draw(st.booleans())
    packing = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    contents: list[tuple[str, bytes]] = []
    for name, shape in zip(NAMES, ((n, d), (n,), (d,), (d,), (d,)), strict=True):
        together = name in NAMES[:2] or (name in NAMES[3:] and paired)
        if together or draw(st.integers(0, 3)) == 0:
            # a file made to be right must often be, or nothing is tried behind the first check
            kind = draw(st.sampled_from(["array"] * 8 + ["member", "object"]))
            written = name if draw(st.integers(0, 4)) else name.removesuffix(".npy")
            member = _member(draw(arrays(shape)) if kind == "array" else kind, draw)
            contents.append((written, member))
    if draw(st.integers(0, 2)) == 0:
        labels = draw(st.lists(st.sampled_from(LABELS), min_size=d, max_size=d, unique=True))
        kind = draw(st.sampled_from(["array"] * 8 + ["member", "object"]))
        contents.append(("names.npy", _member(np.array(labels) if kind == "array" else kind, draw)))
    if draw(st.integers(0, 3)) == 0:
        contents.append((draw(st.sampled_from(NAMES + STRANGE)), draw(members())))
    with zipfile.ZipFile(stream, "w", packing) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there already
        for name, content in contents:
            out.writestr(name, content)
    return stream.getvalue()


def _member(what: Any, draw: Any) -> bytes:
    if isinstance(what, str) and what == "member":
        return draw(members())
    array = what if isinstance(what, np.ndarray) else np.array([Explodes()], dtype=object)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


damaged = st.builds(lambda content, change: change(content), archives(), some_damage())


def read_by_numpy(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the members that there are, numbers in double precision."""
    found = {}
    with np.load(path, allow_pickle=False) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name in archive.files:
                found[name] = archive[name]
                if found[name].dtype.kind != "U":
                    found[name] = np.asarray(found[name], np.float64)
    return found


@fuzzed(damaged, quick=100, long=3000)
def test_archives_load_as_numpy_reads_them(content: bytes, folder: Path) -> str:
    """Z, y and x_true are finite and what numpy finds in the file, without its pickles."""
    path = folder / "a.npz"
    path.write_bytes(content)
    try:
        problem = load(path)
    except InputError as error:
        return refused(error)
    finally:
        assert not CANARY
    expected = read_by_numpy(path, "Z", "y", "x_true", "names")
    assert np.array_equal(problem.Z, expected["Z"])
    assert np.array_equal(problem.y, expected["y"].ravel())  # a column is a vector
    labels = [label.strip() for label in expected["names"].ravel()] if "names" in expected else None
    assert (None if problem.names is None else list(problem.names)) == labels
    assert repr(problem).isprintable()
    assert (problem.x_true is None) == ("x_true" not in expected)
    if problem.x_true is not None:
        assert np.array_equal(problem.x_true, expected["x_true"].ravel())
    assert np.isfinite(problem.Z).all()
    assert np.isfinite(problem.y).all()
    assert problem.Z.shape == (problem.y.size, problem.d)
    return "right"


@fuzzed(damaged, quick=80, long=1000, kinds=("refused", "right", "none"))
def test_factors_load_as_numpy_reads_them(content: bytes, folder: Path) -> str:
    """m0 and w0, both or none."""
    path = folder / "a.npz"
    path.write_bytes(content)
    try:
        factors = Factors.load(path)
    except InputError as error:
        return refused(error)
    finally:
        assert not CANARY
    if factors is None:
        return "none"
    expected = read_by_numpy(path, "m0", "w0")
    assert np.array_equal(factors.m, expected["m0"].ravel())
    assert np.array_equal(factors.w, expected["w0"].ravel())
    assert np.isfinite(factors.m).all()
    return "right"


bombs = st.tuples(
    st.sampled_from([1, 2, 2**20, 2**26, 2**30, 10**12, 2**60]),  # entries claimed
    st.sampled_from([1, 2, 1000, 2**20]),  # entries there, of zeros
    st.booleans(),  # whether the archive's own size field lies as well
    st.integers(1, 3),  # how many such arrays
)


@fuzzed(bombs, quick=20, long=150)
def test_claims_cost_no_memory(case: tuple[int, int, bool, int], folder: Path) -> str:
    """What is asked for is bounded by what is there, not by what a header or a directory says."""
    claimed, held, lies, count = case
    path, names = folder / "a.npz", [f"a{i}" for i in range(count)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            out.writestr(
                f"{name}.npy", npy_text("'<f8'", "False", f"({claimed},)", bytes(8 * held))
            )
    if lies:
        content = bytearray(path.read_bytes())
        at = content.index(b"PK\x01\x02")
        content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
        path.write_bytes(content)
    tracemalloc.start()
    try:
        found = read_arrays(path, tuple(names))
    except InputError as error:
        kind = refused(error)
    else:
        kind = "right"
        assert claimed == held
        assert all(array.size == held and not array.any() for array in found.values())
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    whole = 8 * held * (count + 1) if claimed == held else min(8 * claimed, 8 * held)
    assert peak < 2**20 + 3 * whole
    return kind


# ---- tables

ENTRIES = " 1 ", "+1", ".5", "1.", '"2"', "1e150", "-1e150", "1e-400", "0x1p3", "1e151", "1e999"
ENTRIES += "", "nan", "inf", "-Infinity", "1_0", "1,5", "1;5", "'1'", "1\x00", '"', '"1', "\ufeff1"
ENTRIES += "１", "1\n2", "#1", "1 2", "--1", "9" * 400, "x" * 200_000
usual = st.floats(-1e3, 1e3).map(repr)
headers = st.sampled_from(
    [
        "a,b,y",
        "a,y,b",
        " y ,a,b",
        '"a","b","y"',
        "a,b",
        "y,y,a",
        "",
        "a;b;y",
        ",a,y",
        "y,a,",
        "a,a,y",
        "Unnamed: 0,a,y",
    ]
)


@st.composite
def tables(draw: Any) -> bytes:
    """A table whose entries are numbers as a rule, in one of many encodings, perhaps damaged."""
    odd = draw(st.integers(0, 2)) == 0
    header = draw(headers) if odd else draw(st.sampled_from(["a,b,y", "y,a,b", '"a, b",y,"c"""']))
    rows = draw(st.lists(st.lists(usual, min_size=3, max_size=3), min_size=1, max_size=4))
    if draw(st.booleans()):
        draw(st.sampled_from(rows))[draw(st.integers(0, 2))] = draw(st.sampled_from(ENTRIES))
    if odd and draw(st.booleans()):
        rows[0] = draw(st.lists(usual, max_size=5))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"] if odd else ["\n", "\r\n"]))
    text = end.join([header, *(",".join(row) for row in rows)]) + draw(st.sampled_from(["", end]))
    unusual = ["utf-16"] if odd else []
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", *unusual]))
    content = text.encode(encoding)
    return draw(some_damage())(content)


@fuzzed(tables(), quick=150, long=2500)
def test_tables_load_as_pandas_reads_them(content: bytes, folder: Path) -> str:
    """Every entry is the number that the text says, in its column and row."""
    path = folder / "t.csv"
    path.write_bytes(content)
    try:
        problem = load(path)
    except InputError as error:
        return refused(error)
    text = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    names = [name.strip() for name in text.iloc[0]]
    values = text.iloc[1:].map(float).to_numpy(float)
    at = names.index("y")
    assert np.array_equal(problem.y, values[:, at])
    assert np.array_equal(problem.Z, np.delete(values, at, axis=1))
    assert list(problem.names) == names[:at] + names[at + 1 :]
    assert all(problem.names)
    assert np.isfinite(values).all()
    return "right"


wide = st.tuples(st.integers(20_000, 30_000), st.integers(20_000, 30_000))


@fuzzed(wide, quick=3, long=20, kinds=("refused",))
def test_ragged_tables_cost_no_memory(case: tuple[int, int], folder: Path) -> str:
    """A wide header over many short rows stands for a table that nobody wrote."""
    columns, rows = case
    path = folder / "t.csv"
    path.write_text("y," + "a," * columns + "a\n" + "1\n" * rows)
    tracemalloc.start()
    with pytest.raises(InputError, match="entries, but the header has") as caught:
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 500 * path.stat().st_size
    return refused(caught.value)


def test_a_table_that_ends_within_quotes_is_cut_short(tmp_path):
    """The last entry was read as the number that the cut left of it."""
    (tmp_path / "t.csv").write_text('a,b,y\n0.5,0.25,"1')
    with pytest.raises(InputError, match=r"t\.csv is not a readable .*it ends within quotes"):
        load(tmp_path / "t.csv")
