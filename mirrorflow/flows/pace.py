"""How many runs step from stop to stop, each at its own pace."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.flows.stops import Stops

__all__ = ["Counts", "Index", "Mask", "Method", "Paced", "Steps"]

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Method(Protocol):
    """What the choice of a step size needs to know of a one-step method."""

    order: int  # of the step size in the error estimate
    growth: float  # most from one step to the next
    derivatives: int  # right-hand sides a step
    factorizations: int


@dataclass(slots=True)
class Counts:
    """Work done so far by one run."""

    steps: int = 0
    derivatives: int = 0
    factorizations: int = 0


class Steps(NamedTuple):
    """Steps that L runs are about to try: `h`, to the time `stop` where `last`."""

    h: Array
    stop: Array
    last: Mask


@dataclass(slots=True)
class Paced:
    """L runs under way; every field has the runs along its first axis."""

    run: Index
    plan: Index  # which schedule
    line: Index  # which line of stops
    stop: Index  # number of the stop ahead
    t: Array
    state: Array  # (L, N)
    slope: Array  # its derivative
    h: Array  # size of the next step
    previous: Array  # size of the last error
    rejected: Mask  # whether the last step was
    held: Index  # steps in a row held down by stability
    stiff: Mask  # whether the implicit method has taken over
    over: Mask
    steps: Index
    derivatives: Index
    factorizations: Index

    @classmethod
    def at_zero(
        cls, run: Index, plan: Index, line: Index, state: Array, slope: Array, **others: Any
    ) -> Self:
        """Runs at t = 0, about to arrive at stop 0; `others` are the fields of an heir."""
        L = run.size
        return cls(
            run=run,
            plan=plan,
            line=line,
            stop=np.zeros(L, dtype=np.intp),
            t=np.zeros(L),
            state=state,
            slope=slope,
            h=np.zeros(L),
            previous=np.ones(L),
            rejected=np.zeros(L, dtype=bool),
            held=np.zeros(L, dtype=np.intp),
            stiff=np.zeros(L, dtype=bool),
            over=np.zeros(L, dtype=bool),
            steps=np.zeros(L, dtype=np.intp),
            derivatives=np.ones(L, dtype=np.intp),
            factorizations=np.zeros(L, dtype=np.intp),
            **others,
        )

    def take(self, chosen: Mask) -> Self:
        """The chosen runs."""
        if chosen.all():
            return self
        return type(self)(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    def join(self, other: Self) -> Self:
        """These runs and those."""
        names = [f.name for f in dataclasses.fields(self)]
        return type(self)(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))

    def counts(self, lane: int | np.intp) -> Counts:
        return Counts(
            steps=int(self.steps[lane]),
            derivatives=int(self.derivatives[lane]),
            factorizations=int(self.factorizations[lane]),
        )

    def next_steps(self, stops: Stops) -> Steps:
        """What to try: stretched by a little, or halved, rather than leave a sliver of a step."""
        stop = stops.times[self.line, self.stop]
        left = stop - self.t
        last = self.h * 1.01 >= left
        h = np.where(last, left, np.where(2 * self.h > left, 0.5 * left, self.h))
        return Steps(h, stop, last)

    def judge(self, tried: Steps, error: Array, method: Method) -> Mask:
        """Move those runs whose error (in units of the tolerance) is at most 1; which they are.

        The next h is that of Gustafsson's predictive controller, as in Hairer and Wanner's RODAS.
        """
        taken = error <= 1.0  # false for nan
        size = np.maximum(np.where(np.isfinite(error), error, 1e10), 1e-10)
        factor = 0.9 * size ** (-1.0 / method.order)
        factor *= np.where(taken, np.minimum(1.0, (self.previous / size) ** 0.1), 1.0)
        most = np.where(self.rejected, 1.0, method.growth)
        factor = np.where(taken, np.clip(factor, 0.2, most), np.clip(factor, 0.1, 0.9))
        # a step shortened for a stop says nothing against the size that was in use
        shortened = taken & (factor >= 1.0) & (tried.h < self.h)
        self.h = np.where(shortened, np.maximum(self.h, tried.h * factor), tried.h * factor)
        self.t = np.where(taken & tried.last, tried.stop, np.where(taken, self.t + tried.h, self.t))
        self.previous = np.where(taken, np.maximum(size, 1e-4), self.previous)
        self.rejected = ~taken
        self.steps += taken
        self.derivatives += method.derivatives
        self.factorizations += method.factorizations
        return taken

    def stuck(self) -> Mask:
        """Whether h has become too small to move t, or nan."""
        return ~(self.h > 4 * np.spacing(self.t)) & ~self.over
