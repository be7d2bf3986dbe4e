"""Flags of the search for a wanted sparsity, and which strength it tries next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gpu_bench.methods import Method, find, option_groups
from gpu_bench.search import FACTOR, best, following, sparsity
from gpu_bench.settings.base import Setting
from gpu_bench.settings.one_shot import OneShot
from mirrorflow.checks import Array, InputError, whole
from mirrorflow.runs.store import Row, Run

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from mirrorflow.runs.study import Verdict

__all__ = ["Target"]

# shares kept at which a run is read, times the wanted one
LEVELS = (8.0, 4.0, 2.0, 1.5, 1.2, 1.1, 1.0, 1 / 1.1, 1 / 1.2, 1 / 1.5, 1 / 2.0, 1 / 4.0)


@dataclass(frozen=True)
class Target(
    Setting, name="target", about="find each method's strength for a wanted sparsity, such as 0.9"
):
    """Find the strength at which a method has the wanted fraction of zeros.

    The sparsity of a run is what its method gives for nothing. Of a method that makes exact zeros
    itself (str, continuous, rigl) it is their fraction before any cut; of the others the largest
    fraction of smallest weights that can be cut while the accuracy falls by at most one point, and
    more than the target will do, too. The strength is the option that `tune` varies beside the
    learning rate: a total, a weight decay. Of the strengths that reach the target the one with the
    best accuracy there is printed as a command. All runs are read on images held out of the
    training images, and are rows like any others.
    """

    protocol: ClassVar[str] = "one_shot"

    target: float = 0.9
    """The wanted fraction of zeros, in (0, 1). A search ends within a tenth of the smaller of zeros
    and rest: at 89 to 91 % zeros for 0.9."""
    budget: int = 8
    """Runs of each method and seed, at most."""
    seeds: int = 1
    """Number of seeds (0, 1, …) of every strength; their mean sparsity counts."""
    validation: float = 0.1
    """Fraction of the training images held out, above 0: classes in proportion, drawn by the data
    set's name, the same for every seed and method."""
    out: Path = Path("results/target")

    def variants(self) -> Iterator[Row]:
        kept = (level * (1.0 - self.target) for level in LEVELS)
        sparsities = sorted(1.0 - share for share in kept if share < 1.0)
        yield {"sparsities": sparsities, "target": self.target}

    def check(self) -> None:
        super().check()
        if not 0.0 < self.target < 1.0:
            raise InputError(f"--target must lie in (0, 1), but it is {self.target}.")
        if self.validation == 0.0:
            raise InputError("--validation must lie in (0, 1) to find a target, but it is 0.")
        whole("--budget", self.budget, 1, 100)
        for kind in self.chosen:
            if not self.strength(kind):
                raise InputError(
                    f"--methods must have a strength to change, but {kind.name} has none beside lr."
                )
            if "sparsity" in kind.options():  # it takes the target
                dataclasses.replace(self.method(kind), **{"sparsity": self.target}).check()

    def strength(self, kind: type[Method]) -> str:
        """Return the option that is searched."""
        return kind.strength(self.options_of(kind))

    def runs(self) -> list[Run]:
        """Return the runs so far, and the next of each method whose runs so far are finished."""
        self.check()
        return [run for kind in self.chosen for run in self._search(kind)]

    def _search(self, kind: type[Method]) -> list[Run]:
        option, given = self.strength(kind), self.options_of(kind)
        # one that takes its sparsity needs no search; flags and recipe may leave none, or 0
        usual = given[option] or kind.grid[0].get(option) or 1e-4
        first = self.target if option == "sparsity" else usual
        tried: dict[float, float] = {}
        runs: list[Run] = []
        while len(tried) < self.budget:
            value = following(tried, self.target, first)
            if value is None:
                break
            value = kind.possible({option: value}, self.rates(), given["momentum"])[option]
            if value in tried:  # as strong as the steps allow
                break
            new = self.made({kind: [{option: value}]})
            runs += new
            rows = [self._row(run) for run in new]
            sparsities = [sparsity(kind, row) for row in rows if row is not None]
            if len(sparsities) < len(new):
                break
            tried[value] = sum(sparsities) / len(sparsities)  # NaN where one diverged
        return runs

    def _row(self, run: Run) -> Row | None:
        """Return what is on disk of a run; the folder is not made for it."""
        if not (self.out / "shards").is_dir():
            return None
        finished = self.store().read(run)
        return None if finished is None else finished[0]

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        conclusions = super().show(console, frame, verdicts)
        for command in self._commands(frame):
            console.print(command, highlight=False, soft_wrap=True)
            conclusions["printed"] += f"\n{command}"
        return conclusions

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """Draw nothing.

        Raises
        ------
        InputError
            If a method has not reached the target: all is on disk, and printed, by then.
        """
        for name, row in best(frame).iterrows():
            if not row["reached"]:
                kind, option, value = find(str(name)), row["option"], row["value"]
                momentum = self.options_of(kind)["momentum"]
                more = kind.possible({option: FACTOR * value}, self.rates(), momentum)[option]
                limit = ", the largest that these steps allow" if more <= value else ""
                raise InputError(
                    f"--target {self.target} was not reached by {name} in {row['runs']} runs: "
                    f"the nearest was {row['sparsity']:.3g} at {row['flag']} {value:g}{limit}."
                )
        return []

    def _commands(self, frame: pandas.DataFrame) -> list[str]:
        """Return the commands that train with the settings found; one where flags allow it."""
        own: dict[str, Method] = {}
        together: list[str] = []
        commands = []
        words = {find(word).name: word for word in self.methods if word != "all"}
        for name, row in best(frame).iterrows():
            kind, word = find(str(name)), words.get(str(name), str(name))
            if not row["reached"]:
                continue
            method, key = self.method(kind), kind.name.replace("-", "_")
            if row["option"] in kind.options():
                together.append(word)
                own[key] = dataclasses.replace(method, **{row["option"]: row["value"]})
            else:  # a flag of all methods
                commands.append(self._command([word], {key: method}, {row["option"]: row["value"]}))
        return [*commands, *([self._command(together, own, {})] if together else [])]

    def _command(
        self, methods: Sequence[str], own: Mapping[str, Method], flags: Mapping[str, Any]
    ) -> str:
        excluded = {"out", "seeds", "validation", "force"}  # as one-shot has them
        names = {field.name for field in dataclasses.fields(Setting)} - excluded
        given = {name: getattr(self, name) for name in names} | dict(flags)
        given |= {"methods": tuple(methods), "options": option_groups()(**own)}
        return OneShot(**given, sparsities=(self.target,)).typed("python -m gpu_bench.run one-shot")
