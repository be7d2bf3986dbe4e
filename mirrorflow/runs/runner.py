"""Runner of a study: computes what is missing, keeps it at once, then shows all of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mirrorflow.checks import InputError
from mirrorflow.runs.executors import Failure, executor, map_unordered
from mirrorflow.runs.export import write_tables
from mirrorflow.runs.progress import Board
from mirrorflow.runs.stopping import stoppable
from mirrorflow.runs.store import Folder, Run, command_line, load_paths, split
from mirrorflow.runs.study import Study, Verdict, Work

__all__ = ["execute", "run"]


def run(study: Study, module: str, name: str) -> int:
    """Compute what is missing, write the results, print and draw what they say.

    Parameters
    ----------
    study : Study
    module, name : str
        It is the study of the command python -m MODULE NAME.

    Returns
    -------
    int
        The exit code, see `mirrorflow.runs.cli`.
    """
    work, folder = study.work(study.runs()), study.store()
    command = command_line(module)
    farewell = f"\nInterrupted; {study.kept}. To go on: {command.replace(' --force', '')}"

    def repeat(run: Run, claim: str | None = None) -> str:
        return study.narrowed(run, claim).typed(f"python -m {module} {name}")

    with stoppable(farewell), folder.lock() if work.first else contextlib.nullcontext():
        study = study.settled()
        runs: dict[str, Run] = {}
        failures: list[tuple[Run, Failure]] = []
        # a value given twice is one run; a search knows its next runs when the last are finished
        while new := {run.key: run for run in study.runs() if run.key not in runs}:
            runs |= new
            failures += execute(study, list(new.values()), folder, work)
            work.agree("finished")  # before others look at what the first has written
        if not runs:
            raise InputError(f"study {study.name} must have a run, but these flags leave none.")
        if work.first:
            frame, _ = split(folder.consolidate(runs.values(), command, study.plain()))
            verdicts = _conclude(study, folder, frame) if len(frame) else []
    work.close()
    if not work.first:
        return int(bool(failures))
    refuted = [verdict for verdict in verdicts if verdict.refuted]
    for verdict in refuted:
        numbers = f"value {verdict.value:.1e}, bound {verdict.bound:.1e}"
        print(f"{verdict.verdict}: {verdict.claim} ({numbers})", file=sys.stderr)
        for key in study.against(frame, verdict)[:1]:
            print(f"To repeat one: {repeat(runs[key], verdict.claim)}", file=sys.stderr)
    return _failed(failures, len(runs), repeat) or 3 * bool(refuted)


def _conclude(study: Study, folder: Folder, frame: Any) -> list[Verdict]:
    """Print and draw what the rows say, and keep it for the report; returns the verdicts."""
    from rich.console import Console

    console = Console()
    verdicts = study.verdicts(frame)
    about = {"study": study.name, "title": study.title, **study.show(console, frame, verdicts)}
    files = [
        *study.figures(frame, load_paths(study.out / "paths.npz")),
        *write_tables(study.out, verdicts, study.summary(frame), f"{study.title}. {study.note}"),
    ]
    folder.conclude(about, files)
    names = [*study.files, *(file.name for file in files)]
    summary = f"{frame['key'].nunique()} runs in {study.out}/: {', '.join(names)}"
    console.print(f"\n{summary}", highlight=False, soft_wrap=True)
    return verdicts


def execute(
    study: Study, runs: Sequence[Run], folder: Folder, work: Work
) -> list[tuple[Run, Failure]]:
    """Compute every run that is not on disk yet; return those that failed.

    Numbers depend neither on `jobs` nor on the study's scheduler. Ctrl-C leaves what is finished
    on disk and raises KeyboardInterrupt.
    """
    todo = [run for run in runs if study.force or folder.read(run) is None]
    work.agree(" ".join([str(study.force), *(run.key for run in todo)]))
    failures: list[tuple[Run, Failure]] = []
    batches = study.batches(todo)
    with (
        Board(len(runs), len(runs) - len(todo), work.notes, work.first) as board,
        _outcomes(study, work, batches) as outcomes,
    ):
        if study.force and work.first:  # at once: who breaks it off goes on without the flag
            for run in runs:
                folder.forget(run)
                work.clear(run)
        work.agree("ready")  # none begins before all is forgotten
        for batch, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures += [(run, outcome) for run in batch]
                for run in batch if work.first and not outcome.refused else ():
                    folder.fail(run, outcome.message, outcome.attempts)
            elif work.first:
                for run, (row, arrays) in zip(batch, outcome, strict=True):
                    folder.write(run, row, arrays)
                    work.clear(run)
            board.finish(batch[0].key, len(batch))
    return failures


@contextlib.contextmanager
def _outcomes(study: Study, work: Work, batches: Sequence[list[Run]]) -> Iterator[Any]:
    if work.together:  # no process can repeat anything by itself
        yield _in_step(work, batches)
        return
    jobs = study.processes()
    if study.scheduler is None:  # no more processes than there is work
        jobs = max(min(jobs, len(batches)), 1)
    with executor(jobs, study.scheduler, study.out.resolve() / "submitit") as pool:
        yield map_unordered(work, batches, pool)


def _in_step(work: Work, batches: Sequence[list[Run]]) -> Iterator[Any]:
    for batch in batches:
        try:
            yield batch, work(batch)
        except InputError as error:
            yield batch, Failure(str(error), 1, True)


def _failed(
    failures: Sequence[tuple[Run, Failure]], total: int, repeat: Callable[[Run], str]
) -> int:
    """Name what failed, with the commands that repeat it; returns the exit code.

    Raises
    ------
    InputError
        If a worker refused its run.
    """
    for run, failure in [pair for pair in failures if not pair[1].refused][:3]:
        print(f"error: a run failed: {run.spec}\n{failure.message}", file=sys.stderr)
        print(f"To repeat it: {repeat(run)}", file=sys.stderr)
    for _, failure in failures:
        if failure.refused:
            raise InputError(failure.message)
    if failures:
        print(f"error: {len(failures)} of {total} runs failed.", file=sys.stderr)
    return 1 if failures else 0
