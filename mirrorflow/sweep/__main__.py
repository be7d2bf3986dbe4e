"""Command line of the studies."""

from __future__ import annotations

import sys

from mirrorflow.extras import EXTRAS
from mirrorflow.runs.cli import Program, command

PROGRAM = Program(
    module="mirrorflow.sweep",
    kind="STUDY",
    package="mirrorflow.sweep",
    default="theorem23",
    needs=EXTRAS["study"],
    others={
        "report": ("result folders as one HTML page", "mirrorflow.runs.report.command:Report"),
        "reproduce": ("a paper: studies, ledger, page", "mirrorflow.sweep.reproduce:Reproduce"),
    },
)
main = command(PROGRAM.main)

if __name__ == "__main__":
    sys.exit(main())
