"""Command line of the studies."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from typing import Any

from mirrorflow.checks import InputError

STUDIES = {"theorem23": "Theorem 2.3 on real and synthetic regressions (the default)"}


def main(arguments: list[str] | None = None) -> int:
    """Run a study; returns the exit code: 0 done, 1 runs failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    study = words.pop(0) if words and not words[0].startswith("-") else "theorem23"
    warnings.showwarning = _say_warning
    try:
        if study not in STUDIES:
            raise InputError(f"STUDY must be one of {', '.join(STUDIES)}, but it is {study!r}.")
        return _run(study, words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(study: str, words: list[str]) -> int:
    import tyro

    from mirrorflow.sweep import theorem23

    listed = "\n".join(f"  {name}: {text}" for name, text in STUDIES.items())
    config = tyro.cli(
        theorem23.Theorem23,
        args=words,
        prog=f"python -m mirrorflow.sweep {study}",
        description=f"{theorem23.Theorem23.__doc__}\n\nStudies:\n{listed}",
    )
    runs = config.runs()

    from rich.console import Console

    from mirrorflow.results import Folder, command_line
    from mirrorflow.sweep.runner import execute
    from mirrorflow.sweep.table import print_verdicts

    folder = Folder(config.out)
    command = command_line("mirrorflow.sweep")
    jobs = config.jobs or os.cpu_count() or 1
    try:
        failures = execute(runs, theorem23.compute, folder, jobs, force=config.force)
    except KeyboardInterrupt:
        print(f"\nInterrupted; finished runs are kept. To go on: {command}", file=sys.stderr)
        return 130
    frame = folder.consolidate(runs, command, _plain(config))
    for run, message in failures[:3]:
        print(f"error: a run failed: {run.spec}\n{message}", file=sys.stderr)
    console = Console()
    if len(frame):
        from mirrorflow.results import load_paths

        print_verdicts(console, theorem23.verdicts(frame), frame)
        drawn = theorem23.figures(config, frame, load_paths(config.out / "paths.npz"))
        names = ["rows.parquet", "paths.npz", "manifest.json", *(f.name for f in drawn)]
        console.print(
            f"\n{len(frame)} runs in {config.out}/: {', '.join(names)}",
            highlight=False,
            soft_wrap=True,
        )
    if failures:
        print(f"error: {len(failures)} of {len(runs)} runs failed.", file=sys.stderr)
        return 1
    return 0


def _plain(config: Any) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    return {k: v if isinstance(v, (int, float, list, tuple)) else str(v) for k, v in values.items()}


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
