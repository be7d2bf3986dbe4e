"""Tables of verdicts and numbers, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mirrorflow.runs.study import Summary, Verdict

__all__ = ["print_summary", "print_verdicts"]


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
