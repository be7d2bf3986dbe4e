"""Computes the runs of a grid: finished ones are skipped, each is on disk as soon as it is done."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import Array, InputError
from mirrorflow.runs import executors
from mirrorflow.runs.progress import Board, note
from mirrorflow.runs.store import Folder, Row, Run

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
) -> list[tuple[Run, executors.Failure]]:
    """Compute every run that is not on disk yet; return those that failed.

    A run that was broken off goes on from its last checkpoint. Ctrl-C leaves what is finished on
    disk and raises KeyboardInterrupt. `scheduler` is the address of a cluster, which must see the
    result folder and the data where this machine sees them.
    """
    todo = [run for run in runs if force or folder.read(run) is None]
    job.ranks.agree(" ".join([str(force), *(run.key for run in todo)]))
    failures: list[tuple[Run, executors.Failure]] = []
    processes = max(min(processes, len(todo)), 1)
    first, together = job.ranks.first, job.ranks.size > 1
    # under torchrun nothing can be repeated by one rank alone
    workers = contextlib.nullcontext() if together else executors.executor(processes, scheduler)
    with Board(len(runs), len(runs) - len(todo), _notes(job), first) as board, workers as pool:
        if force and job.ranks.first:  # at once: who breaks this off goes on without it
            for run in runs:
                folder.forget(run)
                _checkpoints(job, run).clear()
        job.ranks.barrier()
        for run, outcome in _outcomes(job, todo, pool):
            board.finish(run.key)
            if isinstance(outcome, executors.Failure):
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


def _outcomes(
    job: Job, runs: Sequence[Run], pool: Executor | None
) -> Iterator[tuple[Run, Result | executors.Failure]]:
    """Each run as it ends, with its result or why there is none."""
    if pool is not None:
        pieces = [[run] for run in runs]
        for (run,), outcome in executors.map_unordered(
            functools.partial(_compute, job), pieces, pool
        ):
            yield run, outcome if isinstance(outcome, executors.Failure) else outcome[0]
        return
    for run in runs:
        try:
            yield run, _compute(job, [run])[0]
        except InputError as error:
            yield run, executors.Failure(str(error), 1, True)


def _notes(job: Job) -> Path:
    return job.place.out / "progress"


def _compute(job: Job, runs: Sequence[Run]) -> list[Result]:
    (run,) = runs
    epochs = run.spec["epochs"] * run.spec.get("cycles", 1)
    boards = job.place.tensorboard if job.ranks.first else None
    with warnings.catch_warnings(), _scalars(boards, run) as write:
        warnings.simplefilter("ignore")  # said once, when the grid was set up

        def tell(epoch: Any) -> None:
            record = dataclasses.asdict(epoch)
            if job.ranks.first:
                number, title = record["number"], _title(run.spec)
                note(_notes(job), run.key, title, number, epochs, _words(record))
            write(record)

        try:
            return [job.compute(run, job.place, job.ranks, tell)]
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


def _words(epoch: Mapping[str, Any]) -> str:
    return (
        f"{epoch['images_per_second']:,.0f} images/s  accuracy {epoch['accuracy']:.3f}"
        f" → {epoch['test_accuracy']:.3f}  loss {epoch['loss']:.3f}  α {epoch['alpha']:.2e}"
        f"  A {epoch['total']:.2f}  ‖x‖₁ {epoch['norm']:.0f}"
    )
