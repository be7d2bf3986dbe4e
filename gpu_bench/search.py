"""Search for a wanted sparsity: what a run's sparsity is, which strength is next, which is best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpu_bench.methods import METHODS, Method
from gpu_bench.sparsities import ahead, nearest
from mirrorflow.runs.store import Row

if TYPE_CHECKING:
    import pandas

__all__ = ["FACTOR", "best", "close", "following", "sparsity", "tried"]

FACTOR, FAR, FINE = 4.0, 2.0, 1.02


def sparsity(kind: type[Method], row: Row) -> float:
    """Return the sparsity of a run: what its method gives for nothing; NaN where it diverged."""
    if row["status"] != "completed":
        return math.nan
    return float(row["natural_sparsity" if kind.exact else "free_sparsity"])


def close(zeros: float, target: float) -> bool:
    """Say whether a sparsity is within a tenth of the wanted zeros and of the wanted rest."""
    return abs(zeros - target) <= 0.1 * min(target, 1.0 - target) + 1e-9  # levels are rounded


def following(tried: Mapping[float, float], target: float, first: float) -> float | None:
    """Return the strength to try next; None where one is close to the target.

    `tried` are strengths and their sparsities, NaN where a run diverged: that is too strong. Until
    the target lies between two of them, `FACTOR` times the largest or smallest; then between these
    two by false position in the logarithms of strength and of the share kept, no nearer to either
    than a tenth, until they differ by less than `FINE`. Strengths have three digits, as printed.
    """
    if not tried:
        return first
    if any(close(zeros, target) for zeros in tried.values()):
        return None
    away = {v: FAR if zeros != zeros else ahead(zeros, target) for v, zeros in tried.items()}
    above = min((v for v in away if away[v] > 0.0), default=math.inf)
    below = max((v for v in away if v < above and away[v] < 0.0), default=0.0)
    if above <= FINE * below:
        return None
    if below == 0.0:
        value = above / FACTOR
    elif above == math.inf:
        value = FACTOR * below
    else:
        low, high = max(away[below], -FAR), min(away[above], FAR)
        value = below * (above / below) ** min(max(low / (low - high), 0.1), 0.9)
    return float(f"{value:.3g}")


def tried(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return what each strength gave, the mean over seeds, in the order of the strengths.

    Columns: `method`, `option`, `flag`, `value`; `sparsity` (NaN where a run diverged), `uncut` and
    `accuracy`, uncut and at the target; `away`, `ahead` of the target.
    """
    import pandas

    target, rows = float(frame["target"].iloc[0]), []
    level = nearest(frame["sparsity"].unique(), target)
    for name, own in frame[frame["sparsity"] == level].groupby("method", sort=False):
        kind = METHODS[str(name)]
        options = {option: own[kind.column(option)].iloc[0] for option in kind.options()}
        option = kind.strength(options)
        flag = kind.flag(option) if option in options else f"--{option.replace('_', '-')}"
        for value, runs in own.groupby(kind.column(option)):
            records: list[Any] = runs.to_dict("records")
            mean = sum(sparsity(kind, row) for row in records) / len(records)
            rows.append(
                {
                    **{"method": name, "option": option, "flag": flag, "value": value},
                    **{"sparsity": mean, "uncut": runs["uncut_accuracy"].mean()},
                    **{"accuracy": runs["accuracy"].mean(), "away": ahead(mean, target)},
                }
            )
    return pandas.DataFrame(rows)


def best(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return of each method, by name, the row of `tried` that answers the search.

    Of the strengths that are close to the target or, where weights are cut, beyond it, the one with
    the best accuracy at the target, the weaker if equal; else the nearest. Further columns:
    `reached`, whether there is one of the first, and `runs`, how many strengths there are.
    """
    table, target = tried(frame), float(frame["target"].iloc[0])
    table["runs"] = table.groupby("method")["value"].transform("count")
    exact = table["method"].map(lambda name: METHODS[name].exact)
    distance = table["away"].abs()
    there = table["sparsity"].map(lambda zeros: close(zeros, target))
    table["reached"] = there | (~exact & (table["away"] > 0.0))
    order = table.assign(
        missed=~table["reached"], rank=distance.mask(table["reached"], -table["accuracy"])
    )
    order = order.sort_values(["missed", "rank", "value"]).drop_duplicates("method")
    return order.sort_index().set_index("method")
