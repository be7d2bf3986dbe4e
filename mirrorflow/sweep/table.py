"""The table of verdicts that a study prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mirrorflow.sweep.study import Summary, Verdict

__all__ = ["print_summary", "print_verdicts"]

# also what is meant to be shown wrong, or to fall outside a theorem
GOOD = ("confirmed", "reproduced", "refuted (v1)", "outside")


def print_summary(console: Console, summary: Summary) -> None:
    """Print a table of numbers: text on the left, numbers on the right."""
    table = Table(title=summary.title, title_justify="left")
    for i, heading in enumerate(summary.headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for row in summary.rows:
        table.add_row(*row)
    console.print(table)


def print_verdicts(
    console: Console, title: str, verdicts: Sequence[Verdict], remarks: Sequence[str]
) -> None:
    """Print claim, trials, worst value, bound and verdict; then the remarks."""
    table = Table(title=title, title_justify="left")
    table.add_column("claim", min_width=26)
    for heading in ("trials", "worst value", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for claim, trials, value, bound, verdict in verdicts:
        style = "green" if verdict in GOOD else "bold red"
        cells = (claim, str(trials), f"{value:.1e}", f"{bound:.1e}", f"[{style}]{verdict}[/]")
        table.add_row(*cells)
    console.print(table)
    for remark in remarks:
        console.print(remark, highlight=False)
