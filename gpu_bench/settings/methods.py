"""Flags of the methods: which are trained, and with which options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro

from gpu_bench.methods import METHODS, Method, find, option_groups
from mirrorflow.checks import InputError, brief, number
from mirrorflow.runs.store import Row, Run
from mirrorflow.runs.study import Study, described

__all__ = ["Chosen", "Methods"]

Methods = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        aliases=["--method"],
        help=f"Any of {', '.join(METHODS)}; or files of your own, such as cube.py; or all.",
    ),
]
# flags of a method's recipe, and what the code of the pruning literature has in common
COMMON = ("lr", "weight_decay", "momentum", "label_smoothing", "classifier")
ORIGINAL: Row = {"classifier": "fan-in"}


@dataclass(frozen=True)
class Chosen(Study):
    """A study of chosen methods."""

    groups: ClassVar[Mapping[str, str]] = {"methods": "training"}

    methods: Methods = ("dense", "spred", "pilot")
    recipe: Literal["paper", "original"] = "paper"
    """One setting for all methods, as Jacobs & Burkholz compare them; or each as in its authors'
    code (docs/vision.md), wherever a flag does not say otherwise."""
    lr: Annotated[float | None, described("each method's own")] = None
    """Learning rate η after the warm-up."""
    momentum: float = 0.9
    """Momentum of SGD, in [0, 1)."""
    weight_decay: float = 1e-4
    """Ordinary weight decay (per unit of η): of biases and normalisation, and of the weights of
    the methods that have no penalty of their own."""
    label_smoothing: float = 0.0
    """Share of each training label that is spread over all classes, in [0, 1)."""
    classifier: Literal["fan-out", "fan-in"] = "fan-out"
    """What the classifier's initial weights are scaled by, N(0, 2/fan); another's model keeps its
    own. --recipe original has fan-in."""

    options: Annotated[Any, option_groups, tyro.conf.arg(name="")] = field(
        default_factory=lambda: option_groups()()
    )
    """Options of the methods, a group for each."""

    @property
    def chosen(self) -> tuple[type[Method], ...]:
        """The methods."""
        if self.methods == ("all",):
            return tuple(METHODS.values())
        return tuple(dict.fromkeys(map(find, self.methods)))

    def method(self, kind: type[Method]) -> Method:
        """Return a method with its options."""
        given: Method = getattr(self.options, kind.name.replace("-", "_"), kind())
        return given

    def options_of(self, kind: type[Method]) -> Row:
        """Return what a method is trained with: by the flags, else by the recipe."""
        defaults = {name: getattr(type(self), name) for name in COMMON} | kind.options()
        given = {name: getattr(self, name) for name in COMMON}
        given |= dataclasses.asdict(self.method(kind))
        if self.recipe == "original":
            explicit = {name for name, value in given.items() if value != defaults[name]}
            recipe = ORIGINAL | kind.original
            given |= {name: value for name, value in recipe.items() if name not in explicit}
        if given["lr"] is None:
            given["lr"] = kind.learning_rate
        return given

    def settings(self, kind: type[Method]) -> Iterable[Mapping[str, float]]:
        """Yield what a method's runs have instead of the flags; one set of runs for each."""
        return ({},)

    def check(self) -> None:
        """Raise InputError where a value breaks its rule."""
        if not self.methods:
            raise InputError("--methods must hold at least one entry.")
        if self.lr is not None:
            number("--lr", self.lr, 0.0, open_low=True)
        for flag in ("momentum", "label_smoothing"):
            share = getattr(self, flag)
            if not 0.0 <= share < 1.0:
                raise InputError(f"{_typed(flag)} must lie in [0, 1), but it is {share}.")
        number("--weight-decay", self.weight_decay, 0.0)
        self.check_effect()
        for kind in self.chosen:
            self.method(kind).check()

    def check_effect(self, words: Sequence[str] | None = None) -> None:
        """Raise InputError where a flag has no effect: of those with another value than their
        default, or of those among `words` with that very value."""
        for flag, there, rule in self.belongings():
            name, _, option = flag.rpartition(".")
            holder: Chosen | Method
            if name:
                kind = find(name)
                typed, holder = kind.flag(option), self.method(kind)
            else:
                typed, holder = _typed(flag), self
            value, default = getattr(holder, option), getattr(type(holder), option)
            changed = value != default  # the class keeps the default
            if not there and (changed if words is None else not changed and typed in words):
                text = brief(str(value) if isinstance(value, Path) else value)
                raise InputError(f"{typed} must be left out unless {rule}, but it is {text}.")

    def belongings(self) -> Iterator[tuple[str, bool, str]]:
        """Yield flags, whether what was chosen has them, and what would have to be chosen."""
        chosen = self.chosen  # which may load a file first
        for kind in METHODS.values():
            for option in kind.options():
                yield kind.column(option), kind in chosen, f"--methods has {kind.name}"

    def check_given(self, words: Sequence[str]) -> None:
        self.check_effect(words)

    def narrowed(self, run: Run, claim: str | None = None) -> Self:
        kind = find(run.spec["method"])
        own = option_groups()(**{kind.name.replace("-", "_"): self.method(kind)})
        return dataclasses.replace(super().narrowed(run), options=own)

    def typed(self, command: str) -> str:
        words = [super().typed(command)]
        for kind in METHODS.values():
            for option, default in kind.options().items():
                value = getattr(self.method(kind), option)
                if value != default:
                    flag = kind.flag(option, value)
                    words.append(flag if isinstance(value, bool) else f"{flag} {value}")
        return " ".join(words)


def _typed(flag: str) -> str:
    """Return a flag as it is typed."""
    return f"--{flag.replace('_', '-')}"
