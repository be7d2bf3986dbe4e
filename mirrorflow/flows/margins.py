r"""Flows of separable labels in logarithmic time, s = log t, to s = 10⁵ and beyond.

Losses of the margin fall without end, but only like 1/t, so that t says nothing: what moves is

    dq_i/ds = e^{s − κA} (−φ′(margin_i))/n,    ∇R_A(x) = Zᵀq  (rows of Z times their labels),

in n unknowns, by scipy's Radau. e^s and φ′ are never formed apart: log(−φ′) has a formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.checks import Array, InputError, number, real_array
from mirrorflow.limits.max_margin import separable, signed_rows
from mirrorflow.losses import Margin
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.pairs import check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.schedules import Constant, Schedule

__all__ = ["MarginFlow", "margin_flow"]

X, DX = 0, 1
EARLY = 40.0  # e^{−40} of the shortest time scale: x is still x₀ to rounding
LATEST = 700.0  # log of the last t that float64 holds; schedules have ended by then


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarginFlow(Result):
    """A flow at log-times s.

    Attributes
    ----------
    log_times, total : (T,) arrays
        s = log t, and A.
    x : (T, d) array
    dual : (T, n) array
        q ≥ 0, (1/n)∫e^{−κA}(−φ′)dt of each sample.
    margins : (T, n) array
        y_i z_iᵀx.
    steps : int
        Evaluations of dq/ds.
    status, message : str
        "completed", or "failed" with scipy's words; then the arrays end early.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[2.0, 1.0]], [1.0], loss=mf.Logistic())
    >>> flow = mf.margin_flow(problem, mf.Factors.pilot([0.0, 0.0]), [0.0, 10.0])
    >>> flow.status, flow.dual.shape
    ('completed', (2, 1))
    """

    table: ClassVar[tuple[str, ...]] = ("log_times", "total", "x", "margins")
    log_times: Array
    total: Array
    x: Array
    dual: Array
    margins: Array
    steps: int
    status: str
    message: str

    @property
    def success(self) -> bool:
        """Whether all log-times were reached."""
        return self.status == "completed"

    def _facts(self) -> dict[str, object]:
        sizes = {"n": self.dual.shape[1], "d": self.x.shape[1], "log_times": self.log_times.size}
        return {**sizes, "status": self.status, "steps": self.steps}


def margin_flow(
    problem: Regression,
    start: MirrorMap,
    log_times: ArrayLike,
    schedule: Schedule | None = None,
    rtol: float = 1e-8,
) -> MarginFlow:
    """Gradient flow under a loss of the margin at times t = e^s, any s.

    Parameters
    ----------
    problem : Regression
        Labels ±1, with `Logistic()` or `Exponential()`.
    start : Factors, Powers, …
    log_times : (T,) floats, ascending
        s = log t.
    schedule : Schedule, optional
        Without one there is no decay. ∫α must be finite.
    rtol : float
        Of q, that is of the exponents of x.

    Returns
    -------
    MarginFlow

    Raises
    ------
    InputError
        If labels, loss, start or log-times don't fit, or ∫α = ∞; if the labels are not separable,
        as then q grows like t while Zᵀq stays, and x drowns in rounding (`gradient_flow`).

    Examples
    --------
    >>> from mirrorflow import Factors, Logistic
    >>> problem = Regression([[2.0, 1.0]], [1.0], loss=Logistic())
    >>> flow = margin_flow(problem, Factors.pilot([0.0, 0.0]), [0.0, 1e5])
    >>> flow.margins[-1].round(-3)
    array([100000.])
    """
    check_pair(problem, start)
    schedule = Constant(0.0) if schedule is None else schedule
    check_schedule(schedule)
    rtol = number("rtol", rtol, 1e-13, 1e-2)
    loss, n = problem.loss, problem.n
    if not isinstance(loss, Margin):
        raise InputError(f"loss must be Logistic() or Exponential(), but it is {loss!r}.")
    rows = signed_rows(problem)
    if not separable(rows, start):
        raise InputError(
            "y must be separable by an x of the signs that the start leaves, but no x has "
            "y_i z_iᵀx > 0 for all i; use `gradient_flow`, which ends."
        )
    wanted = real_array("log_times", log_times, 1)
    if not (np.diff(wanted) > 0).all():
        raise InputError(f"log_times must ascend strictly, but they are {wanted}.")
    if not math.isfinite(schedule.total_infinity):
        raise InputError("schedule must have ∫α < ∞ in log-time; use `lasso_limit` for its end.")
    start.check_decay("schedule's total", schedule.total_infinity)
    kappa = start.kappa if schedule.total_infinity > 0 else 0.0

    def total(s: float) -> float:
        return schedule.total_infinity if s > LATEST else float(schedule.total(math.exp(s)))

    def speed(s: float, q: Array) -> tuple[Array, Array]:
        point = start.at(rows.T @ q, total(s))
        log_slope, fall = loss.log_slope(rows @ point[X])
        rate = np.exp(s - kappa * total(s) + log_slope) / n
        return rate, -(rate * fall)[:, None] * ((rows * point[DX]) @ rows.T)

    first = start.at(np.zeros(start.d), 0.0)
    speeds = np.log(np.maximum(rows**2 @ first[DX], 1e-300)) + loss.log_slope(rows @ first[X])
    s = min(float(wanted[0]), -EARLY - max(float(speeds.max()), 0.0))
    q = speed(s, np.zeros(n))[0]
    duals = [q for at in wanted if at == s]
    steps, failure = 0, ""
    ends = [math.log(t) for t in schedule.breakpoints if s < math.log(t) < wanted[-1]]
    for end in [*ends, float(wanted[-1])]:
        inside = wanted[(wanted > s) & (wanted <= end)]
        with np.errstate(all="ignore"):  # Radau rejects what is no number
            done = solve_ivp(
                lambda s, q: speed(s, q)[0],
                (s, end),
                q,
                "Radau",
                np.union1d(inside, [end]),
                jac=lambda s, q: speed(s, q)[1],
                rtol=rtol,
                atol=rtol / float(np.abs(rows).max()),
            )
        duals += [q for at, q in zip(done.t, np.transpose(done.y), strict=True) if at in inside]
        steps += int(done.nfev)
        if done.status != 0:
            failure = f"At log t = {done.t[-1] if len(done.t) else s:g}: {done.message}"
            break
        s, q = end, done.y[:, -1]
    totals = np.array([total(at) for at in wanted[: len(duals)]])
    x = np.array([start.at(rows.T @ q, A)[X] for q, A in zip(duals, totals, strict=True)])
    x, dual = x.reshape(-1, start.d), np.array(duals).reshape(-1, n)
    status, message = ("failed", failure) if failure else ("completed", "All log-times reached.")
    return MarginFlow(wanted[: len(duals)], totals, x, dual, x @ rows.T, steps, status, message)
