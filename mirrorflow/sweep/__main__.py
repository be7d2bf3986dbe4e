"""Command line of the studies."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import InputError

if TYPE_CHECKING:
    from mirrorflow.sweep.study import Study

STUDIES = {
    "theorem23": "Theorem 2.3 on real and synthetic regressions (the default)",
    "initialization": "PILoT's against the balanced initialisation (Figure 1a)",
    "regularization": "the best schedule of each of three regularisers (Figure 1b)",
    "schedules": "every schedule of each regulariser (Figure 4)",
    "sgd": "the same by SGD (Figure 5)",
    "claims": "the ledger: every claim of the theory, with a verdict each",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a study; returns the exit code: 0 done, 1 runs failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "theorem23"
    warnings.showwarning = _say_warning
    try:
        if name not in STUDIES:
            raise InputError(f"STUDY must be one of {', '.join(STUDIES)}, but it is {name!r}.")
        return run(configure(name, words))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def configure(name: str, words: list[str]) -> Study:
    """The study's configuration from its flags; `--help` and unknown flags exit here."""
    import tyro

    from mirrorflow.sweep import claims, descents, theorem23

    kinds: dict[str, Any] = {
        "theorem23": theorem23.Theorem23,
        "initialization": descents.Initialization,
        "regularization": descents.Regularization,
        "schedules": descents.Schedules,
        "sgd": descents.Sgd,
        "claims": claims.Claims,
    }
    kind = kinds[name]
    listed = "\n".join(f"  {study}: {text}" for study, text in STUDIES.items())
    return tyro.cli(
        kind,
        args=words,
        prog=f"python -m mirrorflow.sweep {name}",
        description=f"{kind.__doc__}\n\nStudies:\n{listed}",
    )


def run(study: Study) -> int:
    """Compute what is missing, write the results, print the verdicts, draw the figures."""
    runs = study.runs()

    from rich.console import Console

    from mirrorflow.results import Folder, command_line, load_paths
    from mirrorflow.sweep.runner import execute
    from mirrorflow.sweep.table import print_summary, print_verdicts

    folder = Folder(study.out)
    command = command_line("mirrorflow.sweep")
    try:
        failures = execute(study, runs, folder, study.jobs or os.cpu_count() or 1)
    except KeyboardInterrupt:
        print(f"\nInterrupted; finished runs are kept. To go on: {command}", file=sys.stderr)
        return 130
    frame = folder.consolidate(runs, command, _plain(study))
    for failed, message in failures[:3]:
        print(f"error: a run failed: {failed.spec}\n{message}", file=sys.stderr)
    if len(frame):
        console = Console()
        remarks = [study.note, *study.remarks(frame)]
        summary = study.summary(frame)
        if summary is not None:
            print_summary(console, summary)
        print_verdicts(console, study.title, study.verdicts(frame), remarks)
        drawn = study.figures(frame, load_paths(study.out / "paths.npz"))
        names = ["rows.parquet", "paths.npz", "manifest.json", *(file.name for file in drawn)]
        places = f"{len(frame)} runs in {study.out}/: {', '.join(names)}"
        console.print(f"\n{places}", highlight=False, soft_wrap=True)
    if failures:
        print(f"error: {len(failures)} of {len(runs)} runs failed.", file=sys.stderr)
        return 1
    return 0


def _plain(study: Study) -> dict[str, Any]:
    values = dataclasses.asdict(study)
    return {k: v if isinstance(v, (int, float, list, tuple)) else str(v) for k, v in values.items()}


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
