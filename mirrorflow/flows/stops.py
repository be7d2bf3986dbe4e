"""Where the steps of a run end: at its output times and at the breakpoints of its schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.flows.clock import Clock
from mirrorflow.schedules import Schedule

__all__ = ["Stops"]


class Stops:
    """One line of stops for each distinct pair of schedule and output times.

    Parameters
    ----------
    clock : Clock
        Of the same runs.
    outputs : sequence of (T,) arrays, finite, ascending; one for each run, perhaps empty
    rtol : float
        The penalty counts as over where what is left of it moves exponents by 1 % of rtol.

    Attributes
    ----------
    line : (L,) array of int
        Which line a run follows.
    outputs : list of (T,) arrays, by line
    times : (lines, S) array
        Stops, then inf.
    is_output : (lines, S) array of bool
    last : (lines,) array
        The last output time; 0 where there is none.
    ends : (lines, S) array
        The breakpoint at or behind a stop; where there is none, the last output time.
    settled : (lines,) array
        First stop at which the penalty is over, or inf.
    """

    def __init__(self, clock: Clock, outputs: Sequence[Array], rtol: float) -> None:
        found: dict[tuple[int, bytes], int] = {}
        self.line = np.empty(len(outputs), dtype=np.intp)
        self.outputs: list[Array] = []
        schedules = []
        for run, times in enumerate(outputs):
            pair = int(clock.plan[run]), times.tobytes()
            if pair not in found:
                found[pair] = len(self.outputs)
                self.outputs.append(times)
                schedules.append(clock.schedules[pair[0]])
            self.line[run] = found[pair]
        self.last = np.array([times[-1] if times.size else 0.0 for times in self.outputs])
        tables = [
            np.unique([0.0, *_between(schedule, last), *times])
            for schedule, last, times in zip(schedules, self.last, self.outputs, strict=True)
        ]
        shape = (len(tables), max((table.size for table in tables), default=0) + 1)
        self.times: Array = np.full(shape, np.inf)
        self.is_output: NDArray[np.bool_] = np.zeros(shape, dtype=bool)
        self.ends: Array = np.repeat(self.last[:, None], shape[1], axis=1)
        self.settled = np.full(len(tables), np.inf)
        for i, (table, schedule) in enumerate(zip(tables, schedules, strict=True)):
            self.times[i, : table.size] = table
            self.is_output[i, : table.size] = np.isin(table, self.outputs[i])
            knots = _between(schedule, self.last[i])
            self.ends[i, : table.size] = np.append(knots, self.last[i])[
                np.searchsorted(knots, table)
            ]
            quiet = (float(t) for t in table if 4 * schedule.remaining(float(t)) <= 1e-2 * rtol)
            self.settled[i] = next(quiet, np.inf)


def _between(schedule: Schedule, last: float) -> list[float]:
    """The breakpoints after 0 and before `last`, ascending."""
    return sorted({float(t) for t in schedule.breakpoints if 0.0 < t < last})
