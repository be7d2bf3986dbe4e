"""Methods: ways to parametrize the prunable weights; every file of this folder is one."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_bench.methods.base import METHODS, Look, Method, Plan
from mirrorflow.checks import InputError, meant

if TYPE_CHECKING:
    from mirrorflow.runs.store import Row

__all__ = ["METHODS", "Look", "Method", "Plan", "find"]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")


def find(word: str) -> type[Method]:
    """Return the method of a name, or the one in a file of one's own, such as cube.py.

    Parameters
    ----------
    word : str
        A name, or a file that ends in .py.

    Returns
    -------
    subclass of Method

    Raises
    ------
    InputError
        If there is no such method, or the file can't be imported or holds not exactly one.

    Examples
    --------
    >>> find("pilot").name
    'pilot'
    """
    if not word.endswith(".py"):
        if word not in METHODS:
            rule = f"--methods must be among {', '.join(METHODS)}, but {word!r} is not."
            raise InputError(rule + meant(word, METHODS))
        return METHODS[word]
    path = Path(word).resolve()
    if not path.is_file():
        raise InputError(f"--methods {word} must be a file, but there is none.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # of the workers too
    try:
        importlib.import_module(path.stem)
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{word} can't be imported ({reason}).") from error
    own = [kind for kind in METHODS.values() if kind.__module__ == path.stem]
    if len(own) != 1:
        raise InputError(f"{word} must hold one method, but it holds {len(own)}.")
    return own[0]


def option_groups() -> Any:
    """Return a dataclass with the options of every method, each a group on the command line."""
    return _options(tuple(METHODS.values()))


@functools.cache
def _options(kinds: tuple[type[Method], ...]) -> Any:
    fields = [(kind.name.replace("-", "_"), kind, kind()) for kind in kinds]
    return dataclasses.make_dataclass("Options", fields, frozen=True)


def build(spec: Row) -> Method:
    """Return a fresh method with the options that a run's configuration has."""
    kind = METHODS[spec["method"]]
    method = kind(**{option: spec[kind.column(option)] for option in kind.options()})
    vars(method)["_seed"] = spec["seed"]
    return method
