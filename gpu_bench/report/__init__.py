"""What the rows of a grid say: a table beside the published numbers, and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gpu_bench.report import one_shot, per_cycle, target, tune
from gpu_bench.report.statistics import interval

if TYPE_CHECKING:
    import pandas

    from mirrorflow.checks import Array

__all__ = ["figures", "interval", "print_table", "screen"]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print accuracy in percent, mean ± 95 % confidence interval over seeds."""
    _reporter(frame).print_table(console, frame)


def figures(out: Path, frame: pandas.DataFrame, paths: dict[str, Array]) -> list[Path]:
    """Draw the protocol's figures of completed runs into `out`; returns the files."""
    from mirrorflow.plots.style import save

    good = frame[frame["status"] == "completed"]
    drawings = _reporter(frame).drawings(good, paths) if len(good) else {}
    return [file for name, figure in drawings.items() for file in save(figure, out / name)]


def screen() -> Console:
    """Return where tables are printed."""
    console = Console()
    # a file has no width; 80 columns would cut numbers off
    return console if console.is_terminal else Console(width=120)


def _reporter(frame: pandas.DataFrame) -> Any:
    reporters = {"one-shot": one_shot, "target": target, "tune": tune}
    return reporters.get(frame["protocol"].iloc[0], per_cycle)
