"""A trajectory and its making: what every integrator of the flow takes and returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, ascending, number
from mirrorflow.limits.optimality import Interpolator
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.pairs import check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.schedules import Schedule

__all__ = ["RTOL_RANGE", "Flow"]

RTOL_RANGE = (1e-13, 1e-2)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Flow(Result):
    """A trajectory at the times asked for, with the work it took.

    Attributes
    ----------
    start : MirrorMap, where it began
    times : (T,) array, flow time; shorter than asked for where the integration failed
    x : (T, d) array, x = g(θ)
    parameters : (T, K, d) array
        θ; of `Factors` m and w, which `m` and `w` give one by one.
    loss : (T,) array, f(x)
    total : (T,) array, A(t)
    accumulated : (T, d) array or None
        ∫e^{−κA}∇f from 0 to t, where `direct_flow` was asked for it.
    status : str
        "completed"; "failed" (the message says at which time); where `times` ends with inf, the
        status of the limit if that is not "converged".
    message : str
    steps, right_hand_sides, factorizations : int

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> flow = mf.gradient_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, np.inf])
    >>> flow.x.shape, flow.total, flow.status
    ((3, 2), array([0. , 0.5, 0.5]), 'completed')
    """

    table: ClassVar[tuple[str, ...]] = ("times", "loss", "total", "x")
    start: MirrorMap
    times: Array
    x: Array
    parameters: Array
    loss: Array
    total: Array
    accumulated: Array | None
    status: str
    message: str
    steps: int
    right_hand_sides: int
    factorizations: int

    @property
    def m(self) -> Array:
        """The first layer, (T, d): m of m ⊙ w."""
        return self.parameters[:, 0]

    @property
    def w(self) -> Array:
        """The last layer, (T, d): w of m ⊙ w."""
        return self.parameters[:, -1]

    @property
    def success(self) -> bool:
        """Whether every time asked for was reached."""
        return self.status != "failed" and self.status != "not_converged"

    def _facts(self) -> dict[str, Any]:
        end = float(self.times.max(initial=0.0))
        loss = float(self.loss[-1]) if self.loss.size else math.nan
        sizes = {"times": self.times.size, "d": self.x.shape[1], "t_end": end}
        return {**sizes, "status": self.status, "loss_end": loss, "steps": self.steps}


def check_times(times: ArrayLike, rtol: float) -> tuple[Array, bool, float]:
    """The finite times, whether the limit is asked for too, and rtol."""
    rtol = number("rtol", rtol, *RTOL_RANGE)
    given = ascending("times", times, infinite_end=True)
    endless = bool(np.isinf(given[-1]))
    return given[:-1] if endless else given, endless, rtol


class Counts(NamedTuple):
    """Work done by one run."""

    steps: int
    right_hand_sides: int
    factorizations: int


class Runs(NamedTuple):
    """What is asked of many runs, one entry for each."""

    starts: list[MirrorMap]
    schedules: list[Schedule]
    times: list[Array]  # the finite ones
    endless: list[bool]  # whether the limit is asked for too
    rtol: float
    accumulate: bool = False


def check_runs(
    problem: Regression,
    starts: Sequence[MirrorMap],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float,
) -> Runs:
    """Each run with its schedule and times; refuse what doesn't fit together."""
    runs = list(starts)
    chosen = list(schedules) if np.iterable(schedules) else [schedules] * len(runs)
    if len(chosen) != len(runs):
        raise InputError(
            f"schedules must be one or as many as starts ({len(runs)}), "
            f"but there are {len(chosen)}."
        )
    for start in runs:
        check_pair(problem, start)
    for schedule in {id(schedule): schedule for schedule in chosen}.values():
        check_schedule(schedule)
    if not isinstance(times, Sequence | np.ndarray) or not len(times) or np.ndim(times[0]) == 0:
        finite, endless, rtol = check_times(times, rtol)  # type: ignore[arg-type]
        return Runs(runs, chosen, [finite] * len(runs), [endless] * len(runs), rtol)
    if len(times) != len(runs):
        raise InputError(
            f"times must be one array or as many as starts ({len(runs)}), "
            f"but there are {len(times)}."
        )
    checked = [check_times(some, rtol) for some in times]
    rtol = number("rtol", rtol, *RTOL_RANGE)
    return Runs(runs, chosen, [one[0] for one in checked], [one[1] for one in checked], rtol)


def trajectory(
    problem: Regression,
    asked: Runs,
    i: int,
    times: Array,
    theta: Array,
    accumulated: Array | None,
    counts: Counts,
    failure: str,
    limit: Interpolator | None = None,
) -> Flow:
    """The flow of run `i` through θ, (T, K, d), at `times` (T,).

    `failure` says why it ends early, `limit` is what stands at t = inf, if that is the last time.
    """
    status, message = "completed", "Every time was reached."
    if failure:
        status, message = "failed", f"{failure}; use a larger rtol or an earlier end."
    elif limit is not None and limit.status != "converged":
        status, message = limit.status, limit.message
    start, schedule, finite = asked.starts[i], asked.schedules[i], times[np.isfinite(times)]
    total = np.full(times.size, float(schedule.total_infinity))
    total[: finite.size] = schedule.total(finite)
    with np.errstate(over="ignore", invalid="ignore"):  # a run that failed may have begun too large
        x = start.g(theta)
        loss = np.mean(problem.loss.value((problem.Z @ x.T).T, problem.y), axis=1)
    return Flow(start, times, x, theta, loss, total, accumulated, status, message, *counts)
