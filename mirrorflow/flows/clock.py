"""α and A of many runs, each at a time of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.schedules import Schedule

__all__ = ["Clock"]


class Clock:
    """The schedules of many runs: one call for each distinct one, whoever follows it."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        found: dict[object, int] = {}
        self.schedules: list[Schedule] = []
        self.plan = np.empty(len(schedules), dtype=np.intp)
        for run, schedule in enumerate(schedules):
            key = schedule if isinstance(schedule, Hashable) else id(schedule)
            if key not in found:
                found[key] = len(self.schedules)
                self.schedules.append(schedule)
            self.plan[run] = found[key]

    def totals(self, plan: NDArray[np.intp], times: Array) -> Array:
        """A at `times`, (L, k), of runs with the schedules `plan`, (L,)."""
        result = np.empty_like(times)
        for number in np.unique(plan):
            rows = plan == number
            chosen = times[rows]
            result[rows] = self.schedules[number].total(chosen.ravel()).reshape(chosen.shape)
        return result

    def alphas(self, plan: NDArray[np.intp], times: Array) -> Array:
        """α at `times`, (L, k)."""
        result = np.empty_like(times)
        for number in np.unique(plan):
            rows = plan == number
            chosen = times[rows]
            result[rows] = self.schedules[number].alpha(chosen.ravel()).reshape(chosen.shape)
        return result

    def slopes(self, plan: NDArray[np.intp], times: Array) -> Array:
        """dα/dt at `times`, both (L,)."""
        pairs = zip(plan, times, strict=True)
        return np.array([self.schedules[number].slope(float(t)) for number, t in pairs])
