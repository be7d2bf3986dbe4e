"""Picture of a single result on an Axes: what `result.plot()` draws."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from mirrorflow.checks import Array, InputError
from mirrorflow.colours import BLACK, QUANTITIES, SOFT
from mirrorflow.plots.style import STYLE, tidy

__all__ = ["draw"]


def draw(result: Any, ax: Axes | None = None) -> Axes:
    """Draw x: a path against its times or steps, a point by its coordinates.

    Parameters
    ----------
    result : Flow, MomentumFlow, DescentPath, Interpolator, MaxMargin or Reference
    ax : Axes, optional
        Where to draw; without it a new figure as wide as a column.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the result holds neither a path nor a point.

    Examples
    --------
    >>> from mirrorflow import Factors, Regression, interpolator
    >>> limit = interpolator(Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.0, 0.0]), 1.0)
    >>> draw(limit).get_xlabel()
    'coordinate'
    """
    x, times = getattr(result, "x", None), getattr(result, "times", None)
    if x is None:
        raise InputError(f"result must have an x to draw, but {type(result).__name__} has none.")
    if ax is None:
        from matplotlib import pyplot

        with matplotlib.rc_context(STYLE):
            ax = pyplot.subplots(figsize=(3.25, 2.4), layout="constrained")[1]
    if x.ndim == 1:
        _point(ax, x)
    elif times is not None:
        finite = np.isfinite(times)
        _curves(ax, times[finite], x[finite], QUANTITIES["flow"], "flow")
        if not finite.all():
            ends = np.full(x.shape[1], times[finite].max(initial=1.0))
            ax.plot(ends, x[-1], "o", ms=3, color=QUANTITIES["limit"], label="limit")
        ax.set_xlabel("flow time $t$")
    else:
        _curves(ax, result.steps.astype(float), x, QUANTITIES["steps"], "descent")
        ax.set_xlabel("step $k$")
    ax.set_ylabel("$x$ (units of $x$)")
    tidy(ax)
    ax.legend()
    return ax


def _point(ax: Axes, x: Array) -> None:
    number = np.arange(x.size)
    ax.axhline(0.0, color=SOFT, lw=0.6)
    ax.vlines(number, 0.0, x, color=QUANTITIES["limit"], lw=0.8)
    ax.plot(number, x, "o", ms=3, color=QUANTITIES["limit"], label="$x$")
    ax.set_xlabel("coordinate")


def _curves(ax: Axes, times: Array, x: Array, colour: str, label: str) -> None:
    ax.plot(times, x, color=colour, lw=0.9)[0].set_label(label)
    ax.plot(np.full(x.shape[1], times[0]), x[0], "o", ms=2.5, color=BLACK, label="start")
    positive = times[times > 0]
    if positive.size > 2 and positive[-1] > 100.0 * positive[0]:
        ax.set_xscale("symlog", linthresh=float(positive[0]))
