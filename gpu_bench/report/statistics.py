"""Mean and confidence interval over seeds, and which sparsities count as the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

__all__ = ["SHOWN", "counted", "interval", "near", "nearest", "percent", "plain"]

SHOWN = (0.8, 0.9, 0.95, 0.98)
# Half a step of iterative pruning, in the logarithm of the share that is kept; the last digit is
# for counts of weights, which are whole. Levels 1 − 0.8^k leave no sparsity without a neighbour.
NEAR = 0.5 * math.log(1.0 / 0.8) + 1e-3


def interval(values: Any) -> tuple[float, float]:
    """Return mean and half the width of its 95 % confidence interval (t distribution).

    The half width is NaN for fewer than two finite values.
    """
    from scipy.stats import t

    kept = np.asarray(values, dtype=float)
    kept = kept[np.isfinite(kept)]
    if len(kept) == 0:
        return math.nan, math.nan
    if len(kept) == 1:
        return float(kept[0]), math.nan
    error = float(kept.std(ddof=1)) / math.sqrt(len(kept))
    return float(kept.mean()), float(t.ppf(0.975, len(kept) - 1)) * error


def percent(values: Any) -> str:
    """Return mean ± half width of shares, in percent with two digits; – without a value."""
    return plain(100.0 * np.asarray(values, dtype=float), ".2f")


def plain(values: Any, form: str) -> str:
    """Return mean ± half width in a format of Python's; – without a value."""
    mean, half = interval(values)
    if math.isnan(mean):
        return "–"
    return format(mean, form) + ("" if math.isnan(half) else f" ± {format(half, form)}")


def counted(rows: pandas.DataFrame) -> str:
    """Return the number of completed runs, and of those that diverged."""
    completed = rows.loc[rows["status"] == "completed", "key"].nunique()
    diverged = rows["key"].nunique() - completed
    return f"{completed} (+{diverged} diverged)" if diverged else str(completed)


def nearest(sparsities: Iterable[float], wanted: float) -> float:
    """Return the sparsity whose share of kept weights has the ratio nearest to 1."""
    return min(sparsities, key=lambda sparsity: _distance(sparsity, wanted))


def near(sparsity: float, wanted: float) -> bool:
    """Say whether the kept shares differ by no more than half a step of iterative pruning."""
    return _distance(sparsity, wanted) <= NEAR


def _distance(one: float, other: float) -> float:
    return abs(math.log((1.0 - one) / (1.0 - other)))
