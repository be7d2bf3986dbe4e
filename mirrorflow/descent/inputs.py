"""The arguments of `descend`, checked and brought to one entry per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from mirrorflow.checks import InputError, whole
from mirrorflow.descent.steps import LARGEST, REGULARIZERS
from mirrorflow.factors import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.stepwise import Stepwise


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has to itself; the rest is common to all of a call."""

    factors: Factors
    schedule: Stepwise | Schedule
    seed: int
    regularizer: str


def runs_of(
    problem: Regression, factors: Any, schedule: Any, seed: Any, regularizer: Any
) -> list[Run]:
    """One entry per run; what is given once holds for all."""
    Z: Any = problem.Z
    if scipy.sparse.issparse(Z):
        raise InputError(
            f"problem must have a dense Z for descend, but it is sparse "
            f"({Z.nnz} of {problem.n * problem.d} entries); give Regression Z.toarray()."
        )
    given = {
        "factors": [factors] if isinstance(factors, Factors) else factors,
        "schedule": [schedule] if isinstance(schedule, (Stepwise, Schedule)) else schedule,
        "seed": [seed] if isinstance(seed, (int, np.integer)) else seed,
        "regularizer": [regularizer] if isinstance(regularizer, str) else regularizer,
    }
    for name, values in given.items():
        try:
            given[name] = list(values)
        except TypeError:
            raise InputError(
                f"{name} must be one value or a sequence of them, but it is {values!r}."
            ) from None
    lengths = {name: len(values) for name, values in given.items()}
    count = max(lengths.values())
    if count == 0 or any(length not in (1, count) for length in lengths.values()):
        stated = ", ".join(f"{length} for {name}" for name, length in lengths.items())
        raise InputError(
            f"factors, schedule, seed and regularizer must each be one value or as many as the "
            f"longest of them, but their lengths are {stated}."
        )
    for one in given["factors"]:
        if not isinstance(one, Factors):
            raise InputError(f"factors must be Factors, but one of them is {one!r}.")
        if one.d != problem.d:
            raise InputError(
                f"factors must have d = {problem.d} coordinates like the problem, "
                f"but they have {one.d}."
            )
        size = max(np.abs(one.m).max(), np.abs(one.w).max(), np.abs(one.x).max())
        if size > LARGEST:
            raise InputError(f"factors must be at most {LARGEST:g} in size, but one is {size:g}.")
    for one in given["schedule"]:
        if not isinstance(one, (Stepwise, Schedule)):
            raise InputError(f"schedule must be Stepwise or a Schedule, but it is {one!r}.")
    for one in given["regularizer"]:
        choice("regularizer", one, REGULARIZERS)
    given["seed"] = [whole("seed", one, 0) for one in given["seed"]]
    rows = [values * count if len(values) == 1 else values for values in given.values()]
    return [Run(*row) for row in zip(*rows, strict=True)]


def choice(name: str, value: Any, valid: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in valid:
        raise InputError(f"{name} must be one of {', '.join(valid)}, but it is {value!r}.")
    return value


def recorded_steps(record: int | Sequence[int], steps: int) -> NDArray[np.int64]:
    """The steps whose rows are kept, ascending, with 0 and the last."""
    if isinstance(record, (int, np.integer)):
        count = min(whole("record", record, 1), max(steps, 1))
        return np.unique(np.linspace(0, steps, count + 1).round().astype(np.int64))
    try:
        asked = [whole("record", step, 0, steps) for step in record]
    except TypeError:
        raise InputError(
            f"record must be a whole number or a sequence of them, but it is {record!r}."
        ) from None
    if sorted(set(asked)) != asked:
        raise InputError(f"record must ascend strictly, but it is {record!r}.")
    return np.unique(np.array([0, *asked, steps], dtype=np.int64))
