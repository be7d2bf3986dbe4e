"""The bias sliding from L2 to L1, in two coordinates: flows, level sets and limits by total A."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mirrorflow.checks import number
from mirrorflow.colours import BLACK, QUANTITIES
from mirrorflow.flows import gradient_flow
from mirrorflow.limits import interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.plots.planes import level_sets, setting, solution_line
from mirrorflow.plots.style import STYLE, caption
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant, Quadratic

__all__ = ["slide"]

MARGIN = 0.3  # of the window, beside what is drawn
TIMESCALE = 10.0  # of the schedule that fades


def slide(problem: Regression, start: Factors, totals: Sequence[float]) -> Figure:
    """Draw where the flow of x = m ⊙ w ends, a panel for each total A = ∫α.

    Each panel shows the solutions of Zx = y, the level sets of R_a with a = ½|m₀² − w₀²|e^{−4A},
    the flow under the decay α_t = A/10 · (1 + t/10)^{−2}, and its predicted end, the point of the
    line with the least R_a. Circles (L2) become diamonds (L1) as A grows.

    Parameters
    ----------
    problem : Regression
        One sample of two features, n = 1 and d = 2.
    start : Factors
        Two coordinates with |m₀| ≠ |w₀|.
    totals : floats ≥ 0
        A, a panel each.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the problem is not of two features and one sample, or a total breaks its rule.

    Examples
    --------
    >>> problem, start = Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.0, 0.0])
    >>> len(slide(problem, start, [0.0, 4.0]).axes)
    2
    """
    totals = [number("totals", total, 0.0) for total in totals]
    ends = [interpolator(problem, start, total).raise_if_failed().x for total in (0.0, math.inf)]
    points = np.array([*ends, start.x, np.zeros(2)])
    low, high = points.min(axis=0).min(), points.max(axis=0).max()
    pad = MARGIN * (high - low)
    window = (low - pad, high + pad, low - pad, high + pad)
    times = np.append(0.0, np.geomspace(1e-3, 1e6, 200))
    with plt.rc_context(STYLE):
        size = (6.75, 6.75 / len(totals) + 0.45)
        figure, axes = plt.subplots(
            1, len(totals), figsize=size, layout="constrained", sharey=True, squeeze=False
        )
        for ax, total in zip(axes[0], totals, strict=True):
            schedule = Quadratic.from_total(total, TIMESCALE) if total else Constant(0.0)
            flow = gradient_flow(problem, start, schedule, times).raise_if_failed()
            limit = interpolator(problem, start, total)
            level_sets(ax, HyperbolicEntropy.of(start, total), limit.x, window)
            solution_line(ax, problem, window)
            ax.plot(*flow.x.T, color=QUANTITIES["flow"], lw=1.8)
            ax.plot(*limit.x, "o", color=QUANTITIES["flow"], mec=BLACK, ms=6, zorder=4)
            ax.set_title(f"$A = {total:g}$", loc="left")
            ax.set_xlabel("$x_1$ (units of x)")
        axes[0, 0].set_ylabel("$x_2$ (units of x)")
        caption(
            figure,
            "Black: all x with Zx = y. Blue: level sets of the potential after decay A = ∫α, the "
            "one through the predicted limit (dot) bold. Orange: the integrated gradient flow with "
            f"a fading α ∝ (1 + t/{TIMESCALE:g})⁻². {setting(problem, start)}.",
        )
    return figure
