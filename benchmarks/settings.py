"""What is computed: problems, starts, schedules and times, the same for every rival."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import mirrorflow as mf
from mirrorflow.checks import Array
from mirrorflow.problems import random_stream

__all__ = ["FlowSetting", "LimitSetting", "Piece", "starts"]


def starts(d: int, runs: int) -> list[mf.Factors]:
    """PILoT's initialisation, β = 1, of x₀ ~ N(0, I/√d); the first ones stay when runs grow."""
    return [
        mf.Factors.pilot(random_stream("benchmark", d, run).normal(0.0, d**-0.25, d))
        for run in range(runs)
    ]


@dataclass(frozen=True, slots=True)
class Piece:
    """A span of flow time with constant α: A(t) = total + alpha·(t − start)."""

    start: float
    end: float
    alpha: float
    total: float


@dataclass(frozen=True)
class FlowSetting:
    """Flows of one problem from many starts, at common times, each within rtol per step."""

    problem: mf.Regression
    factors: list[mf.Factors]
    schedule: mf.Constant
    times: Array
    rtol: float

    def first(self, runs: int) -> FlowSetting:
        """The same with the first `runs` starts."""
        return FlowSetting(self.problem, self.factors[:runs], self.schedule, self.times, self.rtol)

    @property
    def pieces(self) -> list[Piece]:
        """Spans between the times at which α jumps."""
        last, alpha, total = float(self.times[-1]), self.schedule.alpha, self.schedule.total
        knots = [0.0, *(t for t in self.schedule.breakpoints if t < last), last]
        return [Piece(a, b, float(alpha(a)), float(total(a))) for a, b in itertools.pairwise(knots)]

    @cached_property
    def state(self) -> Array:
        """(runs, 2, d): m₀ and w₀."""
        return np.array([[f.m, f.w] for f in self.factors])

    @cached_property
    def log_masses(self) -> Array:
        """(runs, 2, d): log ½u₀² and log ½v₀²."""
        return np.log([[(f.m + f.w) ** 2 / 4, (f.m - f.w) ** 2 / 4] for f in self.factors])


@dataclass(frozen=True)
class LimitSetting:
    """Limits argmin {R_a(x) : Zx = y} of one problem for every start and every total A."""

    problem: mf.Regression
    factors: list[mf.Factors]
    totals: tuple[float, ...]

    def first(self, runs: int) -> LimitSetting:
        """The same with the first `runs` starts."""
        return LimitSetting(self.problem, self.factors[:runs], self.totals)
