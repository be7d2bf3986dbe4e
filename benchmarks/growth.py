"""How time grows: exponents fitted to the rows of the cases in which one size varies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas

__all__ = ["contestants", "exponent", "exponents", "work"]

COLUMNS = ["kind", "axis", "entry", "points", "exponent", "error", "unit"]
COLUMNS += ["per_work", "per_work_error"]
UNITS = ("right_hand_sides", "factorizations")


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope of log seconds over log sizes, and its standard error.

    The error is nan where two points leave nothing to estimate it from.

    Raises
    ------
    ValueError
        With fewer than two different sizes.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    if np.unique(x).size < 2:
        raise ValueError(f"an exponent needs two sizes at least, but there is {sizes!r}")
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    freedom = x.size - 2
    spread = np.sqrt(rest @ rest / freedom / (centred @ centred)) if freedom else np.nan
    return slope, float(spread)


def work(row: pandas.Series) -> tuple[str, float]:
    """What a row's time is mostly spent on, and how many of it a run needs; ("", nan) unknown."""
    sides, factors = (np.nan_to_num(float(row.get(name, np.nan))) for name in UNITS)
    if sides == factors == 0.0:
        return "", np.nan
    # n(n + 1)d + n³/3 flop are some n/4 times the 4nd of a right-hand side
    implicit = factors * row["n"] / 4 >= sides
    return (UNITS[1], factors) if implicit else (UNITS[0], sides)


def contestants(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The measured rows of the growth cases; a batch's size is no part of an entry's name here."""
    measured = rows[(rows["group"] == "growth") & (rows["status"] == "measured")]
    return measured.assign(entry=measured["entry"].str.replace(r" × \d+$", "", regex=True))


def exponents(rows: pandas.DataFrame) -> pandas.DataFrame:
    """One row for each kind (flow, limit), axis and entry.

    Columns: kind, axis, entry, points, exponent ± its error of the time per run, and
    per_work ± per_work_error of the time per right-hand side or factorization, `unit`, where
    the entry counts them by the same unit at every size.
    """
    measured = contestants(rows)
    if measured.empty:
        return pandas.DataFrame()
    measured = measured[measured["axis"].isin(["d", "n", "runs"])]
    fits = []
    kinds = measured["case"].str.partition(",")[0]
    for (kind, axis, entry), part in measured.groupby([kinds, "axis", "entry"], sort=False):
        if part["value"].nunique() < 2:
            continue
        slope, error = exponent(part["value"], part["median_seconds"])
        units, counts = zip(*[work(row) for _, row in part.iterrows()], strict=True)
        per_work, per_error = np.nan, np.nan
        unit = units[0] if len(set(units)) == 1 else ""
        if unit:
            per_work, per_error = exponent(part["value"], part["median_seconds"] / np.array(counts))
        fit = (len(part), slope, error, unit, per_work, per_error)
        fits.append((kind, axis, entry, *fit))
    return pandas.DataFrame(fits, columns=COLUMNS if fits else ())
