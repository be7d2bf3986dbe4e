"""Table and figures that compare protocols at equal sparsity and equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gpu_bench.report import drawing, gathered, published, tables
from gpu_bench.report.lines import label, lines
from gpu_bench.report.statistics import lag, percent, plain
from gpu_bench.report.tables import INTERVAL
from gpu_bench.sparsities import near

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figures", "print_table"]

NUMBERS = ("seeds", "zeros,\n%", "epochs", "multiply-\nadds", "accuracy,\n%")


def print_table(console: Console, frame: pandas.DataFrame, targets: Sequence[float]) -> None:
    """Print accuracy beside sparsity, epochs and multiply-adds, one section per target.

    `frame` is of `gathered.gather`, targets are sparsities.
    """
    first = frame.iloc[0]
    where = "validation" if first["validation"] else "test"
    table: list[list[str]] = []
    good = frame[frame["status"] == "completed"]
    for target in targets:
        there = gathered.at(good, target)
        name = f"{100 * target:g} %"
        for (setup, method, epochs), rows in there.groupby(
            ["setup", "method", "epochs_spent"], sort=False
        ):
            numbers = [
                str(rows["seed"].nunique()),
                f"{100 * rows['sparsity'].mean():.1f}",
                f"{epochs:g}",
                plain(rows["training_flops"].mean(), ".2e"),
                percent(rows["accuracy"]),
            ]
            table.append([name, str(setup), label(str(method)), *numbers])
            name = ""
        for point in published.at(first["dataset"], first["model"], target):
            zeros, spent = f"{100 * point.sparsity:g}", str(point.epochs or "")
            table.append([name, "published", point.name, "", zeros, spent, "", point.accuracy])
            name = ""
        table.append([])
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}: {where} accuracy at equal sparsity, by cost\n"
        f"mean{INTERVAL} over seeds",
        ["zeros", "protocol", "method", *NUMBERS],
        table,
        names=3,
        remarks=[_diverged(frame), _far(good, targets), lag(frame)],
    )


def _diverged(frame: pandas.DataFrame) -> str:
    """Return how many runs of each line are left out because they diverged."""
    bad = frame[frame["status"] != "completed"].drop_duplicates("key")
    counts = (bad["method"] + ", " + bad["setup"]).value_counts(sort=False)
    words = [f"{count} of {name}" for name, count in counts.items()]
    return f"Left out, diverged: {'; '.join(words)}." if words else ""


def _far(frame: pandas.DataFrame, targets: Sequence[float]) -> str:
    """Return which setups of which folders are near none of the targets."""
    words = []
    for (folder, setup), rows in frame.groupby(["folder", "setup"], sort=False):
        there = rows["sparsity"]
        if not any(near(zeros, target) for zeros in there for target in targets):
            levels = f"{100 * there.min():.1f} to {100 * there.max():.1f} %"
            words.append(f"{setup} of {folder} ({levels})")
    wanted = ", ".join(f"{100 * target:g} %" for target in targets)
    return f"Left out, no row near {wanted} zeros: {'; '.join(words)}." if words else ""


def figures(out: Path, frame: pandas.DataFrame, targets: Sequence[float]) -> list[Path]:
    """Draw comparison-sparsity.* and comparison-cost.* into `out`; returns the files."""
    from mirrorflow.plots.style import save

    good = frame[frame["status"] == "completed"]
    longest = gathered.levels(good)
    title = "accuracy against sparsity, longest training of each"
    drawings = {
        "comparison-sparsity": drawing.accuracy(
            lines(longest, longest["setup"]), title, _setting(good)
        ),
        "comparison-cost": _cost(good, targets),
    }
    return [file for name, figure in drawings.items() for file in save(figure, out / name)]


def _cost(frame: pandas.DataFrame, targets: Sequence[float]) -> Figure:
    # looked at together, so that a line looks the same in both figures
    curves = [
        line
        for line in lines(frame, frame["setup"])
        if any(len(gathered.at(line.rows, target)) for target in targets)
    ]

    def draw(grid: list[Axes]) -> None:
        pairs = zip(grid, grid[len(targets) :], strict=False)
        for (above, below), target in zip(pairs, targets, strict=True):
            for line in curves:
                there = line._replace(rows=gathered.at(line.rows, target))
                for axes, cost in ((above, "epochs_spent"), (below, "training_flops")):
                    drawing.spread(axes, there, "epochs_spent", cost, "accuracy", 100.0)
            above.set(xlabel="training epochs, all cycles")
            above.set_title(f"at {100 * target:g} % zeros", loc="left")
            drawing.multiply_adds(below)
            for axes in (above, below):
                axes.set_xlim(left=0.0)
                drawing.percents(axes)

    caption = (
        f"{_setting(frame)} {drawing.BANDS} Each line at its sparsity nearest to the panel's, "
        f"at most half a step of iterative pruning away. Masked weights cost nothing."
    )
    return drawing.make_figure(2 * len(targets), 2.3, draw, curves, caption, across=len(targets))


def _setting(frame: pandas.DataFrame) -> str:
    seeds = int(frame.groupby(["setup", "method"])["seed"].nunique().max())
    return f"{drawing.data(frame, seeds)}."
