"""Computes the runs of a grid: finished ones are skipped, each is on disk as soon as it is done."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow import execution
from mirrorflow.checks import Array, InputError
from mirrorflow.execution.progress import Board
from mirrorflow.results import Folder, Row, Run

if TYPE_CHECKING:
    from gpu_bench.experiment import Place
    from gpu_bench.ranks import Ranks

__all__ = ["Job", "Readings", "execute"]


@dataclasses.dataclass(frozen=True)
class Job:
    """How to compute one run, in whichever process.

    Attributes
    ----------
    compute : callable
        compute(run, place, ranks, tell) -> (row, arrays); a function of a module.
    place : Place
        Where data, networks and checkpoints are.
    ranks : Ranks
        The processes that compute each run together.
    """

    compute: Callable[..., tuple[Row, dict[str, Array]]]
    place: Place
    ranks: Ranks


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading(Run):
    """One entry of a run's lists; it has the run's key."""

    place: int = 0

    @property
    def run(self) -> Run:
        return Run(self.spec, self.digest)


class Readings(Folder):
    """A result folder whose rows.parquet has several rows per run: one per sparsity or cycle.

    On disk a run is one shard, as everywhere; its lists become rows when they are consolidated.
    Rows of one run share their `key`, under which paths.npz has its curves.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        The lists of a run's row, and the columns that their entries go to.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        super().__init__(path)
        self._columns = columns
        self._last: tuple[str, tuple[Row, dict[str, Array]] | None] = ("", None)

    def read(self, run: Run) -> tuple[Row, dict[str, Array]] | None:
        if not isinstance(run, _Reading):
            return super().read(run)
        if self._last[0] != run.key:  # one file for all of its entries
            self._last = (run.key, super().read(run.run))
        found = self._last[1]
        if found is None:
            return None
        row, arrays = dict(found[0]), found[1]
        flat = {name: row.pop(column)[run.place] for column, name in self._columns.items()}
        return {**row, **flat}, arrays

    def consolidate(
        self, runs: Iterable[Run], command: str, configuration: Mapping[str, Any]
    ) -> Any:
        readings = []
        for run in runs:
            found = super().read(run)
            places = len(found[0][next(iter(self._columns))]) if found else 1
            readings += [_Reading(run.spec, run.digest, place) for place in range(places)]
        return super().consolidate(readings, command, configuration)


def execute(
    job: Job,
    runs: Sequence[Run],
    folder: Folder,
    processes: int,
    force: bool,
    scheduler: str | None = None,
) -> list[tuple[Run, execution.Failure]]:
    """Compute every run that is not on disk yet; return those that failed.

    A run that was broken off goes on from its last checkpoint. Ctrl-C leaves what is finished on
    disk and raises KeyboardInterrupt. `scheduler` is the address of a cluster, which must see the
    result folder and the data where this machine sees them.
    """
    todo = [run for run in runs if force or folder.read(run) is None]
    job.ranks.agree(" ".join([str(force), *(run.key for run in todo)]))
    failures: list[tuple[Run, execution.Failure]] = []
    processes = max(min(processes, len(todo)), 1)
    with (
        Board(len(runs), len(runs) - len(todo), job.ranks.first) as board,
        _Workers(job, processes, scheduler, board) as workers,
    ):
        if force and job.ranks.first:  # at once: who breaks this off goes on without it
            for run in runs:
                folder.forget(run)
                _checkpoints(job, run).clear()
        job.ranks.barrier()
        for run, outcome in workers.outcomes(todo):
            board.finish(run.key)
            if isinstance(outcome, execution.Failure):
                failures.append((run, outcome))
                if job.ranks.first and not outcome.refused:
                    folder.fail(run, outcome.message, outcome.attempts)
            elif job.ranks.first:
                folder.write(run, *outcome)
                _checkpoints(job, run).clear()
    return failures


def _checkpoints(job: Job, run: Run) -> Any:
    from gpu_bench.checkpoints import Checkpoints

    return Checkpoints(job.place.out / "checkpoints", run.key)


Result = tuple[Row, dict[str, Array]]


class _Workers(contextlib.ExitStack):
    """Who computes: this process, each rank, or a crew that has answered once this is entered."""

    def __init__(self, job: Job, processes: int, scheduler: str | None, board: Board) -> None:
        super().__init__()
        self._job, self._show = job, functools.partial(_show, board)
        self._processes, self._scheduler = processes, scheduler
        self._crew: execution.Crew | None = None

    def __enter__(self) -> _Workers:
        super().__enter__()
        if self._job.ranks.size > 1:  # nothing can be repeated by one rank alone
            return self
        self._compute = functools.partial(_compute_here, self._job, self._show)
        if self._processes > 1 or self._scheduler is not None:
            post = self.enter_context(_Post(self._show))
            self._compute = functools.partial(_compute_and_post, self._job, post.address)
        self._crew = self.enter_context(execution.crew(self._processes, self._scheduler))
        return self

    def outcomes(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Result | execution.Failure]]:
        """Each run as it ends, with its result or why there is none."""
        if self._crew is not None:
            pieces = [[run] for run in runs]
            for (run,), outcome in execution.carry(self._compute, pieces, self._crew):
                yield run, outcome if isinstance(outcome, execution.Failure) else outcome[0]
            return
        for run in runs:
            try:
                yield run, _compute(self._job, self._show, run)
            except InputError as error:
                yield run, execution.Failure(str(error), 1, True)


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


def _compute_and_post(job: Job, address: Address, runs: Sequence[Run]) -> list[Result]:
    try:
        connection = Client(address[0], authkey=address[1])
    except (OSError, EOFError, AuthenticationError):  # nobody listens: compute all the same
        return _compute_here(job, lambda _: None, runs)
    with connection:

        def send(event: Event) -> None:
            with contextlib.suppress(OSError):
                connection.send(event)

        return _compute_here(job, send, runs)


def _compute_here(job: Job, send: Callable[[Event], None], runs: Sequence[Run]) -> list[Result]:
    return [_compute(job, send, run) for run in runs]


def _compute(job: Job, send: Callable[[Event], None], run: Run) -> Result:
    epochs = run.spec["epochs"] * run.spec.get("cycles", 1)
    boards = job.place.tensorboard if job.ranks.first else None
    with warnings.catch_warnings(), _scalars(boards, run) as write:
        warnings.simplefilter("ignore")  # said once, when the grid was set up

        def tell(epoch: Any) -> None:
            record = dataclasses.asdict(epoch)
            send((run.key, _title(run.spec), epochs, record))
            write(record)

        try:
            return job.compute(run, job.place, job.ranks, tell)
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":
                raise InputError(_too_large(run.spec)) from None
            raise


def _too_large(spec: Row) -> str:
    size = spec["batch_size"]
    return (
        f"--batch-size {size} does not fit into the memory of {spec['device']}; try "
        f"--batch-size {max(size // 2, 1)}."
    )


def _title(spec: Row) -> str:
    """What tells a run from the others, as far as the board has room."""
    words = [spec["method"], spec.get("variant"), spec.get("mask")]
    if spec.get("target_sparsity") is not None:
        words.append(f"{spec['target_sparsity']:g}")
    return " ".join([*(word for word in words if word), f"seed {spec['seed']}"])


@contextlib.contextmanager
def _scalars(folder: Path | None, run: Run) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes an epoch's record for TensorBoard, where a folder is named."""
    if folder is None:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    name = f"{run.spec['method']}-seed{run.spec['seed']}-{run.key[:8]}"
    with SummaryWriter(str(folder / name)) as writer:

        def write(record: dict[str, Any]) -> None:
            for key, value in record.items():
                if key != "number":
                    writer.add_scalar(key, value, record["number"])
            writer.flush()

        yield write


def _show(board: Board, event: Event) -> None:
    """Show the epoch of a run."""
    key, title, epochs, epoch = event
    words = (
        f"loss {epoch['loss']:.3f}  accuracy {epoch['accuracy']:.3f}"
        f" → {epoch['test_accuracy']:.3f}  α {epoch['alpha']:.2e}  A {epoch['total']:.2f}"
        f"  ‖x‖₁ {epoch['norm']:.0f}  {epoch['images_per_second']:,.0f} images/s"
    )
    board.show(key, title, epoch["number"], epochs, words)
