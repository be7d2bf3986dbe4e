"""The figure of study `margins`: L1 and L2 norms over the least ones of the margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.colours import BLACK, PALETTE, QUANTITIES, SOFT
from mirrorflow.plots.style import MARKERS, STYLE, below, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["margins"]

NORMS = {"l1": (QUANTITIES["l1"], "L1"), "l2": (QUANTITIES["l2"], "L2")}
COLOURS = (BLACK, *PALETTE)
FLOOR = 1e-4
LATE = 30.0


def margins(frame: pandas.DataFrame, width: str = "page") -> Figure:
    """Draw the L1 and L2 norm of x/γ over the least ones, −1, on separable labels.

    Left: against γ/a, margin over scale, flows on the curve of the margin problem. Right: against
    log t.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `margins` (`mirrorflow.results.load`).
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
    >>> rows = pandas.read_parquet("figures/margins_rows.parquet")
    >>> len(margins(rows).axes)
    2
    """
    frame = frame[frame["gamma"].gt(0)]
    first = frame["seed"].min()
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2, width, 3.3)
        _collapse(left, frame[frame["seed"].eq(first)])
        _times(right, frame[frame["seed"].eq(first)])
        row, seeds = frame.iloc[0], frame["seed"].nunique()
        caption(
            figure,
            f"Separable labels, n = {row['n']}, d = {row['d']}, exponential loss, x = m ⊙ w from "
            "x₀ = 0; γ is the least margin of x, a its scale a₀e^(−4A). Left: norms of x/γ, the "
            "transition of "
            "Moroshko et al. (2020) from the L2 to the L1 margin. Lines: the margin problem of R "
            f"with a/γ; markers: flows at log t ≥ {LATE:g}, faint before. From tiny a₀ they first "
            "separate the labels with few coordinates, and leave that direction only when log t "
            "is large against log 1/a₀. Right: the L1 norm in logarithmic time; dotted, the "
            "proven bound. One problem of "
            f"{seeds}.",
        )
    return figure


def _label(key: Any) -> str:
    scale, total = key
    number, _, power = f"{scale:g}".partition("e")
    named = f"{number} \\cdot 10^{{{int(power)}}}" if power else number
    return f"$a_0 = {named}$" + (f", $A = {total:g}$" if total else "")


def _collapse(axes: Axes, frame: pandas.DataFrame) -> None:
    ordered, groups = frame.sort_values("ratio"), frame.groupby(["scale", "total"], sort=False)
    for key, (colour, name) in NORMS.items():
        expected = ordered[f"{key}_expected"]
        look: dict[str, Any] = {"color": colour, "label": f"{name}, margin problem"}
        axes.plot(ordered["ratio"], expected.where(expected > FLOOR), **look)
        for i, (_, rows) in enumerate(groups):
            late = rows["log_time"].ge(LATE)
            style: dict[str, Any] = {
                "color": colour,
                "marker": MARKERS[i % len(MARKERS)],
                "ls": "none",
            }
            points = rows[f"{key}_excess"].clip(lower=FLOOR)
            axes.plot(rows["ratio"][~late], points[~late], ms=3, mfc="none", alpha=0.35, **style)
            axes.plot(rows["ratio"][late], points[late], ms=5, mfc="none", **style)
    for i, (start, _) in enumerate(groups):  # below the lines, in the colour of neither norm
        marker: Any = {"marker": MARKERS[i % len(MARKERS)], "mfc": "none", "ls": "none"}
        axes.plot([], [], color=SOFT, ms=5, label=_label(start), **marker)
    axes.set(xscale="log", yscale="log", xlabel="margin over scale, $\\gamma/a$")
    axes.set_ylabel("norm over the least one, less 1")
    below(axes, 2)


def _times(axes: Axes, frame: pandas.DataFrame) -> None:
    for i, (start, rows) in enumerate(frame.groupby(["scale", "total"], sort=False)):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        points = rows["l1_excess"].clip(lower=FLOOR)
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 4, "lw": 1.2}
        axes.plot(rows["log_time"], points, label=_label(start), **style)
        known = rows[rows["direction_holds"].notna()]
        axes.plot(known["log_time"], known["direction_bound"], color=colour, ls=":", lw=1.0)
    axes.set(xscale="log", yscale="log", xlabel="$\\log t$ ($t$ in flow time)")
    axes.set_ylabel("L1 norm over the least one, less 1")
    below(axes, 2)
