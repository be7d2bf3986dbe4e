"""What `load` reads, and what it refuses: typed rows, units, patterns, hostile files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mirrorflow import InputError
from mirrorflow.results import Folder, Run, load, load_paths
from mirrorflow.runs.store.table import as_table
from mirrorflow.runs.untrusted import read_parquet

RUN = Run({"study": "test", "seed": 3, "noise": None}, "d")
ROW = {"status": "ok", "distance": 1.5e-7, "wall_seconds": 0.5}
ARRAYS = {"x": np.arange(6.0)}


def written(folder: Path, rows: list[dict], units: dict[str, str] | None = None) -> Path:
    """A result folder with these rows."""
    opened = Folder(folder)
    opened.units = units or {}
    runs = [Run({"seed": seed}, "d") for seed in range(len(rows))]
    for run, row in zip(runs, rows, strict=True):
        opened.write(run, row, {})
    opened.consolidate(runs, "", {})
    return folder


def forged(folder: Path, content: bytes) -> Path:
    """A folder whose manifest fits to what a stranger wrote."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.parquet").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"rows.parquet": digest}}))
    return folder


def parquet_of(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(table, stream, **options)
    return stream.getvalue()


# ---- load


def test_load_names_what_is_missing(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"holds no rows\.parquet; has its study finished"):
            load(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file"):
        load(tmp_path / "file")
    with pytest.raises(InputError, match=r"paths\.npz does not exist"):
        load_paths(tmp_path / "paths.npz")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"a,b\n1,2\n", bytes(500)])
def test_load_refuses_what_is_no_table(tmp_path, content):
    (tmp_path / "rows.parquet").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = {"sha256": {"rows.parquet": digest}}  # a stranger's manifest may fit
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"rows\.parquet is not a readable Parquet file"):
        load(tmp_path)


def test_load_refuses_truncated_tables(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    folder.consolidate([RUN], "", {})
    path = tmp_path / "rows.parquet"
    content = path.read_bytes()
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"rows\.parquet is not the file that manifest\.json"):
            load(tmp_path)


def test_load_answers_damaged_tables_with_a_table_or_an_input_error(tmp_path):
    """Thrift, Arrow's metadata and pandas' own JSON all sit in the footer; each can be hit."""
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    folder.consolidate([RUN], "", {})
    path = tmp_path / "rows.parquet"
    content, refused = path.read_bytes(), 0
    for at in range(5, len(content), 17):
        for flip in (0x01, 0x80):
            damaged = bytearray(content)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            try:
                load(tmp_path)
            except InputError:
                refused += 1
    assert refused > 0


# ---- types and units


def test_columns_are_typed(tmp_path):
    rows = [
        {"whole": 1, "some": 3, "flag": True, "maybe": True, "real": 1, "text": "a", "mix": 1},
        {"whole": 2, "some": None, "flag": False, "maybe": None, "real": 2.5, "text": "b"},
        {"whole": 3, "flag": True, "real": None, "text": "c", "mix": "x", "list": [1, 2]},
    ]
    rows[0] |= {"large": 2**70, "gone": None, "odd": "\ud800"}
    rows[1] |= {"beyond": 0.5}
    rows[2] |= {"beyond": 10**400}
    frame = load(written(tmp_path, rows))
    dtypes = {"whole": "int64", "some": "Int64", "flag": "bool", "maybe": "boolean"}
    dtypes |= {"real": "float64", "large": "object", "gone": "object"}
    text = frame["text"].dtype
    for name, dtype in dtypes.items():
        expected = text if name == "large" else dtype
        assert frame[name].dtype == expected, name
    assert frame["some"].tolist() == [3, pd.NA, pd.NA]
    assert frame["maybe"].tolist() == [True, pd.NA, pd.NA]
    assert frame["real"].tolist()[:2] == [1.0, 2.5]
    assert frame["real"].isna().tolist() == [False, False, True]
    assert frame["mix"].tolist()[::2] == ["1", "x"]
    assert frame["list"][2] == "[1, 2]"
    assert frame["large"][0] == str(2**70)
    assert frame["odd"][0] == "?"
    assert frame["beyond"].tolist()[1:] == ["0.5", str(10**400)]
    assert frame["gone"].tolist() == [None] * 3
    assert list(frame.columns[:3]) == ["key", "seed", "whole"]


def test_units_come_with_the_rows(tmp_path):
    units = {"t_end": "flow time", "distance": "units of x", "absent": "m"}
    row = {"t_end": 2.0, "distance": 1.0, "wall_seconds": 0.1, "ratio": 3.0}
    frame = load(written(tmp_path, [row], units))
    expected = {"t_end": "flow time", "distance": "units of x", "wall_seconds": "s"}
    assert frame.attrs["units"] == expected
    stored = parquet.read_schema(tmp_path / "rows.parquet")
    assert stored.field("t_end").metadata[b"unit"] == b"flow time"
    assert frame[frame["ratio"] > 0].attrs["units"] == expected  # pandas carries it on


def test_units_are_of_columns_that_there_are():
    from mirrorflow.sweep.theorem23 import Theorem23

    study = Theorem23(problem="gaussian", n=4, d=8, k=1, seeds=1, totals=(0.0,))
    spec = study.runs()[0].spec
    row, _ = study.compute([spec])[0]
    assert set(study.units) <= set(spec) | set(row)


# ---- patterns


def test_a_pattern_loads_several_folders(tmp_path):
    written(tmp_path / "b" / "deep", [{"x": 1, "only": 2.0}, {"x": 2, "only": 3.0}], {"x": "m"})
    written(tmp_path / "a", [{"x": 0.5, "word": "w", "same": "t"}])
    written(tmp_path / "c", [{"x": None, "word": 3, "same": "u"}], {"only": "s"})
    (tmp_path / "empty").mkdir()
    frame = load(tmp_path / "**")
    names = [str(tmp_path / name) for name in ("a", "b/deep", "b/deep", "c")]
    assert frame.columns[0] == "folder"
    assert frame["folder"].tolist() == names
    assert frame["x"].dtype == "float64"  # whole numbers in one, fractions in another
    assert frame["x"].tolist()[:3] == [0.5, 1.0, 2.0]
    assert frame["word"].tolist()[::3] == ["w", "3"]  # text in one, a number in another
    assert frame["only"].isna().tolist() == [True, False, False, True]
    assert frame["same"].tolist()[::3] == ["t", "u"]
    assert frame.attrs["units"] == {"x": "m"}
    assert load(f"{tmp_path}/[ab]")["folder"].tolist() == names[:1]
    for pattern in ("nothing*", "emp*"):
        with pytest.raises(InputError, match=r"must match result folders, but it matches none"):
            load(tmp_path / pattern)
    (tmp_path / "c" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"c/rows\.parquet is not the file that manifest\.json"):
        load(tmp_path / "*")


def test_a_folder_may_have_a_name_like_a_pattern(tmp_path):
    folder = written(tmp_path / "run[1]", [{"x": 1}])
    assert "folder" not in load(folder)


# ---- hostile tables


def extensions():
    """Types that pyarrow has since 18 and 19."""
    for name, storage in (
        ("uuid", pa.array([bytes(16)], pa.binary(16))),
        ("json_", pa.array(["{}"])),
    ):
        if hasattr(pa, name):
            kind = getattr(pa, name)()
            yield pa.ExtensionArray.from_storage(kind, storage), name.strip("_")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([[1, 2]]), "list"),
        (pa.array([{"a": 1}]), "struct"),
        (pa.array([b"x"]), "binary"),
        (pa.array([0], pa.timestamp("s")), "timestamp"),
        (pa.array(["x"]).dictionary_encode(), "dictionary"),
        (pa.array([1.0], pa.float32()), "float"),
        (pa.array([1], pa.decimal128(38, 2)), "decimal"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "map"),
        *extensions(),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_numbers_and_text_are_read(tmp_path, array, said):
    folder = forged(tmp_path, parquet_of(pa.table({"x": array})))
    with pytest.raises(InputError, match=rf"must hold numbers and text, but it holds 'x' .*{said}"):
        load(folder)


def test_sizes_are_checked_before_the_table_is_read(tmp_path, monkeypatch):
    read = []
    original = parquet.ParquetFile.read
    monkeypatch.setattr(
        parquet.ParquetFile, "read", lambda *a, **k: read.append(1) or original(*a, **k)
    )
    # ten million rows of the same number are a file of half a megabyte
    many = parquet_of(pa.table({f"x{i}": pa.repeat(1.0, 10**7) for i in range(11)}))
    assert len(many) < 500_000
    with pytest.raises(InputError, match=r"claims 10000000 rows of 11 columns in \d+ bytes, more"):
        load(forged(tmp_path, many))
    assert not read
    monkeypatch.setattr(sys.modules["mirrorflow.runs.store.load"], "LARGEST_FILE", 1000)
    with pytest.raises(InputError, match=r"rows\.parquet must have at most 1000 bytes"):
        load(tmp_path)


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_a_table_may_have_as_many_entries_as_are_allowed(columns):
    def content(rows):
        return parquet_of(pa.table({f"x{i}": pa.repeat(1.0, rows) for i in range(columns)}))

    assert read_parquet(content(10), Path("t"), 10 * columns).shape == (10, columns)
    with pytest.raises(InputError, match=f"claims 11 rows of {columns} columns in .* more than"):
        read_parquet(content(11), Path("t"), 10 * columns)


def test_text_is_measured_before_it_is_written_out(tmp_path):
    """A megabyte named four thousand times in a file of one megabyte."""
    column = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), ["x" * 2**20])
    content = parquet_of(pa.table({"x": column}), store_schema=False)
    assert len(content) < 2**22
    assert parquet.read_schema(io.BytesIO(content)).field("x").type == pa.string()
    with pytest.raises(InputError, match=r"bytes of text, more than 1073741824"):
        load(forged(tmp_path, content))


def test_pandas_own_description_of_a_table_is_not_believed(tmp_path):
    table = pa.table({"x": [1.0, 2.0], "y": [1, 2]})
    lies = {
        "index_columns": [
            "x",
            {"kind": "range", "name": None, "start": 0, "stop": 10**12, "step": 1},
        ],
        "columns": [
            {
                "name": "y",
                "field_name": "y",
                "pandas_type": "object",
                "numpy_type": "object",
                "metadata": None,
            }
        ],
    }
    for text in (json.dumps(lies), "{" * 1000, "3"):
        folder = forged(tmp_path, parquet_of(table.replace_schema_metadata({"pandas": text})))
        frame = load(folder)
        assert frame.dtypes.astype(str).to_dict() == {"x": "float64", "y": "int64"}
        assert frame.index.tolist() == [0, 1]


def test_a_column_that_is_empty_in_all_folders(tmp_path):
    for name in ("a", "b"):
        forged(tmp_path / name, parquet_of(pa.table({"x": pa.nulls(2), "y": [1, 2]})))
    Folder(tmp_path / "c").consolidate([], "", {})  # no rows at all
    frame = load(tmp_path / "*")
    assert frame["x"].tolist() == [None] * 4
    assert frame["y"].tolist() == [1, 2, 1, 2]
    assert frame["folder"].tolist() == [str(tmp_path / name) for name in "aabb"]


def test_names_and_units_of_strangers(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    with pytest.raises(InputError, match="must name each column once"):
        load(forged(tmp_path, parquet_of(twice)))
    field = pa.field("x", pa.int64(), metadata={"unit": b"\xff" + b"m" * 10**6, "other": "o"})
    table = pa.table({"x": [1]}, schema=pa.schema([field]))
    units = load(forged(tmp_path, parquet_of(table))).attrs["units"]
    assert units == {"x": "\N{REPLACEMENT CHARACTER}" + "m" * 79}


@pytest.mark.parametrize(
    "text",
    ["", "3", "[]", "{", "{}", '{"sha256": 3}', '{"sha256": {"rows.parquet": 3}}', "[" * 10**5],
)
def test_manifests_that_are_none(tmp_path, text):
    written(tmp_path, [ROW])
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        load(tmp_path)
    with (tmp_path / "manifest.json").open("wb") as stream:
        stream.truncate(2**24 + 1)
    with pytest.raises(InputError, match=r"manifest\.json must have at most 16777216 bytes"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["rows.parquet", "manifest.json"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    written(tmp_path, [ROW])
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} must be a file, but it is none"):
        load(tmp_path)


def test_rows_and_manifest_of_a_later_command_are_a_pair_at_all_times(tmp_path, monkeypatch):
    """Whoever reads between any two renames but those of rows and manifest finds a pair."""
    written(tmp_path, [ROW])
    seen, replace = [], Path.replace

    def renamed(source: Path, target: Path) -> None:
        try:
            seen.append((target.name, len(load(tmp_path))))
        except InputError:
            seen.append((target.name, None))
        replace(source, target)

    monkeypatch.setattr(Path, "replace", renamed)
    folder = Folder(tmp_path)
    runs = [Run({"seed": seed}, "d") for seed in range(2)]
    folder.write(runs[1], ROW, ARRAYS)
    folder.consolidate(runs, "", {})
    folder.conclude({"title": "t"}, [])
    after = [entry for entry in seen if not entry[0].endswith(".run")]
    expected = [("paths.npz", 1), ("rows.parquet", 1), ("manifest.json", None)]
    assert after == [*expected, ("manifest.json", 2)]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["title"] == "t"
    assert len(load(tmp_path)) == 2


# ---- reach


@pytest.mark.slow
def test_a_hundred_thousand_rows_load_in_a_second(tmp_path):
    """Of a processor. Columns as many and as mixed as theorem23's; the digest is checked too."""
    from mirrorflow.sweep.theorem23 import Theorem23

    study = Theorem23(problem="gaussian", n=8, d=20, k=2, seeds=1, totals=(1.0,))
    spec = study.runs()[0].spec
    row = json.loads(json.dumps(spec | study.compute([spec])[0][0]))  # plain, as on disk
    rng = np.random.default_rng(0)
    rows = []
    for i in range(100_000):
        gap, noise = i % 3 == 0, rng.standard_normal(len(row))
        values = {
            name: float(value * z)
            if type(value) is float
            else None
            if gap and name.endswith("_holds")
            else value
            for (name, value), z in zip(row.items(), noise, strict=True)
        }
        rows.append({"key": hashlib.sha256(str(i).encode()).hexdigest()[:20], **values})
    while len(rows[0]) < 100:  # whatever the study will measure next
        more = f"more_{len(rows[0])}"
        for one, value in zip(rows, rng.standard_normal(len(rows)), strict=True):
            one[more] = float(value)
    forged(tmp_path, parquet_of(as_table(rows, study.units)))
    seconds = []
    for _ in range(5):
        start = time.process_time()
        frame = load(tmp_path)
        seconds.append(time.process_time() - start)
    assert frame.shape == (100_000, 100)
    print(f"100,000 rows of 100 columns, {os.path.getsize(tmp_path / 'rows.parquet')} bytes: ")
    print(f"{sorted(seconds)[2]:.2f} s")
    assert sorted(seconds)[2] <= 1.0


@pytest.mark.slow
def test_a_resume_scans_thousands_of_shards(tmp_path):
    """0.3 ms of a processor for each, its digest checked."""
    folder, row = Folder(tmp_path), {f"c{i}": 0.1 * i for i in range(70)}
    arrays = {name: np.random.default_rng(0).standard_normal(81) for name in "abcdefg"}
    runs = [Run({"seed": seed}, "d") for seed in range(2000)]
    for run in runs:
        folder.write(run, row, arrays)
    scans = []
    for _ in range(3):  # the least: what neighbours on the machine take is not the code's
        start = time.process_time()
        assert all(folder.read(run) for run in runs)
        scans.append(time.process_time() - start)
    each = min(scans) / len(runs)
    print(f"{1e3 * each:.3f} ms a shard")
    assert each <= 0.3e-3
