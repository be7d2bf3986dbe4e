"""Figures of the rows: time against error of every entry, and time against size."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.growth import contestants
from mirrorflow.plots.style import MARKERS, STYLE, caption, save

__all__ = ["draw"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CASES = {"flows": "flow, not stiff", "stiff": "flow, stiff", "limits": "limit", "l1": "minimum L1"}
AXES = {"d": "features d", "n": "samples n", "runs": "runs in a call", "A": "total A"}


def draw(rows: pandas.DataFrame, folder: Path) -> list[Path]:
    """Write benchmark_rivals and benchmark_growth as PNG and PDF into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            *save(_rivals(rows), folder / "benchmark_rivals"),
            *save(_growth(rows), folder / "benchmark_growth"),
        ]


def _rivals(rows: pandas.DataFrame) -> Figure:
    figure = Figure(figsize=(12.0, 7.4), layout="constrained")
    for axes, (case, title) in zip(figure.subplots(2, 2).flat, CASES.items(), strict=True):
        part = rows[(rows["case"] == case) & (rows["status"] == "measured")]
        for i, (_, row) in enumerate(part.iterrows()):
            _point(axes, row, max(float(row["error"]), 1e-17), i)
        axes.set(xscale="log", yscale="log", title=title)
        axes.set(xlabel="milliseconds each", ylabel="max |x − reference|")
        _decades(axes.xaxis)
        _decades(axes.yaxis)
        if len(part):
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5)
    one = rows.iloc[0]
    caption(
        figure,
        f"Time of a run (bars: least to most of {one['repetitions']} interleaved repetitions) and "
        f"distance to the reference; lower left is better. {_where(rows)}",
    )
    return figure


def _point(axes: Axes, row: pandas.Series, error: float, place: int) -> None:
    least, middle, most = (1e3 * row[f"{part}_seconds"] for part in ("least", "median", "most"))
    bar = [[middle - least], [most - middle]]
    look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
    look |= {"ls": "none", "ms": 8 if place == 0 else 5, "label": row["entry"]}
    axes.errorbar([middle], [error], xerr=bar, **look)


def _decades(axis: Axis) -> None:
    """Labels at 1, 2 and 5 of each decade where there are few decades, else at 1 only."""
    low, high = axis.get_view_interval()
    narrow = high < 200 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    if narrow and low > 1e-3:
        axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _growth(rows: pandas.DataFrame) -> Figure:
    figure = Figure(figsize=(14.0, 6.2), layout="constrained")
    measured = contestants(rows)
    panels = figure.subplots(2, 4)
    for kind, line in zip(("flow", "limit"), panels, strict=True):
        part = measured[measured["case"].str.startswith(kind)]
        looks = {
            entry: {"color": COLOURS[i], "marker": MARKERS[i], "ms": 4, "label": entry}
            for i, entry in enumerate(dict.fromkeys(part["entry"]))
        }
        for (axis, label), axes in zip(AXES.items(), line, strict=True):
            for entry in looks:
                own = part[(part["axis"] == axis) & (part["entry"] == entry)].sort_values("value")
                if own.empty:
                    continue
                parts = ("least", "median", "most")
                least, middle, most = (1e3 * own[f"{part}_seconds"] for part in parts)
                bars = [middle - least, most - middle]
                axes.errorbar(own["value"], middle, bars, **looks[entry])
            axes.set(yscale="log", xlabel=label, ylabel=f"milliseconds a {kind}")
            if axis != "A" and len(part):
                axes.set_xscale("log")
                axes.set_xticks(sorted(part.loc[part["axis"] == axis, "value"].unique()))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
            _decades(axes.yaxis)
        keys = [Line2D([], [], **look) for look in looks.values()]
        if keys:  # one legend a line: not every entry is in every panel
            line[-1].legend(handles=keys, loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption(
        figure,
        "Median of interleaved repetitions, bars from least to most. Flows: without penalty to "
        f"t = 40,000/d; against A to t = 1e4. Limits: A = 1 where it does not vary. {_where(rows)}",
    )
    return figure


def _where(rows: pandas.DataFrame) -> str:
    one = rows.iloc[0]
    trial = "Toy sizes. " if one["scale"] == "quick" else ""
    return f"{trial}{one['processor']}, {one['threads']} thread(s), float64."
