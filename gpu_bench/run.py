"""Command line of the vision benchmark: python -m gpu_bench.run [PROTOCOL] [flags]."""

from __future__ import annotations

import os
import sys

from mirrorflow.extras import TABLES, require
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


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a protocol, or compare results; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    for flag in {"--method", "--methods"}.intersection(words):
        for word in words[words.index(flag) + 1 :]:
            if word.startswith("-"):
                break
            if word.endswith(".py"):
                require(PROGRAM.prog, *PROGRAM.needs)
                from gpu_bench.methods import find

                find(word)  # so that its options are flags
    return PROGRAM.main(arguments)


if __name__ == "__main__":
    code = main()
    if "RANK" in os.environ:  # gloo's threads may abort a process that ends in the usual way
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
