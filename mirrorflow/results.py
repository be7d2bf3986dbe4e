"""Runs on disk: one shard per finished run, consolidated into rows, paths and a manifest.

A folder holds

    shards/KEY.json, shards/KEY.npz   one finished run: its row, its paths
    rows.parquet                      the rows of the last command
    paths.npz                         its paths, named KEY/NAME
    manifest.json                     command, configuration, versions, hashes

Every file appears by an atomic rename, so that whatever is there is whole. KEY is a hash of the
run's configuration and of the code that computes it: finished runs are found again, a changed
configuration or a changed code is a new run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.archives import read_arrays
from mirrorflow.checks import Array, InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["Folder", "Row", "Run", "code_digest", "load", "load_paths"]

Row = dict[str, Any]  # of str, int, float, bool and None
LARGEST_ROW = 2**20  # bytes; a row holds some hundred numbers
PACKAGES = ("numpy", "scipy", "cvxpy", "clarabel", "torch", "scikit-learn", "matplotlib")


@dataclass(frozen=True, slots=True)
class Run:
    """One unit of work: a configuration without what doesn't change its numbers."""

    spec: Row
    digest: str

    @property
    def key(self) -> str:
        """Hash of specification and code: the run's name on disk."""
        text = json.dumps([self.spec, self.digest], sort_keys=True, allow_nan=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def code_digest(folder: Path, leave_out: Iterable[str]) -> str:
    """SHA-256 over the Python files in `folder` that compute numbers.

    `leave_out` names files and folders ("plots/") that don't.
    """
    skip, digest = tuple(leave_out), hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(skip):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Folder:
    """A result folder opened for writing.

    Raises
    ------
    InputError
        If the folder can't be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.shards = path, path / "shards"
        try:
            self.shards.mkdir(parents=True, exist_ok=True)
            probe = self.shards / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"--out must be a folder that can be written to, but {path} is not "
                f"({error.strerror})."
            ) from None

    def write(self, run: Run, row: Row, arrays: Mapping[str, Array]) -> None:
        """Put a finished run on disk; the row last, because its presence means finished."""
        atomic_write(self.shards / f"{run.key}.npz", _npz(arrays))
        text = json.dumps({**run.spec, **row}, allow_nan=True)
        atomic_write(self.shards / f"{run.key}.json", text.encode())

    def read(self, run: Run) -> tuple[Row, dict[str, Array]] | None:
        """The finished run, or None; a shard that can't be read counts as not finished."""
        row_path = self.shards / f"{run.key}.json"
        try:
            if row_path.stat().st_size > LARGEST_ROW:
                return None
            row = json.loads(row_path.read_bytes())
            arrays = load_paths(self.shards / f"{run.key}.npz")
        except (OSError, ValueError, RecursionError):
            return None
        same = isinstance(row, dict) and all(
            key in row and (row[key] == value or (row[key] != row[key] and value != value))
            for key, value in run.spec.items()
        )
        return (row, arrays) if same else None

    def consolidate(
        self, runs: Iterable[Run], command: str, configuration: Mapping[str, Any]
    ) -> pandas.DataFrame:
        """Write rows.parquet, paths.npz and manifest.json from the finished among `runs`."""
        import pandas

        rows, paths = [], {}
        for run in runs:
            finished = self.read(run)
            if finished is not None:
                row, arrays = finished
                rows.append({"key": run.key, **row})
                paths.update({f"{run.key}/{name}": array for name, array in arrays.items()})
        frame = pandas.DataFrame(rows)
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        files = {"rows.parquet": buffer.getvalue(), "paths.npz": _npz(paths)}
        for name, content in files.items():
            atomic_write(self.path / name, content)
        manifest = {
            "command": command,
            "configuration": dict(configuration),
            "runs": len(rows),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        atomic_write(self.path / "manifest.json", json.dumps(manifest, indent=2).encode())
        return frame


def load(folder: str | os.PathLike[str]) -> pandas.DataFrame:
    """The rows of a result folder, one per run; columns of time end in `_seconds`.

    Raises
    ------
    InputError
        If rows.parquet or manifest.json is missing, damaged, or not of one pair.
    """
    import pandas

    path, manifest = Path(folder) / "rows.parquet", Path(folder) / "manifest.json"
    try:
        content = path.read_bytes()
        expected = json.loads(manifest.read_bytes())["sha256"]["rows.parquet"]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise InputError(f"{folder} holds no {missing}; has its study finished?") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder} has no readable rows and manifest ({error}).") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path} is not the file that {manifest.name} describes; it is damaged.")
    try:
        return pandas.read_parquet(io.BytesIO(content))
    except Exception as error:  # a hostile pair of files: Parquet's readers raise anything
        raise InputError(f"{path} is not a readable Parquet file ({error}).") from None


def load_paths(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a paths.npz, by name (KEY/NAME); no pickle.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    return read_arrays(path, every=True)


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub
    return buffer.getvalue()


def atomic_write(path: Path, content: bytes) -> None:
    """Write, sync, rename: `path` holds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(f"{path} can't be written ({error.strerror}).") from None


def environment() -> dict[str, Any]:
    """Versions, processor and commit that the numbers come from."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def command_line(module: str) -> str:
    """The command that ran, as one would type it."""
    return " ".join(["python -m", module, *sys.argv[1:]])
