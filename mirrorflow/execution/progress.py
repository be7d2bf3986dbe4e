"""Progress of a command on stderr: bars in a terminal, a line a minute in a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

__all__ = ["Board"]

FIRST, EVERY = 5.0, 60.0  # seconds until the first line in a file, and between lines
SILENCE = 5.0  # seconds without a result after which the wait is told
MOST = 8  # parts named in a line


class Board:
    """How many runs of a command are done, and how far those are that tell.

    Parameters
    ----------
    total, done : int
        Runs, and how many of them were on disk before.
    visible : bool
        False shows nothing.
    """

    def __init__(self, total: int, done: int = 0, visible: bool = True) -> None:
        self._visible, self._terminal = visible, sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _Words(self._time),
            console=Console(file=sys.stderr),
            disable=not (visible and self._terminal),
        )
        self._before, self._results = done, 0
        self._started = self._last = time.monotonic()
        self._all = self._progress.add_task("runs", total=total, completed=done)
        self._parts: dict[str, TaskID] = {}
        self._finished: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, daemon=True)

    def __enter__(self) -> Board:
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()
        self._closed.set()
        self._thread.join()
        if kind is None:
            self._write_line()

    def show(self, key: str, title: str, done: int, total: int, words: str) -> None:
        """Show how far a part is; it keeps its line until `finish`."""
        if key in self._finished:  # its last words came after its result
            return
        if key not in self._parts:
            self._parts[key] = self._progress.add_task(title, total=total, words="")
        self._progress.update(self._parts[key], completed=done, words=words)

    def finish(self, key: str, runs: int = 1) -> None:
        """Count the runs of a part that has ended, and drop its line."""
        self._finished.add(key)
        if key in self._parts:
            self._progress.remove_task(self._parts.pop(key))
        self._results, self._last = self._results + 1, time.monotonic()
        self._progress.advance(self._all, runs)

    def _time(self, task: Task) -> str:
        """Time spent and an estimate of what is left, both for all runs."""
        if task.id != self._all:
            left = task.time_remaining
            words = str(task.fields["words"])
            return words if left is None else f"{words}  {_clock(left)} left"
        now, done = time.monotonic(), int(task.completed) - self._before
        left = int(task.total or 0) - int(task.completed)
        words = _clock(now - self._started)
        if left and self._results >= 2:  # what ends first is no measure of the rest
            estimate = (self._last - self._started) * left / done - (now - self._last)
            words += f", about {_clock(max(estimate, 0.0))} left"
        if left and now - self._last > SILENCE:
            words += f", {_clock(now - self._last)} since the last result"
        return words

    def _write_lines(self) -> None:
        wait = FIRST
        while not self._closed.wait(wait):
            self._write_line()
            wait = EVERY

    def _write_line(self) -> None:
        if not self._visible or self._terminal:
            return
        everything, *parts = self._progress.tasks
        words = [f"{_count(everything)}, {self._time(everything)}", *map(_count, parts[:MOST])]
        print("; ".join(words), file=sys.stderr, flush=True)


class _Words(ProgressColumn):
    """Text that is made anew whenever the bars are drawn."""

    def __init__(self, words: Callable[[Task], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:
        return Text(self._words(task))


def _count(task: Task) -> str:
    return f"{task.description} {task.completed:.0f}/{task.total:.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
