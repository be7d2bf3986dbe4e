"""The arguments of `descend`, checked and brought to one entry per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from mirrorflow.checks import InputError, brief, number, whole
from mirrorflow.descent.steps import LARGEST, REGULARIZERS
from mirrorflow.maps.product import Factors
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.stepwise import Stepwise


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has to itself; the rest is common to all of a call."""

    factors: Factors
    schedule: Stepwise | Schedule
    step_size: float
    seed: int
    regularizer: str


def runs_of(
    problem: Regression, factors: Any, schedule: Any, step_size: Any, seed: Any, regularizer: Any
) -> list[Run]:
    """One entry per run; what is given once holds for all."""
    Z: Any = problem.Z
    if scipy.sparse.issparse(Z):
        raise InputError(
            f"problem must have a dense Z for descend, but it is sparse "
            f"({Z.nnz} of {problem.n * problem.d} entries); give Regression Z.toarray()."
        )
    asked = {"factors": factors, "schedule": schedule, "step_size": step_size}
    asked |= {"seed": seed, "regularizer": regularizer}
    given: dict[str, list] = {
        name: list(values) if np.iterable(values) and not isinstance(values, str) else [values]
        for name, values in asked.items()
    }
    if any(isinstance(one, (int, float, np.number)) for one in given["schedule"]):
        raise InputError(
            f"schedule must be Stepwise or a Schedule, but it is {brief(schedule)}; for α_k of "
            f"your own give Piecewise(step_size * np.arange(steps), alphas)."
        )
    lengths = {name: len(values) for name, values in given.items()}
    count = max(lengths.values())
    if any(length not in (1, count) for length in lengths.values()):
        stated = ", ".join(f"{length} for {name}" for name, length in lengths.items())
        raise InputError(
            f"factors, schedule, step_size, seed and regularizer must each be one value or as many "
            f"as the longest of them, but their lengths are {stated}."
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
    for one in {id(one): one for one in given["schedule"]}.values():
        if not isinstance(one, Stepwise):
            check_schedule(one)
    for one in given["regularizer"]:
        choice("regularizer", one, REGULARIZERS)
    given["step_size"] = [
        number("step_size", one, 0.0, open_low=True) for one in given["step_size"]
    ]
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
