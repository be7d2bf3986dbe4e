"""The figure of study `saddles`: jumps on which flows collapse, and averages on the LASSO path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mirrorflow.checks import Array
from mirrorflow.colours import BLACK
from mirrorflow.plots.style import STYLE, below, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["saddles"]

WIDEST = 4.0  # points; each smaller start a has a narrower line, so that all are seen


def saddles(frame: pandas.DataFrame, paths: dict[str, Array], width: str = "page") -> Figure:
    """Draw flows from small starts a over their limit, and their averages over the LASSO path.

    Left: the 8 largest coordinates of x against τ = t/log(1/a), over the path from saddle to
    saddle. Right: (1/t)∫x against the penalty λ = log(1/a)/(2t). The first problem of the rows.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `saddles` (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, tau, x, saddles, at, mean, lasso (`mirrorflow.results.load_paths`).
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
    >>> import numpy as np, pandas
    >>> rows = pandas.read_parquet("figures/saddles_rows.parquet")
    >>> names, some = ("tau", "x", "saddles", "at", "mean", "lasso"), np.ones((2, 1))
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> len(saddles(rows, paths).axes)
    2
    """
    rows = frame[frame["seed"].eq(frame["seed"].iloc[0])].sort_values("scale")
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2, width, 3.1)
        shades = matplotlib.colormaps["Oranges"](np.linspace(0.25, 0.75, len(rows)))
        for i, (_, row) in enumerate(rows.iterrows()):
            key = row["key"]
            look: dict[str, Any] = {"color": shades[i], "lw": WIDEST * 0.65**i}
            named = f"flow, $\\log 1/a = {row['scale']:g}$"
            x, tau = paths[f"{key}/x"], paths[f"{key}/tau"]
            left.plot(tau, x, label=[named, *[None] * (x.shape[1] - 1)], **look)
            mean, penalty = paths[f"{key}/mean"], 0.5 / paths[f"{key}/at"]
            named = f"$(1/t)\\int x$, $\\log 1/a = {row['scale']:g}$"
            right.plot(penalty, mean, label=[named, *[None] * (mean.shape[1] - 1)], **look)
        exact, lasso = paths[f"{key}/saddles"], paths[f"{key}/lasso"]
        labels = [None] * (exact.shape[1] - 1)
        left.plot(tau, exact, color=BLACK, lw=0.8, ls=":", label=["saddle to saddle", *labels])
        dots: dict[str, Any] = {
            "color": BLACK,
            "ms": 3.2,
            "mfc": "none",
            "mew": 0.7,
            "markevery": 3,
        }
        right.plot(penalty, lasso, "o", label=["lars_path", *labels], **dots)
        left.set(
            xlabel="$\\tau = t/\\log(1/a)$ (flow time)",
            ylabel="8 largest $x_i$ (units of $x^*$)",
        )
        left.set_title("Jumps from saddle to saddle", loc="left")
        right.set(
            xlabel="penalty $\\lambda = \\log(1/a)/(2t)$; time runs left",
            ylabel="$x$ (units of $x^*$)",
        )
        right.set_title("Averages of the flows: the LASSO path", loc="left")
        for axes in (left, right):
            below(axes)
        row = rows.iloc[-1]
        words = (
            "Left after Pesme & Flammarion 2023, right after Berthier 2025: sparse "
            f"recovery, n = {row['n']}, d = {row['d']}, {row['k']} nonzeros, x = m ⊙ w from x₀ = 0 "
            f"without decay. The exact path has {row['jumps']} jumps; flows keep their proven "
            f"distance of order log(1/a)^−½ to it. LASSO: f(x) + λ‖x‖₁, λ in units of Zᵀy/n; the "
            f"exact path's average is lars_path's to {row['path_error']:.0e}, as long as no "
            f"coordinate leaves ({100 * row['monotone_share']:.0f} % of the range shown)."
        )
        caption(figure, words)
    return figure
