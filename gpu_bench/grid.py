"""Computes the runs of a grid: finished ones are skipped, each is on disk as soon as it is done."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mirrorflow.checks import Array, InputError
from mirrorflow.results import Folder, Row, Run
from mirrorflow.sweep.runner import worker_processes

__all__ = ["Failure", "Job", "Readings", "execute"]

LISTS = {"sparsities": "sparsity", "measured_sparsity": "measured_sparsity", "accuracy": "accuracy"}


class Failure(NamedTuple):
    """A run that raised; `refused` where the message is a sentence for the user."""

    run: Run
    message: str
    refused: bool


@dataclasses.dataclass(frozen=True)
class Job:
    """How to compute one run, in whichever process.

    Attributes
    ----------
    compute : callable
        compute(run, folder, data_root, tell) -> (row, arrays); a function of a module.
    weights : Path
        Where it writes the networks.
    """

    compute: Callable[..., tuple[Row, dict[str, Array]]]
    weights: Path
    data_root: str | None
    tensorboard: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading(Run):
    """One sparsity of a run; it has the run's key."""

    place: int = 0

    @property
    def run(self) -> Run:
        return Run(self.spec, self.digest)


class Readings(Folder):
    """A result folder whose rows.parquet has one row per run and sparsity.

    On disk a run is one shard, as everywhere; its lists over the sparsities become rows when
    they are consolidated. Rows of one run share their `key`, under which paths.npz has its curves.
    """

    _last: tuple[str, tuple[Row, dict[str, Array]] | None] = ("", None)

    def read(self, run: Run) -> tuple[Row, dict[str, Array]] | None:
        if not isinstance(run, _Reading):
            return super().read(run)
        if self._last[0] != run.key:  # one file for all of its sparsities
            self._last = (run.key, super().read(run.run))
        found = self._last[1]
        if found is None:
            return None
        row, arrays = dict(found[0]), found[1]
        flat = {name: row.pop(column)[run.place] for column, name in LISTS.items()}
        return {**row, **flat}, arrays

    def consolidate(
        self, runs: Iterable[Run], command: str, configuration: Mapping[str, Any]
    ) -> Any:
        readings = [
            _Reading(run.spec, run.digest, place)
            for run in runs
            for place in range(len(run.spec["sparsities"]))
        ]
        return super().consolidate(readings, command, configuration)


def execute(
    job: Job, runs: Sequence[Run], folder: Folder, processes: int, force: bool
) -> list[Failure]:
    """Compute every run that is not on disk yet; return those that raised.

    Ctrl-C leaves what is finished on disk and raises KeyboardInterrupt.
    """
    todo = [run for run in runs if force or folder.read(run) is None]
    failures: list[Failure] = []
    with _Board(len(runs), len(runs) - len(todo)) as board:
        for run, outcome in _outcomes(job, todo, min(processes, len(todo)), board):
            board.finish(run.key)
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                folder.write(run, *outcome)
    return failures


Outcome = tuple[Row, dict[str, Array]] | Failure


def _outcomes(
    job: Job, runs: Sequence[Run], processes: int, board: _Board
) -> Iterator[tuple[Run, Outcome]]:
    if processes < 2:
        for run in runs:
            yield _attempt(job, run, board.show)
        return
    import joblib

    with _Post(board.show) as post, worker_processes(processes):
        parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", batch_size=1)
        work = (joblib.delayed(_attempt_and_post)(job, run, post.address) for run in runs)
        yield from parallel(work)


Event = tuple[str, str, int, dict[str, Any]]  # key, title, epochs, the epoch's record
Address = tuple[Any, bytes]  # where to connect, and the key that lets one in


class _Post:
    """Brings events from the processes that compute to this one, over a local socket."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self._show, self._closed = show, False
        key = os.urandom(32)
        self._listener = Listener(authkey=key)
        self.address: Address = self._listener.address, key
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> _Post:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError, AuthenticationError):
            Client(self.address[0], authkey=self.address[1]).close()  # wakes `accept`
        self._thread.join(timeout=5.0)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                connection = self._listener.accept()
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: Any) -> None:
        with contextlib.suppress(OSError, EOFError), connection:
            while True:
                self._show(connection.recv())


def _attempt_and_post(job: Job, run: Run, address: Address) -> tuple[Run, Outcome]:
    try:
        connection = Client(address[0], authkey=address[1])
    except (OSError, EOFError, AuthenticationError):  # nobody listens: compute all the same
        return _attempt(job, run, lambda _: None)
    with connection:

        def send(event: Event) -> None:
            with contextlib.suppress(OSError):
                connection.send(event)

        return _attempt(job, run, send)


def _attempt(job: Job, run: Run, send: Callable[[Event], None]) -> tuple[Run, Outcome]:
    spec = run.spec
    title = f"{spec['method']} seed {spec['seed']}"
    write = _tensorboard(job.tensorboard, run) if job.tensorboard else None

    def tell(epoch: Any) -> None:
        record = dataclasses.asdict(epoch)
        send((run.key, title, spec["epochs"], record))
        if write is not None:
            write(record)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, when the grid was set up
            return run, job.compute(run, job.weights, job.data_root, tell)
    except InputError as error:
        return run, Failure(run, str(error), True)
    except Exception:  # one broken run must not take the others down; it is reported by name
        return run, Failure(run, traceback.format_exc(limit=-3), False)


def _tensorboard(folder: Path, run: Run) -> Callable[[dict[str, Any]], None]:
    from torch.utils.tensorboard import SummaryWriter

    name = f"{run.spec['method']}-seed{run.spec['seed']}-{run.key[:8]}"
    writer = SummaryWriter(str(folder / name))

    def write(record: dict[str, Any]) -> None:
        for key, value in record.items():
            if key != "number":
                writer.add_scalar(key, value, record["number"])
        writer.flush()

    return write


class _Board:
    """Live progress on stderr: all runs, and one line for each that is being computed."""

    def __init__(self, total: int, done: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=Console(file=sys.stderr),
        )
        self._all = self._progress.add_task("runs", total=total, completed=done, words="")
        self._tasks: dict[str, TaskID] = {}
        self._closed: set[str] = set()

    def __enter__(self) -> _Board:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Show the epoch of a run."""
        key, title, epochs, epoch = event
        if key in self._closed:  # its last words came after its result
            return
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(title, total=epochs, words="")
        words = (
            f"loss {epoch['loss']:.3f}  accuracy {epoch['accuracy']:.3f}"
            f" → {epoch['test_accuracy']:.3f}  α {epoch['alpha']:.2e}  A {epoch['total']:.2f}"
            f"  ‖x‖₁ {epoch['norm']:.0f}  {epoch['images_per_second']:,.0f} images/s"
        )
        self._progress.update(self._tasks[key], completed=epoch["number"], words=words)

    def finish(self, key: str) -> None:
        """Take a run off the board."""
        self._closed.add(key)
        task = self._tasks.pop(key, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.advance(self._all)
