"""Verdicts on claims, from the rows of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mirrorflow.certificates import UNJUDGED, unjudged
from mirrorflow.checks import Array, whole
from mirrorflow.runs.study import Study, Verdict

if TYPE_CHECKING:
    import pandas

Flags = NDArray[np.bool_]

__all__ = ["Judged", "Recovery", "judge", "unjudged_trials"]


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
    verdict = "refuted" if printed else "confirmed"
    if wrong.any():
        verdict = f"{'not ' if printed else ''}refuted in {wrong.sum()}"
    elif silent.any():
        verdict = f"{UNJUDGED} in {silent.sum()}"
    return Verdict(claim, holds.size, float(values[worst]), float(bounds[worst]), verdict)


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


@dataclass(frozen=True)
class Judged(Study):
    """A study whose rows judge claims: columns KEY, KEY_bound and KEY_holds for each."""

    claims: ClassVar[Mapping[str, str]] = {}
    """What each claims, by KEY."""

    def column(self, claim: str) -> str:
        return next(key for key, words in self.claims.items() if words == claim)

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        table = [judge(claim, key, frame) for key, claim in self.claims.items()]
        return [verdict for verdict in table if verdict.trials]


@dataclass(frozen=True)
class Recovery(Judged):
    """A study on Gaussian Z (n, d) and an x* with k entries ±1."""

    n: int = 40
    """Samples (rows of Z)."""
    d: int = 100
    """Features (columns of Z)."""
    k: int = 5
    """Nonzeros (±1) of x*."""
    seeds: int = 1
    """Number of problems."""

    groups: ClassVar[Mapping[str, str]] = {"n": "problem"}

    def check_sizes(self, samples: int = 2000, spare: int | None = None) -> None:
        """Refuse more than these samples, and fewer features than samples and `spare` ones."""
        whole("--n", self.n, 1, samples)
        whole("--d", self.d, 1 if spare is None else self.n + spare, 10_000)
        whole("--k", self.k, 1, self.d)
        whole("--seeds", self.seeds, 1, 10_000)
