"""The table of verdicts that a study prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas

__all__ = ["print_verdicts"]


def print_verdicts(
    console: Console,
    verdicts: Sequence[tuple[str, int, float, float, str]],
    frame: pandas.DataFrame,
) -> None:
    """Print claim, trials, worst value, bound and verdict; then what got no verdict."""
    table = Table(title="Theorem 2.3 and what it rests on", title_justify="left")
    table.add_column("claim", min_width=26)
    for heading in ("trials", "worst value", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for claim, trials, value, bound, verdict in verdicts:
        style = "green" if verdict == "confirmed" else "bold red"
        cells = (claim, str(trials), f"{value:.1e}", f"{bound:.1e}", f"[{style}]{verdict}[/]")
        table.add_row(*cells)
    console.print(table)
    console.print(
        "Worst: the trial with the largest value/bound. Values are relative; paths and limits "
        "are judged from integrated (m, w).",
        highlight=False,
    )
    for status, count in frame["limit_status"].value_counts().items():
        if status != "converged":
            console.print(f"{count} runs: limit {status}.", highlight=False)
    waiting = frame["status"].eq("completed") & frame["arrival"].isna()
    if waiting.any():
        console.print(
            f"{int(waiting.sum())} flows had not arrived at their end time; "
            "their verdict is the one at finite time.",
            highlight=False,
        )
    failed = frame["status"].eq("failed")
    if failed.any():
        console.print(f"{int(failed.sum())} flows failed: {frame['message'][failed].iloc[0]}")
