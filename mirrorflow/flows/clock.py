"""α and A of many runs, each at a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.schedules import Schedule

__all__ = ["Clock"]

Index = NDArray[np.intp]


def _identity(schedule: Schedule) -> Hashable:
    """Equal schedules are one; those that can't say whether they are equal are not."""
    try:
        hash(schedule)
    except TypeError:
        return id(schedule)
    return schedule  # type: ignore[return-value]


class Clock:
    """The schedules of many runs: one call for each distinct one, whoever follows it."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        found: dict[object, int] = {}
        self.schedules: list[Schedule] = []
        self.plan = np.empty(len(schedules), dtype=np.intp)
        for run, schedule in enumerate(schedules):
            key = _identity(schedule)
            if key not in found:
                found[key] = len(self.schedules)
                self.schedules.append(schedule)
            self.plan[run] = found[key]

    def totals(self, plan: Index, times: Array) -> Array:
        """A at `times`, (L, k), of runs with the schedules `plan`, (L,)."""
        return self._each(plan, times, lambda schedule, t: schedule.total(t))

    def alphas(self, plan: Index, times: Array) -> Array:
        """α at `times`, (L, k)."""
        return self._each(plan, times, lambda schedule, t: schedule.alpha(t))

    def slopes(self, plan: Index, times: Array) -> Array:
        """dα/dt at `times`, both (L,)."""
        pairs = zip(plan, times, strict=True)
        return np.array([self.schedules[number].slope(float(t)) for number, t in pairs])

    def _each(self, plan: Index, times: Array, value: Callable[[Schedule, Array], Array]) -> Array:
        result = np.empty_like(times)
        for number in np.unique(plan):
            rows = plan == number
            chosen = times[rows]
            found = value(self.schedules[number], chosen.ravel())
            # a schedule of the user's own may return one number for all
            result[rows] = np.broadcast_to(found, chosen.size).reshape(chosen.shape)
        return result
