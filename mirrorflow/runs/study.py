"""Study: a dataclass of flags that knows its runs, computes them and says what they show."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from mirrorflow.checks import Array, InputError, whole
from mirrorflow.runs.flags import described
from mirrorflow.runs.store import Folder, Row, Run, code_digest
from mirrorflow.runs.verdicts import Summary, Verdict
from mirrorflow.threads import controller

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

__all__ = ["Result", "Study", "Summary", "Verdict", "Work", "described"]

Result = tuple[Row, dict[str, Array]]


@dataclass(frozen=True)
class Work:
    """The computing of a study's runs: called with a batch of them, in whichever process."""

    kind: type[Study]

    first: ClassVar[bool] = True  # whether this process is the one that writes
    together: ClassVar[bool] = False  # whether others compute each run with this one
    notes: ClassVar[Path | None] = None  # folder where runs say how far they are

    def __call__(self, runs: Sequence[Run]) -> list[Result]:
        """Row and arrays of each run, with one BLAS thread.

        Raises
        ------
        InputError
            If the code here is not that of the command.
        """
        if runs[0].digest != _digest_here(self.kind):
            raise InputError(
                "A worker's mirrorflow is not the one of this command; install the same on both."
            )
        with controller().limit(limits=1):
            return self.kind.compute([run.spec for run in runs])

    def agree(self, text: str) -> None:
        """Raise InputError unless all processes that compute together have the same text."""

    def clear(self, run: Run) -> None:
        """Remove what a run that was broken off would go on from."""

    def close(self) -> None:
        """Part from the processes that compute together."""


@functools.cache
def _digest_here(kind: type[Study]) -> str:
    return kind.digest()


@dataclass(frozen=True)
class Study(ABC):
    """A configuration that knows its runs, computes them and draws them.

    `class Mine(Study, name="mine", about="…")` makes a command of it where its file lies in the
    folder of a `Program`, or is named in the place of a study.
    """

    out: Path
    """Folder for rows.parquet, paths.npz, figures and manifest.json; finished runs found there
    are not repeated."""
    jobs: Annotated[int, described("number of cores")] = 0
    """Processes on this machine."""
    scheduler: Annotated[str | None, described("this machine")] = None
    """A running cluster instead: tcp://HOST:PORT of a Dask scheduler; or slurm?OPTION=VALUE&… with
    options of submitit."""
    force: bool = False
    """Repeat finished runs."""

    groups: ClassVar[Mapping[str, str]] = {"out": "execution"}
    """The title of each group of flags, by the field that it begins with."""
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    note: ClassVar[str] = ""
    units: ClassVar[Mapping[str, str]] = {}
    """Columns with a unit and its name; those that end in `_seconds` go without saying."""
    lists: ClassVar[Mapping[str, str]] = {}
    """Lists of a run's row, and the columns that their entries go to, in rows of their own."""
    kept: ClassVar[str] = "finished runs are kept"
    files: ClassVar[tuple[str, ...]] = ("rows.parquet", "paths.npz", "manifest.json")

    def __init_subclass__(cls, name: str = "", about: str = "") -> None:
        cls.name = name or cls.name

    @abstractmethod
    def runs(self) -> list[Run]:
        """Every run of this configuration; raises InputError where a value breaks its rule."""

    def settled(self) -> Self:
        """The study with what a command measures once filled in; `out` keeps it for the next."""
        return self

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        """How `runs` are split into units of work; each is computed by one process in one go."""
        return [[run] for run in runs]

    def check_given(self, words: Sequence[str]) -> None:  # noqa: B027  # most have none
        """Refuse flags among a command's words that have no effect, where values do not tell."""

    def processes(self) -> int:
        """How many units of work are computed at a time."""
        return self.jobs or os.cpu_count() or 1

    @staticmethod
    def compute(specs: Sequence[Row]) -> list[Result]:
        """Row and paths of each specification of one batch.

        A function of a module that imports what computes and nothing that only shows: a change
        of any module in its import closure makes every run a new one.
        """
        raise NotImplementedError

    @classmethod
    def digest(cls) -> str:
        """Hash of the code that computes numbers: the module of `compute` and its imports."""
        return code_digest(cls.compute.__module__)

    def work(self, runs: Sequence[Run]) -> Work:
        """What computes the runs; raises InputError where something that they need is missing."""
        return Work(type(self))

    def store(self) -> Folder:
        """The folder of the results."""
        return Folder(self.out, self.units, self.lists)

    def verdicts(self, frame: pandas.DataFrame) -> list[Verdict]:
        """What the rows say of each claim."""
        return []

    def summary(self, frame: pandas.DataFrame) -> Summary | None:
        """A second table, of numbers without verdict."""
        return None

    def remarks(self, frame: pandas.DataFrame) -> list[str]:
        """Sentences about what got no verdict."""
        return []

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Print what the rows say; returns it as plain JSON, for the manifest."""
        from mirrorflow.runs.verdicts import print_summary, print_verdicts

        remarks, summary = self.remarks(frame), self.summary(frame)
        if summary is not None:
            print_summary(console, summary)
        print_verdicts(console, self.title, verdicts, [self.note, *remarks])
        claims = [{**one._asdict(), "expected": one.expected} for one in verdicts]
        return {
            "claims": {"title": self.title, "note": self.note, "claims": claims},
            "remarks": remarks,
            "summary": None if summary is None else summary._asdict(),
        }

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """Draw into `out`; returns the files."""
        return []

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
        """The study of this run alone, or of as few as flags can say, for one claim.

        It computes them anew, in a folder `repeat` below that of this study.
        """
        spec = run.spec
        changes: dict[str, Any] = {"force": False, "out": self.out / "repeat"}
        for field in dataclasses.fields(self):
            value, one = getattr(self, field.name), field.name.removesuffix("s")
            if field.name in spec and spec[field.name] is None:  # not an option of this run
                changes[field.name] = field.default
            elif value == "all":
                changes[field.name] = spec[field.name]
            elif one in spec and one != field.name:  # seeds, totals, methods, …
                changes[field.name] = (spec[one],) if isinstance(value, tuple) else spec[one] + 1
        return dataclasses.replace(self, **changes)

    def plain(self) -> dict[str, Any]:
        """The flags for a manifest: numbers, lists, dicts and None as they are, others as text."""
        kept = (int, float, dict, list, tuple, type(None))
        values = dataclasses.asdict(self)
        return {name: v if isinstance(v, kept) else str(v) for name, v in values.items()}

    def typed(self, command: str) -> str:
        """The command with these flags."""
        words = []
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), field.name.replace("_", "-")
            if isinstance(value, bool) and value != field.default:
                words += [f"--{flag}" if value else f"--no-{flag}"]
            elif value != field.default and not dataclasses.is_dataclass(value):
                words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
        return f"{command} {shlex.join(words)}"

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
