"""Figures of a sitting: accuracy over A, and throughput over the number of runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpu_bench.report import drawing
from gpu_bench.report.lines import lines
from gpu_bench.sparsities import SHOWN, near, nearest
from mirrorflow.results import Row

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["concurrency", "totals"]


def totals(frame: pandas.DataFrame) -> Figure:
    """Accuracy at the table's sparsities against the total A that each run spent."""
    from mirrorflow.plots.style import caption

    good = frame[frame["status"] == "completed"]
    first, levels = good.iloc[0], good["sparsity"].unique()
    wanted = [level for level in SHOWN if near(nearest(levels, level), level)]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(wanted), sharey=True, squeeze=False)[0]
        for axes, level in zip(panels, wanted, strict=True):
            there = good[good["sparsity"] == nearest(levels, level)]
            for line in lines(there):
                drawing.spread(axes, line, "total", "total_spent", "accuracy", 100.0)
            axes.set(xscale="log", xlabel="A = Σ ηα/(1 − momentum)")
            _plain_ticks(axes, sorted(good["total"].unique()))
            axes.set_title(f"at {100 * level:g} % zeros", loc="left")
        drawing.percents(panels[0])  # once all lines are there: the panels share the axis
        drawing.legend(figure, lines(good))
        seeds = int(good["seed"].nunique())
        caption(figure, f"{drawing.data(good, seeds)}; {first['epochs']} epochs.")

    return drawing.drawn(3.0 * len(wanted) + 1.6, 3.6, draw)


def concurrency(result: Row, device: str) -> Figure:
    """Training images per second of all runs together, against how many share the device."""
    from mirrorflow.plots.style import MARKERS, caption

    good = [row for row in result["rows"] if row["failure"] is None]
    alone = [row for row in good if row["runs"] == 1]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for way, marker in zip(dict.fromkeys(row["way"] for row in good), MARKERS, strict=False):
            # one run is one run, whichever way: it was timed once
            own = sorted(
                [*alone, *(row for row in good if row["way"] == way and row["runs"] > 1)],
                key=lambda row: row["runs"],
            )
            counts = [row["runs"] for row in own]
            axes.plot(counts, [row["images_per_second"] for row in own], marker=marker, label=way)
        axes.set(xlabel="runs at once", ylabel="training images/s together", xscale="log")
        _plain_ticks(axes, sorted({row["runs"] for row in good}))
        axes.set_ylim(0.0, 1.08 * max(row["images_per_second"] for row in good))
        axes.legend()
        caption(figure, f"{result['method']}, {device}; evaluation after every epoch included.")

    return drawing.drawn(4.6, 3.4, draw)


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Mark these values on a logarithmic x, as they are written."""
    from matplotlib.ticker import NullLocator

    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
