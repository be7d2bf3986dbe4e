"""Command line of the studies."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import InputError, refused_file
from mirrorflow.extras import EXTRAS, require

if TYPE_CHECKING:
    import pandas

    from mirrorflow.results import Folder
    from mirrorflow.sweep.study import Study, Summary, Verdict

STUDIES = {
    "theorem23": "Theorem 2.3 on real and synthetic regressions (the default)",
    "initialization": "PILoT's against the balanced initialisation (Figure 1a)",
    "regularization": "the best schedule of each of three regularisers (Figure 1b)",
    "schedules": "every schedule of each regulariser (Figure 4)",
    "sgd": "the same by SGD (Figure 5)",
    "claims": "the ledger: every claim of the theory, with a verdict each",
}
REPORT = "report", "an HTML page of a result folder"


def main(arguments: list[str] | None = None) -> int:
    """Run a study; returns the exit code: 0 done, 1 runs failed, 2 bad input, 128 + signal."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "theorem23"
    warnings.showwarning = _say_warning
    try:
        require("python -m mirrorflow.sweep", *EXTRAS["study"])
        if name == "claims":
            require("the study claims", "torch")
        if name == REPORT[0]:
            from mirrorflow.report import command

            return command.main(words)
        if name not in STUDIES:
            listed = ", ".join([*STUDIES, REPORT[0]])
            raise InputError(f"STUDY must be one of {listed}, but it is {name!r}.")
        return run(configure(name, words))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # not a file's fault
            raise
        print(f"error: {refused_file(error)}", file=sys.stderr)
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
    listed = "\n".join(f"  {study}: {text}" for study, text in [*STUDIES.items(), REPORT])
    return tyro.cli(
        kind,
        args=words,
        prog=f"python -m mirrorflow.sweep {name}",
        description=f"{kind.__doc__}\n\nStudies:\n{listed}",
    )


def run(study: Study) -> int:
    """Compute what is missing, write the results, print the verdicts, draw the figures."""
    runs = list({run.key: run for run in study.runs()}.values())  # a value given twice is one

    from mirrorflow.execution import Stopped, stoppable
    from mirrorflow.results import Folder, command_line, split
    from mirrorflow.sweep.runner import execute

    folder = Folder(study.out)
    folder.units = study.units
    command = command_line("mirrorflow.sweep")
    going_on = command.replace(" --force", "")
    farewell = f"\nInterrupted; finished runs are kept. To go on: {going_on}"
    try:
        with stoppable(farewell), folder.lock():
            failures = execute(study, runs, folder, study.jobs or os.cpu_count() or 1)
            frame, _ = split(folder.consolidate(runs, command, _plain(study)))
            if len(frame):
                _conclude(study, folder, frame)
    except KeyboardInterrupt as stop:
        print(farewell, file=sys.stderr)
        return stop.code if isinstance(stop, Stopped) else 130
    for failed, failure in failures[:3]:
        print(f"error: a run failed: {failed.spec}\n{failure.message}", file=sys.stderr)
    if failures:
        print(f"error: {len(failures)} of {len(runs)} runs failed.", file=sys.stderr)
        return 1
    return 0


def _conclude(study: Study, folder: Folder, frame: pandas.DataFrame) -> None:
    """Print verdicts, draw figures, and keep both for the report."""
    from rich.console import Console

    from mirrorflow.results import load_paths
    from mirrorflow.sweep.table import print_summary, print_verdicts

    console = Console()
    remarks, verdicts = study.remarks(frame), study.verdicts(frame)
    summary = study.summary(frame)
    if summary is not None:
        print_summary(console, summary)
    print_verdicts(console, study.title, verdicts, [study.note, *remarks])
    drawn = study.figures(frame, load_paths(study.out / "paths.npz"))
    folder.conclude(_said(study, verdicts, remarks, summary), drawn)
    names = ["rows.parquet", "paths.npz", "manifest.json", *(file.name for file in drawn)]
    places = f"{len(frame)} runs in {study.out}/: {', '.join(names)}"
    console.print(f"\n{places}", highlight=False, soft_wrap=True)


def _said(
    study: Study, verdicts: Sequence[Verdict], remarks: Sequence[str], summary: Summary | None
) -> dict[str, Any]:
    """The same for the manifest, as plain JSON."""
    from mirrorflow.sweep.table import GOOD

    claims = [
        {
            **verdict._asdict(),
            "value": float(verdict.value),
            "bound": float(verdict.bound),
            "expected": verdict.verdict in GOOD,
        }
        for verdict in verdicts
    ]
    return {
        "study": type(study).__name__.lower(),
        "title": study.title,
        "claims": {"title": study.title, "note": study.note, "claims": claims},
        "remarks": list(remarks),
        "summary": None if summary is None else summary._asdict(),
        **study.facts(),
    }


def _plain(study: Study) -> dict[str, Any]:
    values, kept = dataclasses.asdict(study), (int, float, list, tuple, type(None))
    return {k: v if isinstance(v, kept) else str(v) for k, v in values.items()}


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
