"""Interleaved repetitions: every entry of a case is timed in turn within each repetition.

So a busy moment of the machine hits all entries alike, and a ratio is taken between times of
one repetition. What is left is stated as [least, most] over repetitions.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array
from mirrorflow.runs.store import Row

__all__ = ["BASE", "Answer", "Case", "Entry", "measure", "missing", "spread"]

BASE = "mirrorflow"  # the entry that ratios are taken to


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an entry returned: x, and the work it reports per run.

    `x` is (runs, …, d). `figures` goes into the row as it stands.
    """

    x: Array | None
    figures: Row = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One contestant of a case.

    Attributes
    ----------
    runs : int
        How many answers a call gives: seconds are divided by it.
    prepare : () -> (() -> result)
        All that may be done once for many calls (compilation of machine code) and is not timed.
    read : result -> Answer
        Not timed either.
    requires : names of packages without which the entry is left out
    stretch : float
        Seconds are multiplied by it: an extrapolation, which `note` must mention.
    """

    name: str
    runs: int
    prepare: Callable[[], Callable[[], Any]]
    read: Callable[[Any], Answer]
    requires: tuple[str, ...] = ()
    stretch: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Entries that answer the same question, and the judge of their answers."""

    name: str
    setting: Row
    entries: Sequence[Entry]
    judge: Callable[[Array], Row]


def missing(entry: Entry) -> list[str]:
    """Which of the packages that an entry needs are not installed."""
    return [name for name in entry.requires if importlib.util.find_spec(name) is None]


def measure(case: Case, repetitions: int, save: Callable[[Entry, Row, Array], None]) -> None:
    """Time all entries of a case; `save(entry, row, seconds)` is called after every call of one.

    A row's status is "measuring" until the last repetition, then "measured"; "left out" or
    "failed" with a message where that was the end of it. `seconds` (repetitions so far,) is per
    run, and so are the row's figures.
    """
    by_name = {entry.name: entry for entry in case.entries}
    assert len(by_name) == len(case.entries), "two entries of one name would hide each other"
    ready: dict[str, tuple[Callable[[], Any], Row]] = {}
    seconds: dict[str, list[float]] = {}
    for entry in case.entries:
        absent = missing(entry)
        if absent:
            message = f"{', '.join(absent)} not installed"
            save(entry, {"status": "left out", "message": message}, np.zeros(0))
            continue
        try:
            start = time.perf_counter()
            compute = entry.prepare()
            answer = entry.read(compute())
            first = time.perf_counter() - start
            verdict = {} if answer.x is None else case.judge(answer.x)
        except Exception as error:  # a rival's failure is a result, not the end of the run
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            save(entry, {"status": "failed", "message": message}, np.zeros(0))
            continue
        facts = {"status": "measuring", "message": entry.note, "first_call_seconds": first}
        row = {**facts, **verdict, **answer.figures}
        save(entry, row, np.zeros(0))
        ready[entry.name], seconds[entry.name] = (compute, row), []
    for repetition in range(repetitions):
        for name, (compute, row) in ready.items():
            entry = by_name[name]
            start = time.perf_counter()
            compute()
            elapsed = time.perf_counter() - start
            seconds[name].append(elapsed * entry.stretch / entry.runs)
            last = repetition == repetitions - 1
            row = {**row, "status": "measured" if last else "measuring"}
            row |= _summary(seconds[name], seconds.get(BASE, []))
            save(entry, row, np.array(seconds[name]))


def _summary(own: Sequence[float], base: Sequence[float]) -> Row:
    """Least, median and most of the seconds per run, and of their ratio to the base's."""
    ratios = np.array(own) / np.array(base[: len(own)] or np.nan)
    return spread(own, "seconds") | spread(ratios, "ratio")


def spread(values: ArrayLike, what: str) -> Row:
    """Least, median and most of the values, as columns for `what`."""
    reduced = (("least", np.min), ("median", np.median), ("most", np.max))
    return {f"{name}_{what}": float(reduce(values)) for name, reduce in reduced}
