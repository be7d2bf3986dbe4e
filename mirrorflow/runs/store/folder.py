"""A result folder opened for writing: runs as they finish, then all of a command's rows."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.checks import Array, InputError
from mirrorflow.runs.store import shard
from mirrorflow.runs.store.atomic import atomic_write, write_together
from mirrorflow.runs.store.environment import environment
from mirrorflow.runs.store.load import read_manifest
from mirrorflow.runs.store.run import Row, Run
from mirrorflow.runs.store.table import as_frame, as_table
from mirrorflow.runs.untrusted import MAX_BYTES

if TYPE_CHECKING:
    import pandas

__all__ = ["Folder"]

PATIENCE = 2.0  # seconds that the ranks of a command that was killed may take to end


class Folder:
    """A result folder opened for writing.

    Parameters
    ----------
    path : Path
    units : mapping of str to str
        Columns of its rows and their units, besides those that end in `_seconds`.
    lists : mapping of str to str
        Lists of a run's row, all of one length, and the columns that their entries go to when
        rows are consolidated: one row for each entry, all with the run's `key`.

    Raises
    ------
    InputError
        If the folder can't be made or written to.

    Examples
    --------
    >>> from mirrorflow.results import Run
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> folder, run = Folder(Path(mkdtemp())), Run({"seed": 0}, "digest")
    >>> folder.write(run, {"seed": 0, "distance": 0.5}, {})
    >>> folder.read(run)
    ({'seed': 0, 'distance': 0.5}, {})
    """

    def __init__(
        self,
        path: Path,
        units: Mapping[str, str] = MappingProxyType({}),
        lists: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.path, self.shards = path, path / "shards"
        self.units, self.lists = units, lists
        self._manifest: dict[str, Any] = {}
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

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one writer; the system lets go of it if the process is killed.

        Where the file system knows no locks a warning says so, and nothing is held.

        Raises
        ------
        InputError
            If another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise InputError(
                f"--out {self.path} is in use by another process; wait until it ends, or give "
                "--out a folder of its own."
            ) from None
        except (OSError, NotImplementedError) as error:
            message = f"{self.path} can't be locked ({error}); start no second command on it."
            warnings.warn(message, stacklevel=3)
        try:
            yield
        finally:
            lock.release()

    def write(self, run: Run, row: Row, arrays: Mapping[str, Array]) -> None:
        """Put a finished run on disk, and forget that it failed before."""
        atomic_write(self._finished(run), shard.encode({**run.spec, **row}, arrays))
        with contextlib.suppress(OSError):
            self._failed(run).unlink()

    def read(self, run: Run) -> tuple[Row, dict[str, Array]] | None:
        """The finished run, or None; a shard that is damaged counts as not finished.

        Raises
        ------
        InputError
            If it is there, but the system doesn't let it be read.
        """
        path = self._finished(run)
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            row, arrays = shard.decode(path.read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValueError):
            return None
        except OSError as error:
            raise InputError(f"{path} can't be read ({error.strerror}).") from None
        return (row, arrays) if run.made(row) else None

    def forget(self, run: Run) -> None:
        """Take a run off the disk, so that it counts as not finished."""
        with contextlib.suppress(FileNotFoundError):
            self._finished(run).unlink()

    def fail(self, run: Run, message: str, attempts: int) -> None:
        """Note that a run raised `message` in its last of `attempts`; it is not finished."""
        failure = {"spec": run.spec, "message": message, "attempts": attempts}
        atomic_write(self._failed(run), json.dumps(failure).encode())

    def consolidate(
        self, runs: Iterable[Run], command: str, configuration: Mapping[str, Any]
    ) -> pandas.DataFrame:
        """Write rows.parquet, paths.npz and manifest.json from what is on disk of `runs`.

        Figures of the command before are removed: they show other rows. A file that is no longer
        what the manifest says of it stays.

        A run that failed and has not finished since gives a row of its own: its configuration,
        `status` "failed", `message` and `attempts`; see `split`.
        """
        import pyarrow.parquet

        rows, failed, paths = [], [], {}
        for run in runs:
            finished = self.read(run)
            if finished is not None:
                row, arrays = finished
                rows += self._entries({"key": run.key, **row})
                paths.update({f"{run.key}/{name}": array for name, array in arrays.items()})
            elif (failure := self._failure(run)) is not None:
                failed.append(failure)
        table = as_table([*rows, *failed], self.units)
        stream = io.BytesIO()
        pyarrow.parquet.write_table(table, stream)
        files = {"paths.npz": _npz(paths), "rows.parquet": stream.getvalue()}
        self._manifest = {
            "command": command,
            "configuration": dict(configuration),
            "runs": len(rows),
            "failed": len(failed),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "sha256": {name: _sha256(content) for name, content in files.items()},
        }
        files["manifest.json"] = _json(self._manifest)
        self._remove_figures()
        # renamed together: who reads in between sees one command's rows with its manifest
        write_together({self.path / name: content for name, content in files.items()})
        return as_frame(table)

    def _entries(self, row: Row) -> list[Row]:
        """The rows of a run: one, or one for each entry of its lists."""
        lists = {column: row.pop(name) for name, column in self.lists.items()}
        if not lists:
            return [row]
        entries = zip(*lists.values(), strict=True)
        return [{**row, **dict(zip(lists, entry, strict=True))} for entry in entries]

    def conclude(self, conclusions: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Add to the manifest what the command made of its rows, after `consolidate`.

        Parameters
        ----------
        conclusions : mapping
            `study` and `title`; `claims` (`title`, `note` and `claims`, a list of `claim`,
            `trials`, `value`, `bound`, `verdict` and whether that was `expected`), `remarks`,
            `summary` (`title`, `headings`, `rows`) or `printed` (a table as text), as far as
            there are any.
        figures : sequence of Path
            Files in the folder; the manifest gets the SHA-256 of each under its name.
        """
        hashes = {figure.name: _sha256(figure.read_bytes()) for figure in figures}
        self._manifest |= {**conclusions, "figures": hashes}
        atomic_write(self.path / "manifest.json", _json(self._manifest))

    def _remove_figures(self) -> None:
        try:
            figures = read_manifest(self.path).get("figures")
        except InputError:
            return
        for name, digest in figures.items() if isinstance(figures, dict) else ():
            path = self.path / name
            with contextlib.suppress(OSError, ValueError):  # a name may be anything
                plain = path.name == name and path.is_file() and not path.is_symlink()
                if plain and not name.startswith(".") and _sha256(path.read_bytes()) == digest:
                    path.unlink()

    def _finished(self, run: Run) -> Path:
        return self.shards / f"{run.key}.run"

    def _failed(self, run: Run) -> Path:
        return self.shards / f"{run.key}.failed.json"

    def _failure(self, run: Run) -> Row | None:
        """The row of a run that failed; None where there is no whole note of it."""
        path = self._failed(run)
        try:
            if path.stat().st_size > shard.LARGEST_ROW:
                return None
            noted = json.loads(path.read_bytes())
            spec, message, attempts = (noted[name] for name in ("spec", "message", "attempts"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        whole = isinstance(message, str) and type(attempts) is int
        if not whole or not run.made(spec):
            return None
        # lists are settings of a whole run that its rows hold entry by entry
        plain = {k: v for k, v in run.spec.items() if not isinstance(v, list | tuple | dict)}
        failure = {"status": "failed", "message": message, "attempts": attempts}
        return {"key": run.key, **plain, **failure}


def _npz(arrays: Mapping[str, Array]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub
    return stream.getvalue()


def _json(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
