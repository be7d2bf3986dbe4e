"""Command line of the vision benchmark: python -m gpu_bench.run [PROTOCOL] [flags]."""

from __future__ import annotations

import os
import sys

from mirrorflow.extras import TABLES
from mirrorflow.runs.cli import Program, command

PROGRAM = Program(
    module="gpu_bench.run",
    kind="PROTOCOL",
    package="gpu_bench.settings",
    default="one-shot",
    needs=("torch", *TABLES),
    others={
        "report": (
            "compare the result folders of several protocols",
            "gpu_bench.report.command:Report",
        )
    },
)
main = command(PROGRAM.main)

if __name__ == "__main__":
    code = main()
    if "RANK" in os.environ:  # gloo's threads may abort a process that ends in the usual way
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
