"""Tables of a study as CSV and LaTeX, beside its figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from mirrorflow.runs.formulas import typeset
from mirrorflow.runs.store import atomic_write
from mirrorflow.runs.verdicts import Summary, Verdict

__all__ = ["latex", "write_tables"]


def write_tables(
    out: Path, verdicts: Sequence[Verdict], summary: Summary | None, caption: str
) -> list[Path]:
    """Write verdicts.csv and .tex, summary.csv and .tex, as far as there are any; returns them.

    In the CSV numbers have all their digits. The LaTeX tables need the package booktabs.
    """
    files: dict[str, str] = {}
    if verdicts:
        headings = ["claim", "trials", "worst value", "bound", "verdict"]
        files["verdicts.csv"] = _csv([headings, *verdicts])
        rows = [
            [v.claim, v.trials, f"{v.value:.1e}", f"{v.bound:.1e}", v.verdict] for v in verdicts
        ]
        files["verdicts.tex"] = latex(headings, rows, "lrrrl", caption, f"{out.name}-verdicts")
    if summary is not None and summary.rows:
        files["summary.csv"] = _csv([summary.headings, *summary.rows])
        form = "l" * min(2, len(summary.headings)) + "r" * (len(summary.headings) - 2)
        label = f"{out.name}-summary"
        about = f"{summary.title}. {caption}"
        files["summary.tex"] = latex(summary.headings, summary.rows, form, about, label)
    for name, text in files.items():
        atomic_write(out / name, text.encode())
    return [out / name for name in files]


def latex(
    headings: Sequence[str], rows: Sequence[Sequence[object]], form: str, caption: str, label: str
) -> str:
    """A table of LaTeX, for the package booktabs: formulas typeset, and all of it ASCII.

    Examples
    --------
    >>> print(latex(["claim", "bound"], [["Zẋ → 0", "1e-9"]], "lr", "One & two", "t"))
    \\begin{table}
    \\caption{One \\& two}\\label{tab:t}
    \\begin{tabular}{lr}
    \\toprule
    claim & bound \\\\
    \\midrule
    $Z\\dot{x} \\to 0$ & 1e-9 \\\\
    \\bottomrule
    \\end{tabular}
    \\end{table}
    <BLANKLINE>
    """
    lines = [" & ".join(typeset(str(cell)) for cell in row) + r" \\" for row in (headings, *rows)]
    lines[1:1] = [r"\midrule"]
    head = [r"\begin{table}", rf"\caption{{{typeset(caption)}}}\label{{tab:{label}}}"]
    head += [rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
    return "\n".join([*head, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
