"""Runs on disk: keys, atomic files, damaged shards, consolidation, what load refuses."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrorflow import InputError, results
from mirrorflow.results import Folder, Run, atomic_write, code_digest, load, load_paths

identity = settings(deadline=None, max_examples=50, derandomize=True)

SPEC = {"study": "test", "seed": 3, "alpha": 0.25, "noise": None, "exact": True}
RUN = Run(SPEC, "code-1")
ROW = {"status": "ok", "distance": 1.5e-7, "gap": math.nan, "bound": math.inf, "wall_seconds": 0.5}
ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "times": np.array([0.0, np.inf])}


def same(row: dict, expected: dict) -> bool:
    """Equal, with NaN equal to NaN."""
    return row.keys() == expected.keys() and all(
        row[key] == value or (row[key] != row[key] and value != value)
        for key, value in expected.items()
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---- keys

values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=4)
)
specs = st.dictionaries(st.text(max_size=4), values, min_size=1, max_size=4)


@identity
@given(spec=specs, other=values, data=st.data())
def test_keys_follow_the_configuration_and_the_code(spec, other, data):
    run = Run(spec, "digest")
    assert Run(dict(reversed(list(spec.items()))), "digest").key == run.key
    assert Run(spec, "digest2").key != run.key
    name = data.draw(st.sampled_from(sorted(spec)))
    changed = {**spec, name: other}
    as_written = json.dumps(changed, sort_keys=True) == json.dumps(spec, sort_keys=True)
    assert (Run(changed, "digest").key == run.key) == as_written
    assert Run({**spec, name + "+": 1}, "digest").key != run.key
    assert run.key.isalnum()
    assert len(run.key) == 20


def test_keys_do_not_change_between_versions():
    """Finished runs are found again by them."""
    text = json.dumps([{"a": 1, "b": "x"}, "d"])
    assert Run({"b": "x", "a": 1}, "d").key == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_code_digest_sees_names_and_contents(tmp_path):
    def digest(*leave_out: str) -> str:
        return code_digest(tmp_path, leave_out)

    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "sub" / "b.py").write_text("2")
    (tmp_path / "plots.py").write_text("3")
    (tmp_path / "notes.txt").write_text("4")
    first = digest("plots.py")
    assert first == digest("plots.py")
    assert first != digest()
    (tmp_path / "plots.py").write_text("33")
    (tmp_path / "notes.txt").write_text("44")
    assert digest("plots.py") == first
    (tmp_path / "sub" / "b.py").write_text("22")
    assert (second := digest("plots.py")) != first
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert digest("plots.py") not in (first, second)
    (tmp_path / "sub" / "b.py").write_text("2")
    (tmp_path / "c.py").rename(tmp_path / "a.py")
    assert digest("plots.py") == first


# ---- one run


def test_a_run_comes_back_as_written(tmp_path):
    folder = Folder(tmp_path / "out")
    assert folder.read(RUN) is None
    folder.write(RUN, ROW, ARRAYS)
    row, arrays = folder.read(RUN)
    assert same(row, {**SPEC, **ROW})
    assert sorted(arrays) == ["times", "x"]
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert files(tmp_path) == {f"out/shards/{RUN.key}.{suffix}" for suffix in ("json", "npz")}


def test_another_configuration_or_code_is_another_run(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    assert folder.read(Run({**SPEC, "seed": 4}, "code-1")) is None
    assert folder.read(Run(SPEC, "code-2")) is None
    assert folder.read(Run(dict(SPEC), "code-1")) is not None


def test_a_run_with_nan_in_its_configuration_is_found_again(tmp_path):
    run = Run({"seed": 0, "total": math.nan}, "d")
    Folder(tmp_path).write(run, {}, {})
    assert Folder(tmp_path).read(run) is not None


def test_a_shard_under_a_foreign_name_is_not_the_run(tmp_path):
    """The row repeats the configuration, so a copied or colliding file is noticed."""
    folder, other = Folder(tmp_path), Run({**SPEC, "seed": 4}, "code-1")
    folder.write(other, ROW, ARRAYS)
    for suffix in ("json", "npz"):
        (folder.shards / f"{other.key}.{suffix}").rename(folder.shards / f"{RUN.key}.{suffix}")
    assert folder.read(RUN) is None


def test_the_row_is_written_last(tmp_path, monkeypatch):
    """Its presence means finished: if the paths can't be written there is no row."""
    folder, written = Folder(tmp_path), []
    monkeypatch.setattr(results, "atomic_write", lambda path, content: written.append(path.suffix))
    folder.write(RUN, ROW, ARRAYS)
    assert written == [".npz", ".json"]


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_no_truncated_or_missing_shard_counts_as_finished(tmp_path, suffix):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    path = folder.shards / f"{RUN.key}.{suffix}"
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert folder.read(RUN) is None
    path.unlink()
    assert folder.read(RUN) is None
    path.mkdir()
    assert folder.read(RUN) is None


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_no_damaged_byte_raises(tmp_path, suffix):
    """A damaged shard is not finished, or what it says is still whole."""
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    path = folder.shards / f"{RUN.key}.{suffix}"
    content = path.read_bytes()
    for at in range(len(content)):
        for flip in (0x02, 0xFF):
            damaged = bytearray(content)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            finished = folder.read(RUN)
            if finished is not None and suffix == "npz":
                for name, array in finished[1].items():
                    assert np.array_equal(array, ARRAYS[name])
    path.write_bytes(content)
    assert folder.read(RUN) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"3", b'"text"', b"{}", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe"],
    ids=lambda content: repr(content[:12]),
)
def test_rows_that_are_none(tmp_path, content):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    (folder.shards / f"{RUN.key}.json").write_bytes(content)
    assert folder.read(RUN) is None


def test_a_row_beyond_measure_is_not_read(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    path = folder.shards / f"{RUN.key}.json"
    path.write_bytes(path.read_bytes() + b" " * results.LARGEST_ROW)
    assert folder.read(RUN) is None


def test_pickles_in_a_shard_are_not_loaded(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, {"x": np.array([{}], dtype=object)})
    assert folder.read(RUN) is None
    with pytest.raises(
        InputError, match=r"x in .* must hold real numbers, but its dtype is object"
    ):
        load_paths(folder.shards / f"{RUN.key}.npz")


# ---- atomic files


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "f.bin"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert files(tmp_path) == {"f.bin"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch, step):
    path = tmp_path / "f.bin"
    atomic_write(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(InputError, match=r"f\.bin can't be written \(No space left on device\)"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == {"f.bin"}


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (
        tmp_path / "folder",
        tmp_path / "absent" / "f",
        tmp_path / "file" / "f",
        tmp_path / ("f" * 300),
    ):
        with pytest.raises(InputError, match=r"can't be written \("):
            atomic_write(path, b"new")
    assert files(tmp_path) == {"file"}


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    for path in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(InputError, match=r"--out must be a folder .* but .*out.* is not \("):
            Folder(path)
    assert (tmp_path / "out").read_text() == "mine"


def test_opening_a_folder_leaves_no_probe_and_keeps_what_is_there(tmp_path):
    Folder(tmp_path).write(RUN, ROW, ARRAYS)
    before = files(tmp_path)
    assert Folder(tmp_path).read(RUN) is not None
    assert files(tmp_path) == before


# ---- consolidation


def test_consolidated_rows_paths_and_manifest(tmp_path):
    folder = Folder(tmp_path)
    runs = [Run({**SPEC, "seed": seed}, "d") for seed in (2, 0, 1)]
    for run in runs[:2]:
        folder.write(run, {**ROW, "distance": float(run.spec["seed"])}, ARRAYS)
    frame = folder.consolidate(runs, "python -m study", {"seeds": 3})
    assert frame["key"].tolist() == [run.key for run in runs[:2]]
    pd.testing.assert_frame_equal(load(tmp_path), frame)
    pd.testing.assert_frame_equal(load(str(tmp_path)), frame)
    assert frame["distance"].tolist() == [2.0, 0.0]
    assert frame["bound"].tolist() == [np.inf, np.inf]
    assert frame["gap"].isna().all()
    paths = load_paths(tmp_path / "paths.npz")
    assert sorted(paths) == sorted(f"{run.key}/{name}" for run in runs[:2] for name in ARRAYS)
    assert np.array_equal(paths[f"{runs[1].key}/x"], ARRAYS["x"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["command"], manifest["configuration"]) == ("python -m study", {"seeds": 3})
    assert manifest["runs"] == 2
    for name in ("rows.parquet", "paths.npz"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert manifest["sha256"][name] == digest
    environment = manifest["environment"]
    assert environment["packages"]["numpy"] == np.__version__
    assert {"python", "system", "processor", "cores", "git_commit", "git_dirty"} <= set(environment)
    assert not [name for name in files(tmp_path) if Path(name).name.startswith(".")]


def test_a_later_command_adds_runs_and_drops_none(tmp_path):
    folder = Folder(tmp_path)
    runs = [Run({"seed": seed}, "d") for seed in range(3)]
    folder.write(runs[0], ROW, {})
    assert len(folder.consolidate(runs[:1], "one", {})) == 1
    folder.write(runs[2], ROW, {})
    assert folder.consolidate(runs, "two", {})["seed"].tolist() == [0, 2]
    assert folder.consolidate(runs[:1], "three", {})["seed"].tolist() == [0]
    assert folder.read(runs[2]) is not None


def test_damaged_shards_are_left_out(tmp_path):
    folder = Folder(tmp_path)
    runs = [Run({"seed": seed}, "d") for seed in range(2)]
    for run in runs:
        folder.write(run, ROW, ARRAYS)
    (folder.shards / f"{runs[0].key}.npz").write_bytes(b"PK")
    assert folder.consolidate(runs, "", {})["seed"].tolist() == [1]


def test_no_finished_run_gives_empty_files(tmp_path):
    assert Folder(tmp_path).consolidate([RUN], "", {}).empty
    assert load(tmp_path).empty
    assert load_paths(tmp_path / "paths.npz") == {}


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
