"""A paper's statements in one go: its studies and its rows of the ledger, as one HTML page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from mirrorflow.checks import InputError, meant, whole
from mirrorflow.runs.flags import described

__all__ = ["PAPERS", "Paper", "Reproduce"]


class Paper(NamedTuple):
    """What is run for a paper: studies, and the claims whose source matches `claims`.

    The flags of a study under --quick keep it to some seconds.
    """

    title: str
    claims: str
    studies: dict[str, dict[str, Any]]


SHORT = {"steps": 20_000, "seeds": 2, "totals": (0.5, 2.0)}  # quick figures of the discrete steps
PAPERS = {
    "jacobs2025": Paper(
        "Jacobs & Burkholz: Mask in the Mirror: Implicit Sparsification (ICLR 2025)",
        r"ICLR|v1",
        {
            "theorem23": {"totals": (0.0, 1.0, 4.0), "schedules": ("constant", "harmonic")},
            "initialization": SHORT,
            "regularization": SHORT,
            "schedules": SHORT,
            "sgd": {**SHORT, "sgd_seeds": 2},
        },
    ),
    "woodworth2020": Paper(
        "Woodworth et al.: Kernel and Rich Regimes in Overparametrized Models (COLT 2020)",
        r"Woodworth",
        {"depth": {"seeds": 1, "scales": (3.0, 0.5, 0.1)}},
    ),
    "moroshko2020": Paper(
        "Moroshko et al.: Implicit Bias in Deep Linear Classification (NeurIPS 2020)",
        r"Moroshko",
        {"margins": {"seeds": 1, "scales": (100.0, 0.01)}},
    ),
    "pesme2023": Paper(
        "Pesme & Flammarion: Saddle-to-Saddle Dynamics in Diagonal Linear Networks (NeurIPS 2023)",
        r"Pesme & Flammarion",
        {"saddles": {"scales": (50.0, 1000.0)}},
    ),
    "even2023": Paper(
        "Even et al.: (S)GD over Diagonal Linear Networks: Implicit Regularisation, Large "
        "Stepsizes and Edge of Stability (NeurIPS 2023)",
        r"Even et al",
        {"discrete": {"seeds": 1, "ratios": (0.02, 0.16, 0.9, 1.5), "steps": 20_000}},
    ),
}


@dataclass(frozen=True)
class Reproduce:
    """Check a paper's statements: its studies, its rows of the ledger, errata among them.

    Writes one HTML page, OUT/PAPER.html, and in the folder of each study below OUT its rows, its
    figures (PNG, PDF) and its tables (CSV, LaTeX). Goes on where it was broken off.
    """

    paper: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PAPER")]] = "jacobs2025"
    """jacobs2025, woodworth2020, moroshko2020, pesme2023 or even2023."""
    quick: bool = False
    """Fewer problems and steps: a minute instead of many."""
    out: Path = Path("results/reproduce")
    """Folder for the page and the folders of the studies."""
    jobs: Annotated[int, described("number of cores")] = 0
    """Processes on this machine."""

    def run(self) -> int:
        """Run all of it and write the page; returns the worst exit code.

        Raises
        ------
        InputError
            If there is no such paper, or a value breaks its rule.
        """
        if self.paper not in PAPERS:
            rule = f"PAPER must be one of {', '.join(PAPERS)}, but it is {self.paper!r}."
            raise InputError(rule + meant(self.paper, PAPERS))
        whole("--jobs", self.jobs, 0, 1024)
        from mirrorflow.claims.registry import CLAIMS
        from mirrorflow.runs.report import Contents, page
        from mirrorflow.runs.runner import run
        from mirrorflow.runs.store import atomic_write
        from mirrorflow.sweep.__main__ import PROGRAM

        paper, codes, parts = PAPERS[self.paper], [], []
        ledger = PROGRAM.study("claims")  # registers the claims
        chosen = [claim for claim in CLAIMS.values() if re.search(paper.claims, claim.source)]
        wrong = [claim for claim in CLAIMS.values() if claim.corrected in {c.key for c in chosen}]
        keys = tuple(dict.fromkeys(claim.key for claim in (*chosen, *wrong)))
        flags: dict[str, dict[str, Any]] = {**paper.studies, "claims": {"trials": 5}}
        for name, quick in flags.items():
            kind = PROGRAM.study(name) if name != "claims" else ledger
            given = dict(quick) if self.quick else {}
            given |= {"only": keys} if name == "claims" else {}
            study = kind(out=self.out / self.paper / name, jobs=self.jobs, **given)
            print(f"\n{name}: {study.title}", flush=True)
            codes.append(run(study, PROGRAM.module, name))
            parts.append(Contents.of(study.out))
        about = ["Every table and figure below was computed by one command, named above each."]
        if self.quick:
            about.append("With --quick: fewer problems and steps than the studies' defaults.")
        file = self.out / f"{self.paper}.html"
        atomic_write(file, page(*parts, title=paper.title, about=about).encode())
        print(f"\n{file}: all of it on one page; CSV and LaTeX tables in {self.out / self.paper}/.")
        return next((code for code in (1, 3) if code in codes), 0)
