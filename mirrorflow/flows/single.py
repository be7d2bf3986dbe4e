"""One run of the dual system by LSODA, from wherever it stands."""

from __future__ import annotations

import numpy as np
from scipy.integrate import LSODA

from mirrorflow.checks import Array
from mirrorflow.flows.dual import Dual, Masses
from mirrorflow.flows.pace import Counts
from mirrorflow.schedules import Schedule

__all__ = ["continue_alone"]

MOST_CALLS = 500_000
HOPELESS = 1e100  # a slope that gets a trial step rejected, but is finite, as LSODA wants it


def continue_alone(
    dual: Dual,
    masses: Masses,
    schedule: Schedule,
    t: float,
    eta: Array,
    outputs: Array,
    rtol: float,
    counts: Counts,
) -> tuple[Array, str]:
    """η at `outputs`, and why it ends before, if so.

    Parameters
    ----------
    dual : Dual
    masses : Masses, (1, d), at A = 0
    schedule : Schedule
    t, eta : float and (r,) array
        Where the run stands.
    outputs : (k,) array, finite, ascending, ≥ t
    rtol : float
        Error of an exponent per step.
    counts : Counts
        The work is added to it.

    Returns
    -------
    states : (k, r) array; fewer rows where the integration failed
    failure : str
    """
    system, failure = _System(dual, masses, schedule), ""
    states: list[Array] = []
    for start, asked, end in _segments(outputs, schedule, t):
        points, eta, failure = _lsoda(system, eta, start, asked, end, rtol, counts)
        states += points
        if failure:
            break
    return np.array(states).reshape(len(states), dual.r), failure


def _segments(times: Array, schedule: Schedule, since: float) -> list[tuple[float, Array, float]]:
    """(start, times asked for in [start, end), end) between breakpoints; the last is closed."""
    if times.size == 0:
        return []
    last = float(times[-1])
    knots = [since, *(t for t in schedule.breakpoints if since < t < last)]
    found = []
    for start, end in zip(knots, [*knots[1:], last], strict=True):
        inside = (times >= start) & ((times < end) | (end == last))
        found.append((start, times[inside], end))
    return found


class _System:
    """η̇ and its Jacobian of one run, as LSODA wants them."""

    def __init__(self, dual: Dual, masses: Masses, schedule: Schedule) -> None:
        self.dual, self.schedule = dual, schedule
        self.first = Masses(masses.log_p[0], masses.log_q[0])
        self.total, self.masses = 0.0, self.first

    def derivative(self, t: float, eta: Array) -> Array:
        total = float(self.schedule.total(t))
        if total != self.total:  # with α = 0 it stays
            self.total, self.masses = total, self.first.after(np.asarray(total))
        with np.errstate(over="ignore", invalid="ignore"):
            slope = self.dual.derivative(eta, self.masses)
        return slope if np.isfinite(slope).all() else np.full_like(slope, HOPELESS)

    def jacobian(self, t: float, eta: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            H = self.dual.hessian(eta, self.first.after(np.asarray(self.schedule.total(t))))
        return -np.where(np.isfinite(H), H, HOPELESS)


def _lsoda(
    system: _System,
    eta: Array,
    start: float,
    asked: Array,
    end: float,
    rtol: float,
    counts: Counts,
) -> tuple[list[Array], Array, str]:
    """η at the times asked for in [start, end], η at `end`, and why it stopped before, if so."""
    points = [eta for t in asked if t == start]
    if end == start or eta.size == 0:
        return [eta] * asked.size, eta, ""
    # an error τ in every σ_j η_j moves an exponent by about τ√(r/d), as the rows of V are unit
    # vectors in R^d: this scaling makes rtol the error of the exponents; 3e-14 is LSODA's least
    r, d = system.dual.basis.shape
    tolerance = max(rtol * np.sqrt(d / r), 3e-14)
    solver = LSODA(
        system.derivative,
        start,
        eta,
        end,
        rtol=tolerance,
        atol=tolerance / system.dual.sigma,
        jac=system.jacobian,
    )
    reason = ""
    while solver.status == "running" and not reason:
        reason = solver.step() or ""
        counts.steps += 1
        if not np.isfinite(solver.y).all():
            reason = "the state is no longer finite"
        elif solver.nfev > MOST_CALLS:
            reason = f"more than {MOST_CALLS} right-hand sides were needed"
        elif solver.status != "failed":
            inside = asked[len(points) :]
            inside = inside[inside <= solver.t]
            if inside.size:
                points += list(solver.dense_output()(inside).T)
    counts.derivatives += int(solver.nfev)
    counts.factorizations += int(solver.njev)
    failure = f"LSODA stopped at t = {solver.t:.6g}: {reason}" if reason else ""
    return points, solver.y, failure
