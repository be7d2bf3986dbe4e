"""Command line of the benchmarks: python -m benchmarks.run [STUDY] [flags].

Rivals are the extra `bench` (pip install -e ".[bench]"); those that are not installed are named
and left out.
"""

from __future__ import annotations

import sys

from mirrorflow.extras import TABLES
from mirrorflow.runs.cli import Program, command

PROGRAM = Program("benchmarks.run", "STUDY", "benchmarks", "rivals", TABLES, {})
main = command(PROGRAM.main)

if __name__ == "__main__":
    sys.exit(main())
