"""Many runs of one system, each with a step size of its own.

Runs advance together, one step each per round, because the cost of a round is in a few matrix
products. A run starts explicit; where the step is held down by stability alone it continues with
Rodas5P. Whoever is through makes room for a waiting run, so that memory is bounded. What becomes
of a run depends on no other, to the last bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.flows.clock import Clock
from mirrorflow.flows.pace import Counts, Index, Mask, Paced
from mirrorflow.flows.stepping import Explicit, Implicit, Start, Stepper
from mirrorflow.flows.stops import Stops
from mirrorflow.schedules import Schedule

__all__ = ["Ensemble", "Path"]

MOST_CALLS = 500_000  # right-hand sides of one run
ROOM = 2**26  # bytes for the arrays of the runs under way
WIDEST = 512  # runs under way: more no longer save time
STIFF = 6.0  # h times the fastest rate, near the end of DOP853's stable interval (−6.1, 0)
PATIENCE = 3  # such steps in a row
# a wild trial step is rejected, and a run that overflows where it starts fails by name
QUIETLY = np.errstate(all="ignore")

Runs = TypeVar("Runs", bound=Paced)


@dataclass(slots=True)
class Path:
    """What became of one run: its state at its output times, as far as it came."""

    run: int
    states: Array  # (outputs reached, N)
    counts: Counts
    failure: str


class Ensemble(ABC, Generic[Runs]):
    """Takes the runs from stop to stop; what they are, and where they begin, its heirs know.

    Parameters
    ----------
    schedules : sequence of Schedule, one for each run
    outputs : sequence of (T,) arrays, finite and ascending; as many
    rtol : float
        Error of a step, in the system's own measure.
    size : int
        Numbers that a run under way takes.
    """

    def __init__(
        self, schedules: Sequence[Schedule], outputs: Sequence[Array], rtol: float, size: int
    ) -> None:
        self.rtol, self.clock = rtol, Clock(schedules)
        self.stops = Stops(self.clock, outputs, rtol)
        self.explicit, self.implicit = Explicit(), Implicit()
        self.states: dict[int, list[Array]] = {}
        self.done: list[Path] = []
        self.total = len(schedules)
        self.capacity = int(np.clip(ROOM // (8 * size), 1, WIDEST))

    @abstractmethod
    def start(self, runs: Runs, h: Array, nodes: Array) -> Start:
        """The system, as `stepping` wants it."""

    @abstractmethod
    def begin(self, run: Index, plan: Index, line: Index) -> Runs:
        """Those runs at t = 0."""

    @abstractmethod
    def set_out(self, runs: Runs, at: Index) -> None:
        """Choose the first step of the runs `at`, which stand at t = 0 or where α jumps."""

    def pass_stop(self, runs: Runs, at: Index) -> None:
        """Called for the runs `at`, before they head for their next stop."""

    def sort_out(self, runs: Runs) -> Runs:
        """The runs of a round that go on; the others are over, or waiting elsewhere."""
        return runs.take(~runs.over)

    def recall(self, explicit: Runs, implicit: Runs, idle: bool) -> tuple[Runs, Runs]:
        """Both, and perhaps some that were waiting elsewhere: all of these where idle."""
        return explicit, implicit

    def integrate(self) -> Iterator[Path]:
        """Every run, in the order in which they end."""
        waiting = 0
        explicit = implicit = self._load(range(0))
        while True:
            idle = waiting == self.total and explicit.run.size + implicit.run.size == 0
            explicit, implicit = self.recall(explicit, implicit, idle)
            yield from self.done
            self.done.clear()
            if idle and explicit.run.size + implicit.run.size == 0:
                return
            room = self.capacity - explicit.run.size
            if waiting < self.total and 4 * room >= self.capacity:
                upto = min(waiting + room, self.total)
                explicit, waiting = explicit.join(self._load(range(waiting, upto))), upto
            if explicit.run.size and implicit.run.size < self.capacity:
                explicit = self._round(explicit, self.explicit)
                implicit = implicit.join(explicit.take(explicit.stiff))
                explicit = explicit.take(~explicit.stiff)
            elif implicit.run.size:
                implicit = self._round(implicit, self.implicit)

    @QUIETLY
    def _load(self, numbers: range) -> Runs:
        run = np.array(numbers, dtype=np.intp)
        self.states.update({i: [] for i in numbers})
        runs = self.begin(run, self.clock.plan[run], self.stops.line[run])
        self._arrive(runs, np.arange(run.size))
        return runs.take(~runs.over)

    @QUIETLY
    def _round(self, runs: Runs, method: Stepper) -> Runs:
        """One step of every run; those that go on."""
        landed = self._step(runs, method)
        if landed.any():
            self._arrive(runs, np.flatnonzero(landed))
        self._give_up(runs)
        return self.sort_out(runs)

    def _step(self, runs: Runs, method: Stepper) -> Mask:
        """One step of every run; whether it ended on a stop."""
        tried = runs.next_steps(self.stops)
        before = runs.t
        state, slope, error, reach = method.step(self, runs, tried.h)
        error[~np.isfinite(slope).all(axis=1)] = np.nan
        taken = runs.judge(tried, error, method)

        # held down by stability
        slow = (reach > STIFF) & (self.stops.last[runs.line] - before > 20 * tried.h)
        runs.held = np.where(taken, np.where(slow, runs.held + 1, 0), runs.held)
        runs.stiff |= runs.held >= PATIENCE

        runs.state = np.where(taken[:, None], state, runs.state)
        runs.slope = np.where(taken[:, None], slope, runs.slope)
        return taken & tried.last

    def _arrive(self, runs: Runs, at: Index) -> None:
        """Note the states of the runs `at`, which stand on a stop, and head for the next one."""
        line, stop = runs.line[at], runs.stop[at]
        for lane in at[self.stops.is_output[line, stop]]:
            self.states[int(runs.run[lane])].append(runs.state[lane : lane + 1].copy())
        for lane in at[np.isinf(self.stops.times[line, stop + 1])]:
            self.leave(runs, lane)
        runs.stop[at] += 1
        fresh = at[((stop == 0) | (self.stops.ends[line, stop] == runs.t[at])) & ~runs.over[at]]
        if fresh.size:
            self.set_out(runs, fresh)
            runs.held[fresh] = 0
        self.pass_stop(runs, at)

    def _give_up(self, runs: Runs) -> None:
        long = (runs.derivatives > MOST_CALLS) & ~runs.over
        for lane in np.flatnonzero(runs.stuck() | long):
            reason = (
                f"more than {MOST_CALLS} right-hand sides were needed to pass"
                if long[lane]
                else f"the step size fell to {runs.h[lane]:.1e} at"
                if np.isfinite(runs.h[lane])
                else "the right-hand side is not finite at"
            )
            self.leave(runs, lane, f"{reason} t = {runs.t[lane]:.6g}")

    def leave(self, runs: Runs, lane: int | np.intp, failure: str = "") -> None:
        """The run on that lane is over."""
        runs.over[lane] = True
        run = int(runs.run[lane])
        empty = np.empty((0, runs.state.shape[1]))
        states = np.concatenate([empty, *self.states.pop(run)])
        self.done.append(Path(run, states, runs.counts(lane), failure))
