"""Runs on disk: keys, shards, failures, the lock, atomic files, full disks, consolidation."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_bench import run as vision_cli
from mirrorflow import InputError
from mirrorflow.results import (
    Folder,
    Run,
    atomic_write,
    command_line,
    load,
    load_paths,
    split,
)
from mirrorflow.runs.store import shard
from mirrorflow.runs.store.atomic import write_together
from mirrorflow.sweep import __main__ as cli

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


def shard_of(folder: Folder, run: Run = RUN) -> Path:
    return folder.shards / f"{run.key}.run"


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


# ---- one run


def test_a_run_comes_back_as_written(tmp_path):
    folder = Folder(tmp_path / "out")
    assert folder.read(RUN) is None
    folder.write(RUN, ROW, ARRAYS)
    row, arrays = folder.read(RUN)
    assert same(row, {**SPEC, **ROW})
    assert sorted(arrays) == ["times", "x"]
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert files(tmp_path) == {f"out/shards/{RUN.key}.run"}


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
    assert not run.made({"seed": 0, "total": 1.0})
    assert not Run({"seed": 0, "total": 1.0}, "d").made({"seed": 0, "total": math.nan})


def test_a_shard_under_a_foreign_name_is_not_the_run(tmp_path):
    """The row repeats the configuration, so a copied or colliding file is noticed."""
    folder, other = Folder(tmp_path), Run({**SPEC, "seed": 4}, "code-1")
    folder.write(other, ROW, ARRAYS)
    (folder.shards / f"{other.key}.run").rename(folder.shards / f"{RUN.key}.run")
    assert folder.read(RUN) is None


@identity
@given(
    arrays=st.dictionaries(
        st.text(max_size=6),
        st.tuples(
            st.sampled_from(["<f8", ">f4", "<i8", "|u1", "|b1"]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=4,
    )
)
def test_arrays_of_any_shape_come_back(arrays):
    rng = np.random.default_rng(0)
    given_arrays = {
        name: (9 * rng.standard_normal(shape)).astype(dtype).astype(dtype)
        for name, (dtype, shape) in arrays.items()
    }
    row, found = shard.decode(shard.encode(SPEC, given_arrays))
    assert row == SPEC
    assert list(found) == list(given_arrays)
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f")


def test_no_truncated_or_missing_shard_counts_as_finished(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    path = shard_of(folder)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert folder.read(RUN) is None
    path.write_bytes(content + b" ")
    assert folder.read(RUN) is None
    path.unlink()
    assert folder.read(RUN) is None
    path.mkdir()
    assert folder.read(RUN) is None


def test_a_shard_with_a_damaged_byte_is_not_finished(tmp_path):
    folder = Folder(tmp_path)
    folder.write(RUN, ROW, ARRAYS)
    path = shard_of(folder)
    content = path.read_bytes()
    for at in range(len(content)):
        for flip in (0x02, 0xFF):
            damaged = bytearray(content)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            assert folder.read(RUN) is None
    path.write_bytes(content)
    assert folder.read(RUN) is not None


def forged(body: bytes) -> bytes:
    """A shard whose digest fits."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null\n",
        b"[]\n",
        b'"text"\n',
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"\xff\xfe\n",
        b'{"row": {}, "arrays": [["x", "|O", [1]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": [["x", "<U2", [1]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": [["x", "<f8", [1000000000000000]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": [["x", "<f8", [0, 1' + b"0" * 30 + b"]]]}\n",
        b'{"row": {}, "arrays": [["x", "<f8", [-1]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": [["x", "<f8", [true]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": [["x", "<f8", [1]]]}\n' + bytes(9),
        b'{"row": {}, "arrays": [["x", "<f99", [1]]]}\n' + bytes(99),
        b'{"row": {}, "arrays": [["x", 3, [1]]]}\n' + bytes(8),
        b'{"row": {}, "arrays": 3}\n',
        b'{"row": 3, "arrays": []}\n',
        b'{"row": {}, "arrays": []}' + b" " * shard.LARGEST_ROW + b"\n",
    ],
    ids=lambda content: repr(content[:60]),
)
def test_hostile_shards_are_not_runs(content):
    """Also with a digest that fits: no objects, and no memory for what isn't there."""
    with pytest.raises(ValueError):  # noqa: PT011  # any sentence: it counts as not finished
        shard.decode(forged(content))


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(ValueError, match="x must hold real numbers, but its dtype is object"):
        folder.write(RUN, ROW, {"x": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="a row must have at most 1048576 bytes"):
        folder.write(RUN, {"message": "x" * shard.LARGEST_ROW}, {})
    assert folder.read(RUN) is None


# ---- runs that failed


def test_a_failed_run_has_a_row_until_it_finishes(tmp_path):
    folder = Folder(tmp_path)
    good, bad = Run({**SPEC, "seed": 1}, "d"), Run({**SPEC, "seed": 2}, "d")
    folder.write(good, {**ROW, "count": 4, "fine": True}, ARRAYS)
    folder.fail(bad, "ZeroDivisionError: of three attempts", 3)
    assert folder.read(bad) is None
    frame = folder.consolidate([bad, good], "", {})
    pd.testing.assert_frame_equal(load(tmp_path), frame)
    assert frame["key"].tolist() == [good.key, bad.key]
    assert frame["count"].dtype == "Int64"
    done, failed = split(frame)
    (row,) = failed.dropna(axis=1).to_dict("records")
    expected = {"status": "failed", "message": "ZeroDivisionError: of three attempts"}
    kept = {name: value for name, value in bad.spec.items() if value is not None}
    assert row == {"key": bad.key, **kept, **expected, "attempts": 3}
    # what is done has the dtypes that it would have alone
    assert "attempts" not in done
    assert (done["count"].dtype, done["fine"].dtype) == ("int64", "bool")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["runs"], manifest["failed"]) == (1, 1)
    folder.write(bad, {**ROW, "status": "failed"}, {})
    assert not [name for name in files(tmp_path) if "failed" in name]
    done, failed = split(folder.consolidate([bad, good], "", {}))
    assert (len(done), len(failed)) == (2, 0)  # a status of the study's own stays


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"spec": 3, "message": "m", "attempts": 3}',
        b'{"spec": {}, "message": "m", "attempts": 3}',
        b'{"message": "m", "attempts": 3}',
        b'{"spec": SPEC, "message": 3, "attempts": 3}',
        b'{"spec": SPEC, "message": "m", "attempts": "3"}',
        b'{"spec": SPEC, "message": "m", "attempts": true}',
        b'{"spec": SPEC, "message": "m", "attempts": 3}' + b" " * shard.LARGEST_ROW,
    ],
    ids=lambda content: repr(content[:60]),
)
def test_damaged_notes_of_failures_are_no_rows(tmp_path, content):
    folder = Folder(tmp_path)
    path = folder.shards / f"{RUN.key}.failed.json"
    path.write_bytes(content.replace(b"SPEC", json.dumps(SPEC).encode()))
    assert folder.consolidate([RUN], "", {}).empty
    path.write_bytes(path.read_bytes()[:50])
    path.unlink()
    path.mkdir()
    assert folder.consolidate([RUN], "", {}).empty


# ---- one writer

HOLD = """
import sys, time
from pathlib import Path
from mirrorflow.results import Folder
with Folder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_killed_one_lets_go(tmp_path, capsys):
    flags = ["--problem", "gaussian", "--n", "4", "--d", "8", "--k", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            said = f"--out {tmp_path} is in use by another process; wait until it ends"
            with pytest.raises(InputError, match=re.escape(said)), Folder(tmp_path).lock():
                pass
            assert cli.main(flags) == 2
            assert f"error: {said}" in capsys.readouterr().err
            vision = ["--methods", "dense", "--seeds", "1", "--epochs", "1", "--device", "cpu"]
            assert vision_cli.main([*vision, "--out", str(tmp_path)]) == 2
            assert f"error: {said}" in capsys.readouterr().err
            assert not list((tmp_path / "shards").iterdir())  # refused before it computes
        finally:
            holder.kill()
    with Folder(tmp_path).lock():
        pass
    with Folder(tmp_path).lock():  # and again
        pass


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("soft")])
def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch, error):
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    entered = []
    warned = pytest.warns(UserWarning, match=r"can't be locked .*; start no second command")
    with warned, Folder(tmp_path).lock():
        entered.append(True)
    assert entered


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


def test_files_that_belong_together_are_replaced_together(tmp_path, monkeypatch):
    """None while one of them does not fit; and then in order, with only renames in between."""
    paths = [tmp_path / name for name in ("paths", "rows", "manifest")]
    write_together(dict.fromkeys(paths, b"old"))
    happened, sync, replace = [], os.fsync, Path.replace

    def fsync(opened: int) -> None:
        happened.append("sync")
        sync(opened)
        if happened == ["sync"] * 3 and full:
            raise OSError(28, "No space left on device")

    def renamed(source: Path, target: Path) -> None:
        happened.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    full = True
    with pytest.raises(InputError, match=r"manifest can't be written \(No space left on device\)"):
        write_together(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"old"] * 3
    assert files(tmp_path) == {"paths", "rows", "manifest"}
    full, happened[:] = False, []
    write_together(dict.fromkeys(paths, b"new"))
    assert happened == ["sync"] * 3 + ["paths", "rows", "manifest"]
    assert [path.read_bytes() for path in paths] == [b"new"] * 3


def test_two_processes_may_write_one_file(tmp_path, monkeypatch):
    """Where nothing can be locked: what is renamed is whole, and is the one's or the other's."""
    path, sync, written = tmp_path / "f", os.fsync, []

    def meanwhile(opened: int) -> None:
        sync(opened)
        if not written:  # another process writes all of its own in between
            written.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                atomic_write(path, b"theirs, longer")
            assert path.read_bytes() == b"theirs, longer"

    monkeypatch.setattr(os, "fsync", meanwhile)
    atomic_write(path, b"ours")
    assert path.read_bytes() == b"ours"
    assert files(tmp_path) == {"f"}


FILL = """
import sys
from pathlib import Path
import numpy as np
from mirrorflow import InputError
from mirrorflow.results import Folder, Run
folder, numbers = Folder(Path(sys.argv[1])), np.random.default_rng(0).standard_normal(2000)
runs = [Run({"seed": seed}, "d") for seed in range(200)]
for run in runs[:9]:
    folder.write(run, {"status": "ok"}, {"x": numbers})
folder.consolidate(runs[:1], "", {})
try:
    for run in runs[9:]:
        folder.write(run, {"status": "ok"}, {"x": numbers})
    folder.consolidate(runs, "", {})
except InputError as error:
    print(error)
"""


def check_full(folder: Path, said: str, reason: str) -> None:
    """One sentence with the file and the reason; what was there is whole, nothing is left over."""
    assert re.fullmatch(rf"\S+ can't be written \({reason}\)\.\n", said), said
    opened = Folder(folder)
    runs = [Run({"seed": seed}, "d") for seed in range(200)]
    found = [opened.read(run) for run in runs]
    assert all(found[:9])
    assert load(folder)["seed"].tolist() == [0]
    assert [p for p in folder.rglob("*") if p.name.startswith(".")] == []


def test_a_limit_on_the_size_of_files_is_said(tmp_path):
    """As on a full disk: the consolidated files don't fit, the runs do."""
    process = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        check=True,
    )
    check_full(tmp_path, process.stdout, "File too large")


@pytest.mark.slow
def test_a_full_disk_is_said(tmp_path):
    """On a file system of 1 MB of its own."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    mount = ["unshare", "--mount", "sh", "-c"]
    small = f"mount -t tmpfs -o size=1m tmpfs {disk}"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mount, small], capture_output=True).returncode
    ):
        pytest.skip("a file system can't be mounted here: not root, or no unshare")
    script = f'{small} && "$0" -c "$1" {disk}; df --output=avail {disk} | tail -1 >&2; '
    script += f"cp -a {disk} {kept}"
    done = subprocess.run(
        [*mount, script, sys.executable, FILL], capture_output=True, text=True, check=True
    )
    check_full(kept, done.stdout, "No space left on device")
    assert len(list((kept / "shards").iterdir())) < 200  # it was full


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
    (folder.shards / f"{runs[0].key}.run").write_bytes(b"PK")
    assert folder.consolidate(runs, "", {})["seed"].tolist() == [1]


def test_no_finished_run_gives_empty_files(tmp_path):
    assert Folder(tmp_path).consolidate([RUN], "", {}).empty
    assert load(tmp_path).empty
    assert load_paths(tmp_path / "paths.npz") == {}


def test_a_foreign_repository_is_no_commit_of_ours(tmp_path, monkeypatch, capfd):
    """Installed into the environment of another project, below that project's repository."""
    place = tmp_path / ".venv" / "environment.py"
    place.parent.mkdir()
    place.touch()
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    module = importlib.import_module("mirrorflow.runs.store.environment")
    monkeypatch.setattr(module, "__file__", str(place))
    found = module.environment()
    assert found["git_commit"] is None
    assert found["git_dirty"] is None
    assert capfd.readouterr() == ("", "")  # what git says of it is nobody's business
    # once the package is part of it, its commit is ours
    for words in (["add", "-f", str(place)], [*identity, "commit", "-q", "-m", "ours"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    log = subprocess.run(["git", "log", "--format=%H"], cwd=tmp_path, capture_output=True)
    found = module.environment()
    assert found["git_commit"] == log.stdout.decode().split()[0]
    assert found["git_dirty"] is False
    place.write_text("changed")
    assert module.environment()["git_dirty"] is True


CPUINFO = "vendor_id\t: V\nmodel name\t: Fast: 2.0 GHz\nmodel name\t: another\n"


def test_the_machine_is_named(monkeypatch):
    module = importlib.import_module("mirrorflow.runs.store.environment")
    found = module.environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["system"].split() == [platform.system(), platform.machine()]
    assert found["cores"] == os.cpu_count()
    assert found["packages"]["numpy"] == np.__version__
    assert module.versions(["no-such-package", "pandas"]) == {"pandas": pd.__version__}
    read = Path.read_text

    def processor(content: str | None, platforms: str) -> str:
        def opened(path: Path, *given, **named) -> str:
            if str(path) != "/proc/cpuinfo":
                return read(path, *given, **named)
            if content is None:
                raise FileNotFoundError
            return content

        monkeypatch.setattr(Path, "read_text", opened)
        monkeypatch.setattr(platform, "processor", lambda: platforms)
        return module.environment()["processor"]

    assert processor(CPUINFO, "p") == "Fast: 2.0 GHz"
    assert processor("vendor_id\t: V\n", "p") == processor(None, "p") == "p"
    assert processor(None, "") == "unknown"


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("git", 10)])
def test_where_git_does_not_answer_there_is_no_commit(monkeypatch, error):
    def check_output(*_, **__):
        raise error

    monkeypatch.setattr(subprocess, "check_output", check_output)
    found = importlib.import_module("mirrorflow.runs.store.environment").environment()
    assert (found["git_commit"], found["git_dirty"]) == (None, None)


def test_the_command_can_be_typed_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", "--out", "with space", "--totals", "1"])
    said = command_line("mirrorflow.sweep")
    assert said == "python -m mirrorflow.sweep --out 'with space' --totals 1"


# ---- figures of an earlier command


def test_figures_of_the_command_before_go_and_other_files_stay(tmp_path):
    folder, run = Folder(tmp_path), Run({"seed": 0}, "d")
    folder.write(run, {"status": "ok"}, {})
    (tmp_path / "mine.png").write_bytes(b"mine")
    drawn = [tmp_path / name for name in ("old.png", "old.pdf", "edited.png", "kept.png")]
    for path in drawn:
        path.write_bytes(path.name.encode())
    folder.consolidate([run], "one", {})
    folder.conclude({}, drawn)
    (tmp_path / "edited.png").write_bytes(b"edited")
    folder.consolidate([run], "two", {})
    left = {path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".pdf")}
    assert left == {"mine.png", "edited.png"}


@pytest.mark.parametrize(
    "figures",
    [
        ["x"],
        {"../outside.png": "D"},
        {"shards/x.run": "D"},
        {"a\0b": "D"},
        {"": "D"},
        {"..": "D"},
        {"x" * 5000: "D"},
    ],
    ids=["list", "outside", "below", "nul", "empty", "up", "long"],
)
def test_a_manifest_removes_nothing_but_figures_beside_it(tmp_path, figures):
    digest = hashlib.sha256(b"theirs").hexdigest()
    folder = Folder(tmp_path / "out")
    for path in (tmp_path / "outside.png", folder.shards / "x.run"):
        path.write_bytes(b"theirs")
    text = json.dumps({"figures": figures}).replace('"D"', json.dumps(digest))
    (folder.path / "manifest.json").write_text(text)
    folder.consolidate([], "", {})
    assert (tmp_path / "outside.png").exists()
    assert (folder.shards / "x.run").exists()
