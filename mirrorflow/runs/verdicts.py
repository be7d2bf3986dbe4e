"""Verdicts on claims and tables of numbers, printed in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

__all__ = ["Summary", "Verdict", "print_summary", "print_verdicts"]

# also what is meant to be shown wrong, or to fall outside a theorem
EXPECTED = ("confirmed", "reproduced", "refuted (v1)", "refuted (changed)", "outside")


class Verdict(NamedTuple):
    """A claim, how often it was tried, its worst value against its bound, and the verdict."""

    claim: str
    trials: int
    value: float
    bound: float
    verdict: str

    @property
    def refuted(self) -> bool:
        """Whether a trial contradicts the theory.

        A formula that is refuted as printed, an experiment of the paper that is not reproduced
        and a claim that can't be judged contradict nothing.
        """
        return "refuted in " in self.verdict

    @property
    def expected(self) -> bool:
        """Whether it is what the theory says."""
        return self.verdict in EXPECTED


class Summary(NamedTuple):
    """A table to print: title, column headings, rows of cells."""

    title: str
    headings: list[str]
    rows: list[list[str]]


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
    for one in verdicts:
        wrong = one.refuted or "not " in one.verdict
        style = "green" if one.expected else "bold red" if wrong else "yellow"
        numbers = (str(one.trials), f"{one.value:.1e}", f"{one.bound:.1e}")
        table.add_row(one.claim, *numbers, f"[{style}]{one.verdict}[/]")
    console.print(table)
    for remark in remarks:
        console.print(remark, highlight=False)
