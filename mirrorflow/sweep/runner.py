"""Runs a study's work: what is finished is skipped, what finishes is on disk at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mirrorflow.checks import Array
from mirrorflow.results import Folder, Row, Run
from mirrorflow.sweep.study import Study

__all__ = ["Failure", "execute", "worker_processes"]

Failure = tuple[Run, str]


def execute(study: Study, runs: Sequence[Run], folder: Folder, jobs: int) -> list[Failure]:
    """Compute every run that is not on disk yet; return those that raised, with their message.

    One BLAS thread per process, so that the numbers don't depend on `jobs`. Ctrl-C leaves what
    is finished on disk and raises KeyboardInterrupt.
    """
    todo = [run for run in runs if study.force or folder.read(run) is None]
    failures: list[Failure] = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )
    with bar:
        task = bar.add_task("runs", total=len(runs), completed=len(runs) - len(todo))
        for batch, outcome in _outcomes(study.batches(todo), study.compute, jobs):
            if isinstance(outcome, str):
                failures += [(run, outcome) for run in batch]
            else:
                for run, (row, arrays) in zip(batch, outcome, strict=True):
                    folder.write(run, row, arrays)
            bar.advance(task, len(batch))
    return failures


Compute = Callable[[Sequence[Row]], list[tuple[Row, dict[str, Array]]]]
Outcome = tuple[list[Run], list[tuple[Row, dict[str, Array]]] | str]


def _outcomes(batches: Sequence[list[Run]], compute: Compute, jobs: int) -> Iterator[Outcome]:
    import joblib

    if jobs == 1 or len(batches) < 2:
        yield from (_attempt(batch, compute) for batch in batches)
        return
    with worker_processes(jobs):
        parallel = joblib.Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs"
        )
        yield from parallel(joblib.delayed(_attempt)(batch, compute) for batch in batches)


@contextlib.contextmanager
def worker_processes(jobs: int) -> Iterator[None]:
    """Inside, joblib's processes have one BLAS thread each and Ctrl-C reaches this process alone.

    A terminal sends Ctrl-C to the workers too, which would print a traceback each. They inherit
    that it is ignored when they start, and this process stops them.
    """
    import joblib

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            joblib.Parallel(n_jobs=jobs)(joblib.delayed(int)() for _ in range(jobs))
        finally:
            if main:
                signal.signal(signal.SIGINT, before)
        yield


def _attempt(batch: list[Run], compute: Compute) -> Outcome:
    from threadpoolctl import threadpool_limits

    try:
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # said once, when the study was set up
            return batch, compute([run.spec for run in batch])
    except Exception:  # one broken run must not take the others down; it is reported by name
        return batch, traceback.format_exc(limit=-3)
