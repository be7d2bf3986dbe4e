"""Stages of a sitting: each is on disk as soon as it is done, and then not repeated."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from mirrorflow.checks import InputError, number
from mirrorflow.results import Row, atomic_write, command_line, environment

__all__ = ["Sitting", "read"]

LARGEST = 2**24  # bytes of one stage's result


class Sitting:
    """A folder of results, and the time that is left.

    Parameters
    ----------
    out : Path
        Gets NAME.json for every stage.
    minutes : float
        From now on.

    Attributes
    ----------
    failed : list of str
        Names of the stages that failed, in whole or in some of their runs.

    Raises
    ------
    InputError
        If `minutes` is not above 0 or the folder can't be written to.
    """

    def __init__(self, out: Path, minutes: float) -> None:
        number("--minutes", minutes, 0.0, open_low=True)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--out must be a folder that can be written to, but {out} is not "
                f"({error.strerror})."
            ) from None
        self.out, self._end = out, time.monotonic() + 60.0 * minutes
        self.failed: list[str] = []

    def left(self) -> float:
        """Return the seconds that are left; below 0 after the end."""
        return self._end - time.monotonic()

    def stage(self, name: str, asked: Row, compute: Callable[[], Row]) -> Row | None:
        """Return a stage's result: from disk if it is complete and was asked the same, else new.

        None where no time is left, or where it raised: what one stage can't do must
        not keep the others from their share of the sitting. Its failure is on disk, and a later
        sitting tries again. A result with `complete` False is kept and gone on with; one whose
        `failures` are not empty has failed, too.
        """
        found = read(self.out, name)
        if found and found["asked"] == asked and found["status"] == "complete":
            _say(f"{name}: done before")
            result: Row = found["result"]
            return result
        if self.left() <= 0.0:
            _say(f"{name}: no time left")
            return None
        _say(f"{name} … ({self.left():.0f} s left)")
        started = time.perf_counter()
        try:
            computed, status = compute(), "complete"
        except InputError as error:
            computed, status = {"message": str(error)}, "failed"
        except Exception:
            computed, status = {"message": traceback.format_exc(limit=-6)}, "failed"
        if status == "failed":
            _say(f"{name} failed: {computed['message']}")
        elif broken := computed.get("failures"):
            status = "failed"
            _say(f"{name}: {len(broken)} runs failed, the first of them: {broken[0]}")
        elif not computed.get("complete", True):
            status = "begun"
        if status == "failed":
            self.failed.append(name)
        written = {
            "stage": name,
            "status": status,
            "asked": asked,
            "seconds": time.perf_counter() - started,
            "command": command_line("benchmarks.gpu"),
            "environment": environment(),
            "result": computed,
        }
        atomic_write(self.out / f"{name}.json", json.dumps(written, indent=1).encode())
        return None if status == "failed" else computed


def read(out: Path, name: str) -> Row | None:
    """Return what is on disk of a stage; None without a whole file of it."""
    path = out / f"{name}.json"
    try:
        if path.stat().st_size > LARGEST:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    needed = {"stage", "status", "asked", "seconds", "environment", "result"}
    return found if isinstance(found, dict) and needed <= found.keys() else None


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
