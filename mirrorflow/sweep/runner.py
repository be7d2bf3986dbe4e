"""Runs a study's work: what is finished is skipped, what finishes is on disk at once."""

from __future__ import annotations

import sys
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

__all__ = ["Compute", "Failure", "execute"]

Compute = Callable[[Row], tuple[Row, dict[str, Array]]]
Failure = tuple[Run, str]


def execute(
    runs: Sequence[Run], compute: Compute, folder: Folder, jobs: int, *, force: bool = False
) -> list[Failure]:
    """Compute every run that is not on disk yet; return those that raised, with their message.

    One BLAS thread per process, so that the numbers don't depend on `jobs`. Ctrl-C leaves what
    is finished on disk and raises KeyboardInterrupt.
    """
    todo = [run for run in runs if force or folder.read(run) is None]
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
        for run, outcome in _outcomes(todo, compute, jobs):
            if isinstance(outcome, str):
                failures.append((run, outcome))
            else:
                folder.write(run, *outcome)
            bar.advance(task)
    return failures


Outcome = tuple[Row, dict[str, Array]] | str


def _outcomes(runs: Sequence[Run], compute: Compute, jobs: int) -> Iterator[tuple[Run, Outcome]]:
    import joblib

    if jobs == 1 or len(runs) < 2:
        yield from (_attempt(run, compute) for run in runs)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs"
        )
        yield from parallel(joblib.delayed(_attempt)(run, compute) for run in runs)


def _attempt(run: Run, compute: Compute) -> tuple[Run, Outcome]:
    from threadpoolctl import threadpool_limits

    try:
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # said once, when the study was set up
            return run, compute(run.spec)
    except Exception:  # one broken run must not take the others down; it is reported by name
        return run, traceback.format_exc(limit=-3)
