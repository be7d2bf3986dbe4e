"""Mean and 95 % confidence interval over seeds, and counts of runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

__all__ = ["counted", "interval", "lag", "percent", "plain"]

FAR = 0.1  # accuracy that a seed or few test images explain


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


def lag(frame: pandas.DataFrame) -> str:
    """Return a remark that names the methods whose training accuracy is far above the other, as far
    as fresh statistics of batch norm mend it."""
    if "train_accuracy" not in frame:
        return ""
    good = frame[frame["status"] == "completed"]
    test = good["last_accuracy"] if "last_accuracy" in good else good["accuracy"]
    fresh = good.get("fresh_uncut_accuracy", good.get("fresh_accuracy", math.nan))
    pairs = good.assign(test=test.fillna(good["accuracy"]), fresh=fresh)
    means = pairs.groupby("method", sort=False)[["train_accuracy", "test", "fresh"]].mean()
    words = []
    for name, (train, other, anew) in means.iterrows():
        # a network without batch norm reads the same with fresh statistics; folders of earlier
        # versions have none
        if train - other > max(FAR, train / 3) and not anew - other <= FAR:
            words.append(f"{name} {100 * train:.0f} % against {100 * other:.0f} %")
    if not words:
        return ""
    return (
        f"Training accuracy of the last epoch is far above the accuracy read after it: "
        f"{', '.join(words)}. As a rule the running statistics of batch norm lag behind weights "
        f"that shrink: read fresh_accuracy in the rows, or train for more epochs."
    )


def counted(rows: pandas.DataFrame) -> str:
    """Return the number of completed runs, and of those that diverged."""
    completed = rows.loc[rows["status"] == "completed", "key"].nunique()
    diverged = rows["key"].nunique() - completed
    return f"{completed} (+{diverged} diverged)" if diverged else str(completed)
