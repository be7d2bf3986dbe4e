"""The figure of study `depth`: excess of L1 and L2 norm against the start's scale, by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from mirrorflow.colours import BLACK, PALETTE
from mirrorflow.plots.style import MARKERS, STYLE, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["depth"]

SCALE = "start $\\alpha = 3e^{-2A}$ (units of $x^{1/L}$)"
FLOOR = 1e-9  # what float64 leaves of an excess


def depth(frame: pandas.DataFrame, width: str = "page") -> Figure:
    """Draw ‖x‖₁/min‖x‖₁ − 1 and ‖x‖₂/min‖x‖₂ − 1 against the start's scale α, by depth L.

    Median and range over problems; the law of the L1 excess dashed, minimum L1 to the left.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `depth` (`mirrorflow.results.load`).
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
    >>> rows = pandas.read_parquet("figures/depth_rows.parquet")
    >>> [axes.get_title(loc="left")[:2] for axes in depth(rows).axes]
    ['L1', 'L2']
    """
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2, width, 2.6)
        for (layers, rows), colour, marker in zip(
            frame.groupby("depth"), PALETTE, MARKERS, strict=False
        ):
            for axes, column in ((left, "l1"), (right, "l2")):
                converged = rows[rows["status"].eq("converged") & rows[column].gt(FLOOR)]
                groups = converged.groupby("scale")[column]
                middle, low, high = groups.median(), groups.min(), groups.max()
                look: dict[str, Any] = {"color": colour, "marker": marker, "ms": 3, "lw": 1.1}
                axes.plot(middle.index, middle, label=f"$L = {layers}$", **look)
                axes.fill_between(middle.index, low, high, color=colour, alpha=0.15, lw=0, zorder=1)
            law = rows.groupby("scale")["predicted_l1"].median()
            law = law[law.between(FLOOR, 0.5)]
            left.plot(law.index, law, color=BLACK, ls="--", lw=0.9, zorder=3)
        left.plot([], [], color=BLACK, ls="--", lw=0.9, label="law, before any run")
        for axes, words in (
            (left, "L1: rich as $\\alpha \\to 0$"),
            (right, "L2: kernel as $\\alpha \\to \\infty$"),
        ):
            axes.set(
                xscale="log",
                yscale="log",
                xlabel=SCALE,
            )
            axes.set_title(words, loc="left")
        left.set_ylabel("$\\|x\\|_1 / \\min \\|x\\|_1 - 1$")
        right.set_ylabel("$\\|x\\|_2 / \\min \\|x\\|_2 - 1$")
        left.legend(loc="lower right")
        row = frame.iloc[0]
        words = (
            "After Woodworth et al. 2020, whose scales are starts without decay: here "
            "x = u^L − v^L begins at u = v = 3 and decays by A, with the same limit. Sparse "
            f"recovery, n = {row['n']}, d = {row['d']}, {row['k']} nonzeros; exact limits, median "
            f"and range of {frame['seed'].nunique()} problems. Dashed: constant and exponent of "
            "the L1 excess from a linear program (L = 2) or a smooth barrier (L ≥ 3), median; at "
            "L = 2 it sets in at smaller α."
        )
        caption(figure, words)
    return figure
