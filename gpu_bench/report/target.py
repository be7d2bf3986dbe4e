"""Table of the strengths that `target` tried, and which of each method came nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from gpu_bench.methods import METHODS
from gpu_bench.report import tables
from gpu_bench.report.lines import label
from gpu_bench.report.statistics import lag
from gpu_bench.settings.target import close, sparsity
from gpu_bench.sparsities import ahead, nearest
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["best", "drawings", "print_table", "tried"]


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
            found = sum(sparsity(kind, row) for row in records) / len(records)
            rows.append(
                {
                    **{"method": name, "option": option, "flag": flag, "value": value},
                    **{"sparsity": found, "uncut": runs["uncut_accuracy"].mean()},
                    **{"accuracy": runs["accuracy"].mean(), "away": ahead(found, target)},
                }
            )
    return pandas.DataFrame(rows)


def best(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return of each method, by name, the row of `tried` that answers the search.

    Of the strengths that are close to the target or, where weights are cut, beyond it, the one with
    the best accuracy at the target, the weaker if equal; else the nearest. Further columns:
    `found`, whether there is one of the first, and `runs`, how many strengths there are.
    """
    table, target = tried(frame), float(frame["target"].iloc[0])
    table["runs"] = table.groupby("method")["value"].transform("count")
    exact = table["method"].map(lambda name: METHODS[name].exact)
    distance = table["away"].abs()
    there = table["sparsity"].map(lambda found: close(found, target))
    table["found"] = there | (~exact & (table["away"] > 0.0))
    order = table.assign(
        missed=~table["found"], rank=distance.mask(table["found"], -table["accuracy"])
    )
    order = order.sort_values(["missed", "rank", "value"]).drop_duplicates("method")
    return order.sort_index().set_index("method")


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print the sparsity and the accuracy at every strength; * marks what was found."""
    first, table, chosen = frame.iloc[0], tried(frame), best(frame)
    rows: list[list[str]] = []
    for name, own in table.groupby("method", sort=False):
        there = chosen.loc[name]
        for _, row in own.iterrows():
            mark = "* " if there["found"] and row["value"] == there["value"] else "  "
            numbers = [100 * row[column] for column in ("sparsity", "uncut", "accuracy")]
            cells = [f"{number:.2f}" for number in numbers]
            rows.append([mark + label(str(name)), f"{row['flag']} {row['value']:g}", *cells])
        rows.append([])
    wanted = f"{100 * first['target']:g} %"
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: zeros a method makes "
        f"itself, or that cost at most a point\naccuracy in % on {100 * first['validation']:g} % "
        f"of the training images; * nearest to {wanted} zeros",
        ["  method", "strength", "zeros, %", "uncut", f"at {wanted}"],
        rows,
        names=2,
        remarks=[lag(frame)],
    )


def drawings(frame: pandas.DataFrame, paths: dict[str, Array]) -> dict[str, Figure]:
    """Return none: the table says it all."""
    return {}
