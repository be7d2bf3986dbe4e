"""Command line of the studies."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mirrorflow.extras import EXTRAS, require
from mirrorflow.runs.cli import chosen, command, configured, failed, plain, typed

if TYPE_CHECKING:
    import pandas

    from mirrorflow.runs.store import Folder, Run
    from mirrorflow.runs.study import Study, Summary, Verdict

PROGRAM = "python -m mirrorflow.sweep"
STUDIES = {
    "theorem23": "Theorem 2.3 on real and synthetic regressions (the default)",
    "initialization": "PILoT's against the balanced initialisation (Figure 1a)",
    "regularization": "the best schedule of each of three regularisers (Figure 1b)",
    "schedules": "every schedule of each regulariser (Figure 4)",
    "sgd": "the same by SGD (Figure 5)",
    "claims": "the ledger: every claim of the theory, with a verdict each",
}
REPORT = "report", "an HTML page of a result folder"


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a study, or make a page; returns the exit code of `mirrorflow.runs.cli`."""
    name, words = chosen(arguments, "STUDY", [*STUDIES, REPORT[0]], "theorem23")
    require(PROGRAM, *EXTRAS["study"])
    if name == "claims":
        require("the study claims", "torch")
    if name == REPORT[0]:
        from mirrorflow.runs.report.command import main as report

        return report(words)
    return run(name, configure(name, words))


def configure(name: str, words: list[str]) -> Study:
    """The study's configuration from its flags; `--help` and unknown flags exit here."""
    from mirrorflow.sweep import claims, descents, theorem23

    kinds: dict[str, type[Study]] = {
        "theorem23": theorem23.Theorem23,
        "initialization": descents.Initialization,
        "regularization": descents.Regularization,
        "schedules": descents.Schedules,
        "sgd": descents.Sgd,
        "claims": claims.Claims,
    }
    return configured(kinds[name], words, f"{PROGRAM} {name}", {**STUDIES, **dict([REPORT])})


def run(name: str, study: Study) -> int:
    """Compute what is missing, write the results, print the verdicts, draw the figures."""
    runs = {run.key: run for run in study.runs()}  # a value given twice is one

    from mirrorflow.runs.runner import execute
    from mirrorflow.runs.stopping import stoppable
    from mirrorflow.runs.store import Folder, command_line, split

    folder = Folder(study.out)
    folder.units = study.units
    line = command_line("mirrorflow.sweep")
    going_on = line.replace(" --force", "")
    farewell = f"\nInterrupted; finished runs are kept. To go on: {going_on}"
    verdicts: list[Verdict] = []
    with stoppable(farewell), folder.lock():
        todo = list(runs.values())
        failures = execute(study, todo, folder, study.jobs or os.cpu_count() or 1)
        frame, _ = split(folder.consolidate(todo, line, plain(study)))
        if len(frame):
            verdicts = _conclude(study, folder, frame)
    refuted = [verdict for verdict in verdicts if verdict.refuted]
    for verdict in refuted:
        numbers = f"value {verdict.value:.1e}, bound {verdict.bound:.1e}"
        print(f"{verdict.verdict}: {verdict.claim} ({numbers})", file=sys.stderr)
        for key in study.against(frame, verdict)[:1]:
            again = _repeat(name, study, runs[key], verdict.claim)
            print(f"To repeat one: {again}", file=sys.stderr)
    code = failed(failures, len(runs), lambda run: _repeat(name, study, run))
    return code or 3 * bool(refuted)


def _repeat(name: str, study: Study, run: Run, claim: str | None = None) -> str:
    narrow = dataclasses.replace(study.narrowed(run, claim), out=study.out / "repeat")
    return typed(f"{PROGRAM} {name}", narrow)


def _conclude(study: Study, folder: Folder, frame: pandas.DataFrame) -> list[Verdict]:
    """Print verdicts, draw figures, and keep both for the report; returns the verdicts."""
    from rich.console import Console

    from mirrorflow.runs.store import load_paths
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
    return verdicts


def _said(
    study: Study, verdicts: Sequence[Verdict], remarks: Sequence[str], summary: Summary | None
) -> dict[str, Any]:
    """The same for the manifest, as plain JSON."""
    from mirrorflow.sweep.table import GOOD

    claims = [{**one._asdict(), "expected": one.verdict in GOOD} for one in verdicts]
    return {
        "study": type(study).__name__.lower(),
        "title": study.title,
        "claims": {"title": study.title, "note": study.note, "claims": claims},
        "remarks": list(remarks),
        "summary": None if summary is None else summary._asdict(),
        **study.facts(),
    }


if __name__ == "__main__":
    sys.exit(main())
