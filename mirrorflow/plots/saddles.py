"""The figure of study `saddles`: jumps on which flows collapse, and averages on the LASSO path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from mirrorflow.checks import Array
from mirrorflow.plots.style import STYLE, caption

if TYPE_CHECKING:
    import pandas

__all__ = ["saddles"]

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#0072B2")
LINES = (":", "-.", "--", "-")


def saddles(frame: pandas.DataFrame, paths: dict[str, Array]) -> Figure:
    """Flows by scale over the path from saddle to saddle; averages over lars_path; one problem."""
    rows = frame[frame["seed"].eq(frame["seed"].iloc[0])].sort_values("scale")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, (_, row) in enumerate(rows.iterrows()):
            key, look = row["key"], {"color": COLOURS[i % 6], "ls": LINES[i % 4], "lw": 1.1}
            named = f"flow, log 1/a = {row['scale']:g}"
            x, tau = paths[f"{key}/x"], paths[f"{key}/tau"]
            left.plot(tau, x, label=[named, *[None] * (x.shape[1] - 1)], **look)
            mean, penalty = paths[f"{key}/mean"], 0.5 / paths[f"{key}/at"]
            named = f"(1/t)∫x, log 1/a = {row['scale']:g}"
            right.plot(penalty, mean, label=[named, *[None] * (mean.shape[1] - 1)], **look)
        exact, lasso = paths[f"{key}/saddles"], paths[f"{key}/lasso"]
        labels = [None] * (exact.shape[1] - 1)
        left.plot(tau, exact, color="#000000", lw=0.8, label=["saddle to saddle", *labels])
        right.plot(penalty, lasso, "o", ms=2.4, color="#000000", label=["lars_path", *labels])
        left.set(
            xlabel="τ = t/log(1/a) (flow time)", ylabel="x, largest 8 coordinates (units of x*)"
        )
        left.set_title("Jumps from saddle to saddle", loc="left")
        right.set(xlabel="penalty λ = log(1/a)/(2t) (units of Zᵀy/n)", ylabel="x (units of x*)")
        right.invert_xaxis()
        right.set_title("Averages of the same flows: the LASSO path", loc="left")
        for axes in (left, right):
            axes.legend(loc="best")
        row = rows.iloc[-1]
        words = (
            "Left after Pesme & Flammarion 2023, right after Berthier 2025: sparse "
            f"recovery, n = {row['n']}, d = {row['d']}, {row['k']} nonzeros, x = m ⊙ w from x₀ = 0 "
            f"without decay. The exact path has {row['jumps']} jumps; flows keep their proven "
            f"distance of order log(1/a)^−½ to it. LASSO: f(x) + λ‖x‖₁; the exact path's average "
            f"is lars_path's to {row['path_error']:.0e}, as long as no coordinate leaves "
            f"({100 * row['monotone_share']:.0f} % of the range shown)."
        )
        caption(figure, words)
    return figure
