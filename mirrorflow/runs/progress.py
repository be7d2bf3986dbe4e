"""Progress of a command on stderr: bars in a terminal, a line a minute in a file."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

__all__ = ["Board", "note"]

POLL = 0.5  # seconds between two looks at the notes
FIRST, EVERY = 5.0, 60.0  # seconds until the first line in a file, and between lines
SILENCE = 5.0  # seconds without a result after which the wait is printed
MOST = 8  # runs named in a line
COLUMNS = "{task.description}", "{task.completed:.0f}/{task.total:.0f}", "{task.fields[words]}"


def note(folder: Path, key: str, title: str, done: int, total: int, words: str) -> None:
    """Leave word of how far a run is, for the board that watches the folder."""
    with contextlib.suppress(OSError):  # nobody watches, or the disk is full
        (folder / key).write_text(json.dumps([title, done, total, words]))


class Board:
    """How many runs of a command are done, and how far those are that leave a `note`.

    Parameters
    ----------
    total, done : int
        Runs, and how many of them were on disk before.
    folder : Path, optional
        Where runs leave notes; made here, and removed at the end.
    visible : bool
        False shows nothing.
    """

    def __init__(
        self, total: int, done: int, folder: Path | None = None, visible: bool = True
    ) -> None:
        self._folder = folder
        self._visible, self._terminal = visible, sys.stderr.isatty()
        title, count = map(TextColumn, COLUMNS[:2])
        words = TextColumn(COLUMNS[2], table_column=Column())  # wrapped, so that no other is cut
        bar, screen = BarColumn(bar_width=10), Console(file=sys.stderr)
        self._progress = Progress(title, bar, count, words, console=screen)
        self._all = self._progress.add_task("runs", total=total, completed=done, words="")
        self._parts: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}  # of the runs under way, what is done
        self._remaining, self._done, self._results = total - done, 0.0, 0
        self._started = self._last = time.monotonic()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Board:
        if self._visible:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)  # of a command that was killed
                self._folder.mkdir(parents=True)
            if self._terminal:
                self._progress.start()
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._visible:
            self._closed.set()
            self._thread.join()
            self._show(line=kind is None)
            if self._terminal:
                self._progress.stop()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def finish(self, key: str, runs: int = 1) -> None:
        """Count runs that have ended; a note of theirs is under the first one's `key`."""
        with self._lock:
            self._read(key)
            if self._folder is not None:
                (self._folder / key).unlink(missing_ok=True)
            if key in self._parts:
                self._progress.remove_task(self._parts.pop(key))
            self._done += runs - self._shares.pop(key, 0.0)
            self._remaining, self._results = self._remaining - runs, self._results + 1
            self._last = time.monotonic()
            self._progress.advance(self._all, runs)

    def _read(self, key: str) -> None:
        if self._folder is None:
            return
        try:
            title, done, total, words = json.loads((self._folder / key).read_text())
        except (OSError, ValueError):  # there is none, or it is being written
            return
        if key not in self._parts:
            self._parts[key] = self._progress.add_task(title, total=total, words="")
            self._shares[key] = (done - 1) / total  # a run that goes on did this earlier
        if done / total > self._shares[key]:
            self._done += done / total - self._shares[key]
            self._shares[key], self._last = done / total, time.monotonic()
        self._progress.update(self._parts[key], completed=done, words=words)

    def _watch(self) -> None:
        due = self._started + FIRST
        while not self._closed.wait(POLL):
            with self._lock:
                for path in [] if self._folder is None else self._folder.iterdir():
                    self._read(path.name)
                late = time.monotonic() >= due
                due += EVERY * late
                self._show(line=late)

    def _show(self, line: bool) -> None:
        everything, *parts = self._progress.tasks
        words = self._words()
        self._progress.update(self._all, words=words)
        if line and not self._terminal:
            counts = [f"{p.description} {p.completed:.0f}/{p.total:.0f}" for p in parts[:MOST]]
            first = f"runs {everything.completed:.0f}/{everything.total:.0f}, {words}"
            print("; ".join([first, *counts]), file=sys.stderr, flush=True)

    def _words(self) -> str:
        """Time spent, an estimate of what remains, and how long nothing has come."""
        now, remaining = time.monotonic(), self._remaining - sum(self._shares.values())
        words = _clock(now - self._started)
        # what ends first is no measure of the rest
        if remaining > 0 and self._done > 0 and (self._results > 1 or self._shares):
            estimate = (self._last - self._started) * remaining / self._done - (now - self._last)
            words += f", about {_clock(max(estimate, 0.0))} left"
        if remaining > 0 and now - self._last > SILENCE:
            silent = f"{_clock(now - self._last)} since the last result"
            words += f", {silent if self._done else 'no result yet'}"
        return words


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
