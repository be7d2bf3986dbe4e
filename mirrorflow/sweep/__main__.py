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
    others={"report": ("an HTML page of a result folder", "mirrorflow.runs.report.command:Report")},
)
main = command(PROGRAM.main)

if __name__ == "__main__":
    sys.exit(main())
