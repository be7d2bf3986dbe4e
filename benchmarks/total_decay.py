"""Does the total A = Σ ηα/(1 − momentum) decide how sparse a network becomes?

    python -m benchmarks.total_decay              # 180 runs, some 20 minutes of one core
    python -m benchmarks.total_decay --jobs 2     # the same numbers in less time

ResNet-20 on scikit-learn's digits by pilot and spred, α constant over a run, for every epochs ×
learning rate × A × seed of the grid. Each run is on disk as soon as it is done and is not repeated.
OUT gets rows.parquet (a row per run), manifest.json, the two figures and collapse.md: how far the
curves of the settings (epochs, learning rate) lie apart over A, and over α. docs/total_decay.md
says what came out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import collapse
from benchmarks.total_decay_runs import compute
from mirrorflow.checks import InputError, number, whole
from mirrorflow.runs.cli import command
from mirrorflow.runs.executors import Failure, executor, map_unordered
from mirrorflow.runs.store import Folder, Row, Run, code_digest, command_line

METHODS = ("pilot", "spred")


def runs(given: argparse.Namespace) -> list[Run]:
    """Return the grid, the short runs first; raises InputError where a value breaks its rule."""
    for name in given.methods:
        if name not in METHODS:
            raise InputError(f"--methods must be among {', '.join(METHODS)}, but {name!r} is not.")
    for epochs in given.epochs:
        whole("--epochs", epochs, 1)
    for flag, values in (("--lr", given.lr), ("--totals", given.totals)):
        for value in values:
            number(flag, value, 0.0, open_low=True)
    whole("--seeds", given.seeds, 1)
    whole("--jobs", given.jobs, 1)
    digest = code_digest("benchmarks.total_decay_runs")
    grid = itertools.product(
        sorted(given.epochs), given.lr, given.totals, given.methods, range(given.seeds)
    )
    names = ("epochs", "lr", "total", "method", "seed")
    return [Run(dict(zip(names, values, strict=True)), digest) for values in grid]


def _compute(batch: Sequence[Run]) -> list[Row]:
    return [compute(run.spec) for run in batch]


@command
def main(arguments: list[str] | None = None) -> int:
    """Compute what is missing, draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--epochs", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--lr", nargs="+", type=float, default=[0.1, 0.2, 0.4], help="peak η")
    parser.add_argument("--totals", nargs="+", type=float, default=[0.5, 1, 2, 4, 6], help="A")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/total-decay"))
    given = parser.parse_args(arguments)
    grid, folder = runs(given), Folder(given.out)
    todo = [run for run in grid if folder.read(run) is None]
    with executor(given.jobs) as workers:
        work = map_unordered(_compute, [[run] for run in todo], workers)
        for done, ((run,), outcome) in enumerate(work, 1):
            if isinstance(outcome, Failure):
                print(f"error: a run failed: {run.spec}\n{outcome.message}", file=sys.stderr)
                return 1
            folder.write(run, outcome[0], {})
            said = f"accuracy at 95 %: {outcome[0]['cut']:.3f}"
            print(f"{done}/{len(todo)} {run.spec} {said}", file=sys.stderr)
    values = {name: value for name, value in vars(given).items() if name != "out"}
    frame = folder.consolidate(grid, command_line("benchmarks.total_decay"), values)
    print(collapse.report(frame, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
