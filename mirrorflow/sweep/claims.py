"""Study `claims`: the ledger, one row for each claim of the theory, proved or refuted by trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mirrorflow.checks import Array, InputError, meant, whole
from mirrorflow.claims.registry import CLAIMS, GROUPS, SECTIONS, Claim, compute
from mirrorflow.extras import require
from mirrorflow.runs.store import Run, atomic_write, code_digest
from mirrorflow.runs.study import Study, Verdict
from mirrorflow.sweep.table import judge, unjudged_trials

if TYPE_CHECKING:
    import pandas

__all__ = ["Claims"]

BATCH = 20  # trials of a group that one process computes in one go
REFUTED = {"printed": "refuted as printed", "changed": "refuted as changed"}
RIGHT = ", confirmed as corrected"
OUTSIDE = "outside conditions"
SHORT = {REFUTED["printed"] + RIGHT: "refuted (v1)", OUTSIDE: "outside"}
SHORT[REFUTED["changed"] + RIGHT] = "refuted (changed)"
INTRODUCTION = """\
# Ledger of claims

Written by `{command}`. Below each claim unfold its source, its conditions
and the command that repeats it.

A trial is a random problem with its certificates (`mirrorflow.certificates`): numbers with bounds
that follow from theory, rounding or the integrator's tolerance. Paths are integrated (m, w), which
know nothing of the theory. **Confirmed**: value ≤ bound in every trial; the worst is the one with
the largest value/bound. **Refuted as printed, confirmed as corrected**: the formula of the first
arXiv version (v1) fails in every trial, shown by the one nearest to its bound, while the corrected
row above it holds in every trial. **Refuted as changed**: the same with a constant that we changed,
to see that the trials notice. **Outside conditions**: what happens, in every trial, where the
theorem does not apply. **Can't be judged**: what the integrator or a solver is off by may explain
the value; such a trial confirms nothing and refutes nothing. Each loss counts as trials of its
own. Squared loss: f = 1/(2n)‖Zx − y‖²; pseudo-Huber: (1/n) Σ (√(1 + r²) − 1).

The claims of Figures 1, 4 and 5 have their own studies:
`python -m mirrorflow.sweep initialization | regularization | schedules | sgd`.
"""


@dataclass(frozen=True)
class Claims(
    Study, name="claims", about="the ledger: every claim of the theory, with a verdict each"
):
    """The ledger: every claim of the theory on random problems, with a verdict each.

    Writes claims.md into --out, and a copy to --page.
    """

    trials: int = 200
    """Random problems per claim."""
    only: tuple[str, ...] = ()
    """Keys of the claims to show, as in the ledger's commands; default: all of them."""
    out: Path = Path("results/claims")
    page: Path | None = None
    """Another file for the ledger, such as docs/claims.md."""

    title: ClassVar[str] = "Ledger of claims"
    note: ClassVar[str] = (
        "Worst: the trial with the largest value/bound; for a formula as printed, the trial that "
        "comes nearest to its bound."
    )

    def runs(self) -> list[Run]:
        """Every trial of the groups that the chosen claims need.

        Raises
        ------
        InputError
            If a value breaks its rule.
        """
        require("the study claims", "torch")
        self.check_common()
        whole("--trials", self.trials, 1, 1_000_000)
        for key in self.only:
            if key not in CLAIMS:
                rule = f"--only must hold keys of claims, but {key!r} is none of them."
                raise InputError(rule + meant(key, CLAIMS))
        if self.page is not None and not self.page.parent.is_dir():
            raise InputError(f"--page must lie in a folder that exists, but it is {self.page}.")
        digest = self.digest()
        needed = self._needed()
        return [
            Run({"study": "claims", "group": group, "loss": loss, "trial": number}, digest)
            for group, (losses, keys, _) in GROUPS.items()
            if needed & {*keys}
            for number in range(self.trials)
            for loss in losses
        ]

    @classmethod
    def digest(cls) -> str:
        """Hash of the modules of all trials, which nothing imports by name."""
        trials = {group.trial.__module__ for group in GROUPS.values()}
        return code_digest(compute.__module__, *sorted(trials))

    def _selected(self) -> list[Claim]:
        # of a subclass beside claims of one's own: those
        own = [g.keys for g in GROUPS.values() if g.trial.__module__ == type(self).__module__]
        chosen = self.only or [key for keys in own for key in keys] or CLAIMS
        return [claim for claim in CLAIMS.values() if claim.key in chosen]

    def _needed(self) -> set[str]:
        """Keys of the selected claims, and of the corrections that their verdicts rest on."""
        return {key for claim in self._selected() for key in (claim.key, claim.corrected)}

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        return [list(runs[i : i + BATCH]) for i in range(0, len(runs), BATCH)]

    compute = staticmethod(compute)

    def narrowed(self, run: Run, claim: str | None = None) -> Self:
        key = self.column(claim) if claim else GROUPS[run.spec["group"]].keys[0]
        return dataclasses.replace(super().narrowed(run), only=(key,), page=None)

    def column(self, claim: str) -> str:
        return next(some.key for some in CLAIMS.values() if some.statement == claim)

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        """As on the page, but for the words: a terminal has less room."""
        rows = [verdict(claim, frame) for claim in self._selected()]
        return [row._replace(verdict=SHORT.get(row.verdict, row.verdict)) for row in rows]

    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        files = [str(self.out / "claims.md"), *([str(self.page)] if self.page else [])]
        silent = unjudged_trials({claim.key: claim.statement for claim in self._selected()}, frame)
        return [*silent, f"The ledger is in {' and in '.join(files)}."]

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """Write the ledger."""
        name = "claims" if type(self) is Claims else f"{type(self).__module__}.py"
        text = page(self._selected(), frame, f"python -m mirrorflow.sweep {name}").encode()
        for file in (self.out / "claims.md", self.page):
            if file is not None:
                atomic_write(file, text)
        return [self.out / "claims.md"]


def verdict(claim: Claim, frame: pandas.DataFrame) -> Verdict:
    """What the rows say of one claim."""
    result = judge(claim.statement, claim.key, frame, claim.kind in REFUTED)
    if result.verdict == "refuted":
        fine = judge("", claim.corrected, frame).verdict == "confirmed"
        right = RIGHT if fine else RIGHT.replace("confirmed", "not confirmed")
        return result._replace(verdict=REFUTED[claim.kind] + right)
    outside = claim.kind == "outside" and result.verdict == "confirmed"
    return result._replace(verdict=OUTSIDE) if outside else result


def page(claims: Sequence[Claim], frame: pandas.DataFrame, command: str) -> str:
    """The ledger in Markdown, narrow enough for a telephone."""
    lines = [INTRODUCTION.format(command=command)]
    for section, heading in SECTIONS.items():
        rows = [claim for claim in claims if claim.section == section]
        if rows:
            lines += [f"## {heading}", "", "| claim | verdict | value / bound |", "|---|---|--:|"]
            lines += [*(_table_row(claim, verdict(claim, frame), command) for claim in rows), ""]
    return "\n".join(lines)


def _table_row(claim: Claim, result: Verdict, command: str) -> str:
    folded = f"Source: {claim.source}.<br>Conditions: {claim.conditions}.<br>"
    folded += f"`{command} --only {claim.key}`"
    folded = f"<details><summary>{result.trials} trials</summary>{folded}</details>"
    numbers = f"{result.value:.1e} / {result.bound:.1e}"
    return f"| {claim.statement} {folded} | {result.verdict} | {numbers} |"
