"""Flags of the command line: their words, what they belong to, which values they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mirrorflow.checks import InputError, number, shown

if TYPE_CHECKING:
    from gpu_bench.settings.base import Setting

__all__ = ["EITHER", "Methods", "check", "check_effect", "flag_of"]
__all__ += ["owners", "worded"]

# options that say the same in two ways
EITHER = (
    ("threshold", "threshold_fraction"),
    ("l1", "l1_total"),
    ("mask_l1", "mask_l1_total"),
    ("delta", "swing"),
    ("alpha_initial", "total"),
)
# of the methods' options that are numbers, where they are not 0 and infinity
LOWEST = {"beta": 1e-30, "delta": 1.0, "swing": 1.0, "kappa": 1.0, "temperature": 1.0}
LOWEST |= {"str_start": -1e4, "mask_start": -50.0}
HIGHEST = {"beta": 1e30, "str_start": 0.0, "mask_start": 50.0}
Methods = Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--method"])]


def worded(flag: str) -> str:
    """Return a flag as it is typed."""
    return f"--{flag.replace('_', '-')}"


def flag_of(option: str) -> str:
    """Return the flag of a method's option."""
    return option.removesuffix("_initial")


def owners() -> dict[str, list[str]]:
    """Return the methods that have each option."""
    from gpu_bench import methods

    found: dict[str, list[str]] = {}
    for name in methods.METHODS:
        for option in methods.options(name):
            found.setdefault(option, []).append(name)
    return found


def check_effect(setting: Setting, words: Sequence[str] | None = None) -> None:
    """Raise InputError where a flag has no effect: of those with another value than their default,
    or of those among `words` with that very value."""
    from gpu_bench import methods

    for flag, there, rule in setting.belongings():
        value = getattr(setting, flag)
        changed = value != getattr(type(setting), flag)  # the class keeps the default
        if there or not (changed if words is None else not changed and worded(flag) in words):
            continue
        name, hint = worded(flag), ""
        if name[2:] in setting.chosen:  # mask-l1 is a method, and a flag of another one
            own = ", ".join(worded(flag_of(option)) for option in methods.options(name[2:]))
            hint = f" (the method {name[2:]} has {own})"
        said = shown(str(value) if isinstance(value, Path) else value)
        raise InputError(f"{name} must be left out unless {rule}{hint}, but it is {said}.")


def check(setting: Setting) -> None:
    """Raise InputError where a flag has no effect, says twice the same, or is out of its range."""
    check_effect(setting)
    for one, other in (map(flag_of, pair) for pair in EITHER):
        first, second = getattr(setting, one), getattr(setting, other)
        if first is not None and second is not None:
            raise InputError(
                f"{worded(one)} and {worded(other)} exclude each other, but they are {first} and "
                f"{second}."
            )
    for flag in map(flag_of, owners()):
        value = getattr(setting, flag)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = LOWEST.get(flag, 0.0), HIGHEST.get(flag, math.inf)
            number(worded(flag), value, low, high, infinite=flag == "threshold")
