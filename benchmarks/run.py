"""Flows and limits against every rival: one command, one table, its figures and its page.

    python -m benchmarks.run --quick                 # all of it at toy size, a minute or two
    python -m benchmarks.run                         # half an hour to an hour, on an idle machine
    python -m benchmarks.run --publish               # and docs/performance.md with figures/

Rivals are the extra `bench` (pip install -e ".[bench]"); those that are not installed are named
and left out. Every entry is written after each of its repetitions; finished cases are not
measured again unless the code changes or --fresh asks for it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    import pandas

    from benchmarks.measure import Entry
    from mirrorflow.runs.store import Folder, Row, Run

ROOT = Path(__file__).parents[1]
MEASURED = ["numpy", "scipy", "torch", "cvxpy", "clarabel", "scs", "highspy", "scikit-learn"]
MEASURED += ["celer", "diffrax", "jax", "torchdiffeq"]
Group = Literal["flows", "stiff", "limits", "l1", "growth", "large"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Flows and limits against every rival."""

    quick: bool = False
    """toy sizes: shows that everything runs, its figures mean nothing"""
    only: tuple[Group, ...] = ()
    """measure these groups only; what is there of the others is shown too"""
    repetitions: int = 5
    """interleaved timings of every entry"""
    threads: int = 1
    """processor threads that everybody may use"""
    out: Path = Path("results/benchmarks")
    """folder of the rows"""
    fresh: bool = False
    """measure anew what is there already"""
    publish: bool = False
    """fill docs/performance.md and figures/benchmark_* from the rows"""


def limit_threads(threads: int) -> None:
    """Bind this process and its children to as many processors; before numpy is imported."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):  # pools that count processors see no more than these
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


@dataclass(frozen=True, slots=True)
class Book:
    """The rows of this command: which run they belong to, and the folder that holds them."""

    folder: Folder
    common: Row
    digest: str
    runs: list[Run]

    def run(self, **spec: Any) -> Run:
        """The run with this specification; noted for the table."""
        from mirrorflow.runs.store import Run

        run = Run({**spec, **self.common}, self.digest)
        if run not in self.runs:
            self.runs.append(run)
        return run

    def wanted(self, group: str, runs: Iterable[Run], settings: Settings) -> bool:
        """Whether these are asked for, and not all of them have their last row."""
        found = [self.folder.read(run) for run in runs]
        ended = all(pair is not None and pair[0]["status"] != "measuring" for pair in found)
        return (settings.fresh or not ended) and (not settings.only or group in settings.only)


def measure_cases(book: Book, settings: Settings) -> None:
    """The plan's cases, one after the other."""
    from rich.progress import Progress
    from threadpoolctl import threadpool_limits

    from benchmarks.measure import measure
    from benchmarks.plan import FULL, QUICK, plan

    with Progress() as progress, threadpool_limits(settings.threads):
        for case in plan(QUICK if settings.quick else FULL):
            runs = {
                entry.name: book.run(
                    case=case.name, entry=entry.name, runs=entry.runs, **case.setting
                )
                for entry in case.entries
            }
            if not book.wanted(case.setting["group"], runs.values(), settings):
                continue
            task = progress.add_task(case.name, total=len(runs) * (settings.repetitions + 1))

            def save(entry: Entry, row: Row, seconds: Any, runs=runs, task=task) -> None:
                book.folder.write(runs[entry.name], row, {"seconds": seconds})
                ended = row["status"] in ("left out", "failed")
                progress.update(task, advance=settings.repetitions + 1 if ended else 1)
                if ended or row["status"] == "measured":
                    about = f"{runs[entry.name].spec['case']}: {entry.name}: {_line(row)}"
                    progress.console.print(about, soft_wrap=True)

            measure(case, settings.repetitions, save)
            progress.remove_task(task)


def _line(row: Row) -> str:
    if row["status"] != "measured":
        return f"{row['status']}: {row['message']}"
    error = f", error {row['error']:.1e}" if "error" in row else ""
    return f"{1e3 * row['median_seconds']:.4g} ms a run, {row['median_ratio']:.3g}×{error}"


def measure_large(book: Book, settings: Settings) -> None:
    """The large problem, dense and sparse, each in a process of its own."""
    import numpy as np
    from rich.console import Console

    from benchmarks.large import STAGES, run_stages
    from benchmarks.plan import FULL, QUICK

    n, d = (QUICK if settings.quick else FULL).large
    for name, density in (("dense", None), ("sparse", 0.01)):
        runs = {
            stage: book.run(case=f"large, {name}", entry=stage, runs=1, group="large", n=n, d=d)
            for stage in STAGES
        }
        if not book.wanted("large", runs.values(), settings):
            continue
        for stage, row, seconds in run_stages(n, d, density, settings.repetitions):
            book.folder.write(runs[stage], row, {"seconds": np.array(seconds)})
            Console().print(f"large, {name}: {stage}: {row.get('median_seconds', row['message'])}")


def measure_machine(book: Book, settings: Settings) -> None:
    """The rates that the cost model needs."""
    import numpy as np

    from benchmarks.machine import rates
    from benchmarks.plan import FULL, QUICK

    scale = QUICK if settings.quick else FULL
    run = book.run(case="machine", entry="rates", runs=1, group="machine", n=scale.n, d=scale.d)
    if book.wanted("machine", [run], replace(settings, only=())):  # every table needs them
        row = {"status": "measured", "message": "", **rates(scale.n, scale.d)}
        book.folder.write(run, row, {"seconds": np.zeros(0)})


def open_book(settings: Settings) -> Book:
    """The folder, and what all rows have in common: another machine or version is another run."""
    from mirrorflow.runs.store import Folder, code_digest, environment
    from mirrorflow.runs.store.environment import versions

    known = {"python": environment()["python"], **versions(MEASURED)}
    common = {
        "scale": "quick" if settings.quick else "full",
        "repetitions": settings.repetitions,
        "threads": settings.threads,
        "processor": environment()["processor"],
        "versions": ", ".join(f"{name} {version}" for name, version in known.items()),
    }
    names = ("large", "machine", "measure", "plan")
    digest = code_digest(*(f"benchmarks.{name}" for name in names))
    return Book(Folder(settings.out), common, digest, [])


def benchmark(settings: Settings) -> pandas.DataFrame:
    """Measure, write rows.parquet, table.md, table.json and the figures; return the rows."""
    from benchmarks.page import publish, tables
    from benchmarks.plots import draw
    from mirrorflow.runs.store import atomic_write, command_line

    if settings.repetitions < 1 or settings.threads < 1:
        from mirrorflow.checks import InputError

        raise InputError(
            "--repetitions and --threads must be at least 1, but they are "
            f"{settings.repetitions} and {settings.threads}."
        )
    book = open_book(settings)
    try:
        measure_machine(book, settings)
        measure_cases(book, settings)
        measure_large(book, settings)
    finally:  # an interrupted command leaves its table too
        configuration = asdict(settings) | {"out": settings.out.name}
        rows = book.folder.consolidate(book.runs, command_line("benchmarks.run"), configuration)
    sections = tables(rows)
    text = "\n\n".join(sections.values()) + "\n"
    atomic_write(settings.out / "table.md", text.encode())
    atomic_write(settings.out / "table.json", rows.to_json(orient="records", indent=1).encode())
    draw(rows, settings.out)
    if settings.publish:
        publish(rows, settings.out, ROOT)
    print(text)
    return rows


def main() -> int:
    """The command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # `command` does it, but too late for --help
        sys.stdout.reconfigure(errors="replace")
    settings = tyro.cli(Settings, description=__doc__)
    limit_threads(settings.threads)
    from mirrorflow.runs.cli import command

    @command
    def measured() -> None:
        benchmark(settings)

    return measured()


if __name__ == "__main__":
    sys.exit(main())
