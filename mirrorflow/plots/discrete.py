"""The figure of study `discrete`: distance to three limits against the step size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.colours import BLACK, PALETTE, QUANTITIES, SOFT
from mirrorflow.plots.style import STYLE, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["discrete"]

TARGETS = {
    "flow_distance": (QUANTITIES["flow"], "o", "distance to the limit of gradient flow"),
    "predicted_distance": (PALETTE[0], "s", "to the limit predicted before training"),
    "discrete_distance": (QUANTITIES["steps"], "^", "to the exact limit of these steps"),
}
FLOOR = 1e-17  # where an end point is the limit to the last digit
TOP = 10.0  # where runs that did not converge are marked


def discrete(frame: pandas.DataFrame, width: str = "page") -> Figure:
    """Draw the distance of the end point from three limits, over max|x|, against the step size η.

    A panel for each method: median and range over problems, slopes 1 and 2 beside them; η in units
    of 2/λ_max.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `discrete` (`mirrorflow.results.load`).
    width : "column" or "page"
        3.25 or 6.75 inches.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the width is neither.

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/discrete_rows.parquet")
    >>> len(discrete(rows).axes)
    3
    """
    methods = frame["method"].unique()
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(methods), width, 2.8, sharey=True)
        for axes, method in zip(grid, methods, strict=True):
            rows = frame[frame["method"].eq(method)]
            _panel(axes, rows)
            axes.set_title(_name(rows.iloc[0]), loc="left")
        for axes in grid if width == "column" else grid[:1]:
            axes.set_ylabel("distance of $x_K$ over $\\max |x|$")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=1 if width == "column" else 2
        )
        row = frame.iloc[0]
        words = (
            f"Sparse recovery, n = {row['n']}, d = {row['d']}, {row['k']} nonzeros, no penalty; "
            f"x = m ⊙ w from x₀ ~ N(0, I/√d), β = {row['beta']:g}; runs to a misfit of 1e-12; "
            f"median and range of {frame['seed'].nunique()} problems. λ_max is that of the Hessian "
            "at the flow's limit. Dotted: ∝ η and ∝ η². Dashed: the method's own edge of stability "
            "there (median). Heavy ball steps η(1 − μ)."
        )
        if "sgd" in methods:
            streams = frame.loc[frame["method"].eq("sgd"), "streams"].iloc[0]
            words += f" SGD: the mean of {streams:.0f} runs; to the exact limit, the worst of them."
        caption(figure, words)
    return figure


def _name(row: pandas.Series) -> str:
    if row["method"] == "heavy_ball":
        return f"heavy ball, $\\mu = {row['momentum']:g}$"
    if row["method"] == "sgd":
        return f"SGD, batches of {row['batch_size']:.0f}"
    return "gradient descent"


def _panel(axes: Axes, rows: pandas.DataFrame) -> None:
    done = rows[rows["status"].eq("converged")]
    for column, (colour, marker, label) in TARGETS.items():
        groups = done.groupby("ratio")[column]
        middle = groups.median().clip(lower=FLOOR)
        axes.plot(middle.index, middle, color=colour, marker=marker, ms=3, lw=1.1, label=label)
        low, high = groups.min().clip(lower=FLOOR), groups.max().clip(lower=FLOOR)
        axes.fill_between(middle.index, low, high, color=colour, alpha=0.15, lw=0)
        order = {"flow_distance": 1, "predicted_distance": 2}.get(column)
        if order and len(middle):
            ends = np.array([middle.index[0], 1.0])
            guide = middle.iloc[0] * (ends / ends[0]) ** order
            axes.plot(ends, guide, color="#999999", ls=":", lw=1.0, zorder=1)
    lost = rows[rows["status"].ne("converged")].groupby("ratio").size()
    tops = np.full(len(lost), TOP)
    axes.plot(
        lost.index, tops, "x", color=BLACK, ms=5, label="a run that diverged or did not converge"
    )
    axes.axvline(float(rows["edge"].median()), color=SOFT, ls="--", lw=1.0)
    axes.set(xscale="log", yscale="log", xlabel="step size $\\eta$ in $2/\\lambda_{\\max}$")
