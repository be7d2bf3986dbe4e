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

__all__ = ["BASE", "SPREAD", "Answer", "Case", "Entry", "measure", "missing", "spread"]

SPREAD = ("least", "median", "most")
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


def measure(case: Case, repetitions: int) -> dict[str, tuple[Row, Array]]:
    """Time all entries of a case; by name the row of each, and its seconds per run.

    A row's status is "measured", or "left out" or "failed" with a message. The row's figures are
    per run too.
    """
    by_name = {entry.name: entry for entry in case.entries}
    assert len(by_name) == len(case.entries), "two entries of one name would hide each other"
    ready: dict[str, Callable[[], Any]] = {}
    rows: dict[str, Row] = {}
    for name, entry in by_name.items():
        if absent := missing(entry):
            rows[name] = {"status": "left out", "message": f"{', '.join(absent)} not installed"}
            continue
        try:
            start = time.perf_counter()
            compute = entry.prepare()
            answer = entry.read(compute())
            first = time.perf_counter() - start
            verdict = {} if answer.x is None else case.judge(answer.x)
        except Exception as error:  # a rival's failure is a result, not the end of the run
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            rows[name] = {"status": "failed", "message": message}
            continue
        facts = {"status": "measured", "message": entry.note, "first_call_seconds": first}
        rows[name], ready[name] = {**facts, **verdict, **answer.figures}, compute
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repetitions):
        for name, compute in ready.items():
            start = time.perf_counter()
            compute()
            elapsed = time.perf_counter() - start
            seconds[name].append(elapsed * by_name[name].stretch / by_name[name].runs)
    for name in ready:
        ratios = np.array(seconds[name]) / np.array(seconds.get(BASE) or np.nan)
        rows[name] |= spread(seconds[name], "seconds") | spread(ratios, "ratio")
    return {name: (row, np.array(seconds[name])) for name, row in rows.items()}


def spread(values: ArrayLike, what: str) -> Row:
    """Least, median and most of the values, as columns for `what`."""
    reduced = zip(SPREAD, (np.min, np.median, np.max), strict=True)
    return {f"{name}_{what}": float(reduce(values)) for name, reduce in reduced}
