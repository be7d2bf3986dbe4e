"""Runs a study's work: what is finished is skipped, what finishes is on disk at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mirrorflow.checks import Array, InputError
from mirrorflow.runs.executors import Failure, executor, map_unordered
from mirrorflow.runs.progress import Board
from mirrorflow.runs.store import Folder, Row, Run
from mirrorflow.runs.study import Study
from mirrorflow.threads import controller

__all__ = ["execute"]


def execute(
    study: Study, runs: Sequence[Run], folder: Folder, jobs: int
) -> list[tuple[Run, Failure]]:
    """Compute every run that is not on disk yet; return those that failed.

    Each worker has one BLAS thread, so that the numbers depend neither on `jobs` nor on the
    study's scheduler. Ctrl-C leaves what is finished on disk and raises KeyboardInterrupt.
    """
    todo = [run for run in runs if study.force or folder.read(run) is None]
    failures: list[tuple[Run, Failure]] = []
    pieces = study.batches(todo)
    if study.scheduler is None:  # no more processes than there is work
        jobs = max(min(jobs, len(pieces)), 1)
    with Board(len(runs), len(runs) - len(todo)) as board, executor(jobs, study.scheduler) as pool:
        if study.force:  # all at once, so that who breaks it off goes on without the flag
            for run in runs:
                folder.forget(run)
        for batch, outcome in map_unordered(functools.partial(_compute, type(study)), pieces, pool):
            if isinstance(outcome, Failure):
                for run in batch:
                    folder.fail(run, outcome.message, outcome.attempts)
                    failures.append((run, outcome))
            else:
                for run, (row, arrays) in zip(batch, outcome, strict=True):
                    folder.write(run, row, arrays)
            board.finish(batch[0].key, len(batch))
    return failures


def _compute(kind: type[Study], runs: Sequence[Run]) -> list[tuple[Row, dict[str, Array]]]:
    if runs[0].digest != _digest_here(kind):
        raise InputError(
            "A worker's mirrorflow is not the one of this command; install the same on both."
        )
    with controller().limit(limits=1):
        return kind.compute([run.spec for run in runs])


@functools.cache
def _digest_here(kind: type[Study]) -> str:
    return kind.digest()
