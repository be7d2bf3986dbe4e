"""The table of verdicts that a study prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mirrorflow.certificates import UNJUDGED, unjudged
from mirrorflow.checks import Array
from mirrorflow.runs.study import Summary, Verdict

if TYPE_CHECKING:
    import pandas

Flags = NDArray[np.bool_]

__all__ = ["judge", "print_summary", "print_verdicts", "unjudged_trials"]

# also what is meant to be shown wrong, or to fall outside a theorem
GOOD = ("confirmed", "reproduced", "refuted (v1)", "outside")


def tried(key: str, frame: pandas.DataFrame) -> tuple[Array, Array, Flags, Flags]:
    """Every trial of a claim: value, bound, whether it holds, and whether it says nothing."""
    if key not in frame:
        return np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, bool)
    some = frame[frame[f"{key}_holds"].notna()]
    values, bounds = some[key].to_numpy(float), some[f"{key}_bound"].to_numpy(float)
    holds = some[f"{key}_holds"].to_numpy(bool)
    return values, bounds, holds, unjudged(values, bounds) & ~holds


def judge(claim: str, key: str, frame: pandas.DataFrame, printed: bool = False) -> Verdict:
    """What the rows say of a claim: "confirmed" or, if `printed`, "refuted", by every trial.

    The worst trial is the one with the largest value/bound; the one with the least where a
    formula as printed is to fail. Trials whose value or bound is nan say neither.
    """
    values, bounds, holds, silent = tried(key, frame)
    if not holds.size:
        return Verdict(claim, 0, np.nan, np.nan, "no trial finished")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.nan_to_num(values / bounds, nan=np.inf, posinf=np.inf)
    ratios[silent] = np.inf if printed else -np.inf
    worst = int(ratios.argmin() if printed else ratios.argmax())
    wrong = ~silent & (holds if printed else ~holds)
    said = "refuted" if printed else "confirmed"
    if wrong.any():
        said = f"{'not ' if printed else ''}refuted in {wrong.sum()}"
    elif silent.any():
        said = f"{UNJUDGED} in {silent.sum()}"
    return Verdict(claim, holds.size, float(values[worst]), float(bounds[worst]), said)


def unjudged_trials(claims: Mapping[str, str], frame: pandas.DataFrame) -> list[str]:
    """A sentence for each claim, by the key of its columns, that some trials can't judge."""
    counts = {claim: tried(key, frame)[3] for key, claim in claims.items()}
    return [
        f"{claim}: {some.sum()} of {some.size} trials {UNJUDGED}, as what the integrator or a "
        "solver is off by, or a flow still under way, may explain their values; try another --rtol "
        "or a later end."
        for claim, some in counts.items()
        if some.any()
    ]


def print_summary(console: Console, summary: Summary) -> None:
    """Print a table of numbers: text on the left, numbers on the right."""
    table = Table(title=summary.title, title_justify="left")
    for i, heading in enumerate(summary.headings):
        if i < 2:  # where room is short, names are wrapped and digits stay
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.rows:
        table.add_row(*row)
    console.print(table)


def print_verdicts(
    console: Console, title: str, verdicts: Sequence[Verdict], remarks: Sequence[str]
) -> None:
    """Print claim, trials, worst value, bound and verdict; then the remarks."""
    table = Table(title=title, title_justify="left")
    table.add_column("claim")
    for heading in ("trials", "worst value", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for claim, trials, value, bound, verdict in verdicts:
        style = "green" if verdict in GOOD else "yellow" if UNJUDGED in verdict else "bold red"
        cells = (claim, str(trials), f"{value:.1e}", f"{bound:.1e}", f"[{style}]{verdict}[/]")
        table.add_row(*cells)
    console.print(table)
    for remark in remarks:
        console.print(remark, highlight=False)
