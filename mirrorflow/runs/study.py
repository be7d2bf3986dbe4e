"""What every study has: where its results go, how its work is cut, what it shows at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

import tyro

from mirrorflow.checks import Array, InputError, whole
from mirrorflow.runs.cli import narrowed
from mirrorflow.runs.store import Row, Run, code_digest

if TYPE_CHECKING:
    import pandas

__all__ = ["Study", "Summary", "Verdict", "default"]


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


class Summary(NamedTuple):
    """A table to print: title, column headings, rows of cells."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def default(text: str) -> Any:
    """How `--help` shows the default of a flag whose value None says that it is not given."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclass(frozen=True)
class Study(ABC):
    """A configuration that knows its runs, computes them and draws them."""

    out: Path
    """Folder for rows.parquet, paths.npz, figures and manifest.json; finished runs found there
    are not repeated."""
    jobs: Annotated[int, default("number of cores")] = 0
    """Processes on this machine."""
    scheduler: str | None = None
    """A running cluster instead: tcp://HOST:PORT of a Dask scheduler."""
    force: bool = False
    """Repeat finished runs."""

    title: ClassVar[str]
    note: ClassVar[str]
    units: ClassVar[Mapping[str, str]] = {}
    """Columns with a unit and its name; those that end in `_seconds` go without saying."""

    @abstractmethod
    def runs(self) -> list[Run]:
        """Every run of this configuration; raises InputError where a value breaks its rule."""

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        """How `runs` are cut into units of work; each is computed by one process in one go."""
        return [[run] for run in runs]

    @staticmethod
    @abstractmethod
    def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
        """Row and paths of each specification of one batch.

        A function of a module that imports what computes and nothing that only shows: a change
        of any module in its import closure makes every run a new one.
        """

    @abstractmethod
    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        """What the rows say of each claim."""

    def summary(self, frame: pandas.DataFrame) -> Summary | None:
        """A second table, of numbers without verdict."""
        return None

    def facts(self) -> dict[str, Any]:
        """More for the manifest, as plain JSON."""
        return {}

    @abstractmethod
    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        """Sentences about what got no verdict."""

    @abstractmethod
    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """Draw into `out`; returns the files."""

    def check_common(self) -> None:
        """Refuse bad values of the flags that all studies share."""
        whole("--jobs", self.jobs, 0, 1024)
        if self.out == Path():
            raise InputError("--out must name a folder of its own, but it is empty.")

    def refuse(self, flags: Iterable[str], owner: str, but: str) -> None:
        """Refuse those of `flags` that are given: they belong to `owner` and have no effect."""
        for flag in flags:
            value = getattr(self, flag)
            if value is not None and value is not False:
                raise InputError(f"--{flag.replace('_', '-')} belongs to {owner}, but {but}.")

    def narrowed(self, run: Run, claim: str | None = None) -> Self:
        """The study of this run alone, or of as few runs as flags can say, for one claim."""
        return narrowed(self, run.spec)

    def column(self, claim: str) -> str:
        """The column of the rows that has a claim's values."""
        raise NotImplementedError

    def against(self, frame: pandas.DataFrame, verdict: Verdict) -> list[str]:
        """The keys of the runs that refute a claim, or that a formula as printed holds in."""
        column = self.column(verdict.claim)
        # without value or bound a trial can't be judged
        judged = frame[frame[column].notna() & frame[f"{column}_bound"].notna()]
        holds = judged[f"{column}_holds"].astype(bool)
        return judged["key"][holds.eq(verdict.verdict.startswith("not "))].tolist()

    @classmethod
    def digest(cls) -> str:
        """Hash of the code that computes numbers: the module of `compute` and its imports."""
        return code_digest(cls.compute.__module__)
