r"""Gradient flow of F_t(m, w) = f(m ⊙ w) + α_t(‖m‖² + ‖w‖²) in continuous time.

`gradient_flow` integrates the dual system: the accumulated gradient g_t = ∫₀ᵗ ∇f lies in the row
space of Z, −2g = Vᵀκ with κ ∈ Rʳ, and

    κ̇ = (2/n) s² ⊙ (b − Vx),   x = p − q,   p = ½u₀²e^{−4A + Vᵀκ},   q = ½v₀²e^{−4A − Vᵀκ}

for Z = U diag(s) V and b = s⁻¹Uᵀy: r ≤ n unknowns, whatever d, the rank and the consistency
of Zx = y. `direct_flow` integrates (m, w) as it stands and shares none of this: it is the
referee, because the dual satisfies the invariant and the KKT form by construction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import LSODA
from scipy.linalg import lapack

from mirrorflow.checks import Array, InputError, ascending, number
from mirrorflow.factors import Factors
from mirrorflow.limits import Interpolator, check_pair, interpolator, lasso_limit
from mirrorflow.potentials import HyperbolicEntropy
from mirrorflow.problems import Regression
from mirrorflow.rosenbrock import Counts, StepLimit, integrate
from mirrorflow.schedules import Schedule

__all__ = ["Flow", "direct_flow", "gradient_flow", "gradient_flows"]

RTOL_RANGE = (1e-13, 1e-2)
SMALLEST = 1e-140
MOST_CALLS = 500_000
LARGEST_EXPONENT = 300.0  # a trial step beyond it is hopeless; finite, so that it is rejected


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A trajectory at the times asked for, with the work it took.

    Attributes
    ----------
    times : (T,) array, flow time; shorter than asked for where the integration failed
    x, m, w : (T, d) arrays, x = m ⊙ w
    loss : (T,) array, f(x) = 1/(2n)‖Zx − y‖²
    total : (T,) array, A(t)
    status : str
        "completed"; "failed" (the message says at which time); where `times` ends with inf, the
        status of the limit if that is not "converged".
    message : str
    steps, right_hand_sides, factorizations : int
    """

    times: Array
    x: Array
    m: Array
    w: Array
    loss: Array
    total: Array
    status: str
    message: str
    steps: int
    right_hand_sides: int
    factorizations: int

    @property
    def success(self) -> bool:
        """Whether every time asked for was reached."""
        return self.status != "failed" and self.status != "not_converged"


def gradient_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow from any real m₀, w₀, by LSODA on the dual system.

    Parameters
    ----------
    problem : Regression
    factors : Factors
        m₀, w₀ with as many coordinates as the problem.
    schedule : Schedule
        α(t); its breakpoints are integrated to, not over.
    times : (T,) floats, strictly ascending, ≥ 0
        The last may be inf: the exact limit for this schedule (the LASSO with λ = 2α_∞ where
        α_∞ > 0, else the interpolator after A_∞ ≤ ∞).
    rtol : float in [1e-13, 1e-2]
        Local error of the exponents of p and q, that is relative error of x, per step; the
        error at the end is usually some 10 times larger, and never below about
        1e-16·4A, the rounding of those exponents. 1e-8 suits plots and verdicts, 1e-10
        comparisons with other integrators; below 1e-11 rounding costs many steps.

    Returns
    -------
    Flow

    Raises
    ------
    InputError
        If shapes don't fit, times don't ascend or rtol is out of range.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = gradient_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), [0.0, 50.0])
    >>> bool(flow.loss[-1] < 1e-15)
    True
    """
    finite, ask_limit, rtol = _arguments(problem, factors, schedule, times, rtol)
    dual = _DualSystem(problem, factors, schedule)
    # an error τ in every κ_j moves an exponent by about τ√(r/d), as the rows of V are unit
    # vectors in R^d: this scaling makes rtol the error of the exponents
    tolerance = rtol * np.sqrt(problem.d / max(dual.b.size, 1))
    kappa, counts = np.zeros(dual.b.size), Counts()
    reached: list[float] = []
    states: list[Array] = []
    failure = ""
    for start, asked, end in _segments(finite, schedule):
        points, kappa, failure = _lsoda(dual, kappa, start, asked, end, tolerance, counts)
        reached += [float(t) for t in asked[: len(points)]]
        states += points
        if failure:
            break
    parts = [dual.split(t, state) for t, state in zip(reached, states, strict=True)]
    pairs = [dual.factors_from(half_u, half_v) for half_u, half_v in parts]
    status, message = "completed", "Every time was reached."
    if failure:
        status, message = "failed", f"{failure}; use a larger rtol or an earlier end."
    elif ask_limit:
        limit = _limit(problem, factors, schedule)
        reached.append(float("inf"))
        pairs.append(_limit_factors(factors, limit))
        if limit.status != "converged":
            status, message = limit.status, limit.message
    return _flow(problem, schedule, reached, pairs, status, message, counts)


def gradient_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> list[Flow]:
    """`gradient_flow` for many runs on one problem, which is factored once.

    Parameters
    ----------
    factors_list : sequence of Factors
    schedules : sequence of Schedule, one for each of `factors_list`, or one for all

    Returns
    -------
    list of Flow, in the order of `factors_list`
    """
    chosen = [schedules] * len(factors_list) if isinstance(schedules, Schedule) else schedules
    if len(chosen) != len(factors_list):
        raise InputError(
            f"schedules must be one or as many as factors_list ({len(factors_list)}), "
            f"but there are {len(chosen)}."
        )
    return [
        gradient_flow(problem, factors, schedule, times, rtol)
        for factors, schedule in zip(factors_list, chosen, strict=True)
    ]


def direct_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow by integrating (m, w) ∈ R²ᵈ as written, the referee for everything else.

        ṁ = −w ⊙ ∇f(m ⊙ w) − 2α_t m,      ẇ = −m ⊙ ∇f(m ⊙ w) − 2α_t w

    Rodas5P; the Jacobian is two diagonals plus rank n, so a step costs O(n²d). The error of
    each coordinate is measured against √(m_i² + w_i²): rtol bounds it per step.

    Parameters
    ----------
    problem, factors, schedule, rtol
        As in `gradient_flow`.
    times : (T,) floats, strictly ascending, finite
        Integration alone can't say where t = inf leads.

    Notes
    -----
    The smaller of |m ± w| is what carries a coordinate to the other sign, and (m, w) in double
    precision hold it only down to 1e-16 of the larger. Balanced coordinates, where it is 0, may
    therefore change sign here after long times, though not in exact arithmetic; so may others
    once e^{−4A} is below that, from A ≈ 9 on, and from A ≈ 40 on the path itself is lost. Look
    at the drift of (m² − w²)e^{4A} before trusting this flow there.
    """
    finite, ask_limit, rtol = _arguments(problem, factors, schedule, times, rtol)
    if ask_limit:
        raise InputError("times must be finite for direct_flow, but the last is inf.")
    system = _DirectSystem(problem, schedule, rtol)
    state, counts = np.concatenate([factors.m, factors.w]), Counts()
    reached: list[float] = []
    pairs: list[tuple[Array, Array]] = []
    status, message = "completed", "Every time was reached."
    try:
        for start, asked, end in _segments(finite, schedule):
            system.end = end
            stops = np.unique(np.concatenate([[start], asked, [end]]))
            points = itertools.chain([state], integrate(system, state, stops, counts))
            for t, state in zip(stops, points, strict=True):
                if t in asked:
                    reached.append(float(t))
                    pairs.append((state[: problem.d], state[problem.d :]))
    except StepLimit as error:
        status, message = "failed", f"{error}; use a larger rtol or an earlier end."
    return _flow(problem, schedule, reached, pairs, status, message, counts)


def _arguments(
    problem: Regression, factors: Factors, schedule: Schedule, times: ArrayLike, rtol: float
) -> tuple[Array, bool, float]:
    check_pair(problem, factors)
    if not isinstance(schedule, Schedule):
        raise InputError(f"schedule must be a Schedule, but it is {schedule!r}.")
    rtol = number("rtol", rtol, *RTOL_RANGE)
    given = ascending("times", times, infinite_end=True)
    endless = bool(np.isinf(given[-1]))
    return given[:-1] if endless else given, endless, rtol


def _segments(times: Array, schedule: Schedule) -> list[tuple[float, Array, float]]:
    """(start, times asked for in [start, end), end) between breakpoints; the last is closed."""
    if times.size == 0:
        return []
    last = float(times[-1])
    knots = [0.0, *(t for t in schedule.breakpoints if t < last)]
    segments = []
    for start, end in zip(knots, [*knots[1:], last], strict=True):
        inside = (times >= start) & ((times < end) | (end == last))
        segments.append((start, times[inside], end))
    return segments


def _flow(
    problem: Regression,
    schedule: Schedule,
    reached: list[float],
    pairs: list[tuple[Array, Array]],
    status: str,
    message: str,
    counts: Counts,
) -> Flow:
    times = np.array(reached)
    shape = (len(pairs), problem.d)
    m = np.array([m for m, _ in pairs]).reshape(shape)
    w = np.array([w for _, w in pairs]).reshape(shape)
    x = m * w
    total = np.array([schedule.total_infinity if np.isinf(t) else schedule.total(t) for t in times])
    residual = x @ problem.Z.T - problem.y
    loss = 0.5 * np.sum(residual**2, axis=1) / problem.n
    return Flow(
        times,
        x,
        m,
        w,
        loss,
        total,
        status,
        message,
        counts.steps,
        counts.derivatives,
        counts.factorizations,
    )


def _lsoda(
    dual: _DualSystem,
    kappa: Array,
    start: float,
    asked: Array,
    end: float,
    tolerance: float,
    counts: Counts,
) -> tuple[list[Array], Array, str]:
    """κ at the times asked for in [start, end], κ at `end`, and why it stopped before, if so."""
    points = [kappa for t in asked if t == start]
    if end == start or dual.b.size == 0:
        return [kappa] * asked.size, kappa, ""
    tolerance = max(tolerance, 3e-14)  # LSODA's least
    solver = LSODA(
        dual.derivative, start, kappa, end, rtol=tolerance, atol=tolerance, jac=dual.jacobian
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
    counts.derivatives += solver.nfev
    counts.factorizations += solver.njev
    failure = f"LSODA stopped at t = {solver.t:.6g}: {reason}" if reason else ""
    return points, solver.y, failure


def _limit(problem: Regression, factors: Factors, schedule: Schedule) -> Interpolator:
    if schedule.alpha_infinity > 0:
        return lasso_limit(problem, factors, schedule.alpha_infinity)
    return interpolator(problem, factors, schedule.total_infinity)


def _limit_factors(factors: Factors, limit: Interpolator) -> tuple[Array, Array]:
    """m and w at t = inf: the factors u and v keep their signs, p = u²/2 and q = v²/2."""
    u = np.copysign(np.sqrt(2.0 * limit.p), factors.u)
    v = np.copysign(np.sqrt(2.0 * limit.q), factors.v)
    return (u + v) / np.sqrt(2.0), (u - v) / np.sqrt(2.0)


class _DualSystem:
    """κ̇ and its Jacobian −(2/n) diag(s²) V diag(p + q) Vᵀ."""

    def __init__(self, problem: Regression, factors: Factors, schedule: Schedule) -> None:
        space = problem.row_space
        self.V, self.b, self.schedule, self.start = space.V, space.b, schedule, factors
        self.rate = 2.0 * space.s**2 / problem.n
        potential = HyperbolicEntropy.of(factors)
        self.log_p, self.log_q = potential.log_p, potential.log_q

    def exponents(self, t: float, kappa: Array) -> tuple[Array, Array]:
        decay, bend = 4.0 * self.schedule.total(t), kappa @ self.V
        return self.log_p - decay + bend, self.log_q - decay - bend

    def derivative(self, t: float, kappa: Array) -> Array:
        log_p, log_q = self.exponents(t, kappa)
        x = np.exp(np.minimum(log_p, LARGEST_EXPONENT))
        x -= np.exp(np.minimum(log_q, LARGEST_EXPONENT))
        return self.rate * (self.b - self.V @ x)

    def jacobian(self, t: float, kappa: Array) -> Array:
        log_p, log_q = self.exponents(t, kappa)
        weights = np.exp(np.minimum(log_p, LARGEST_EXPONENT))
        weights += np.exp(np.minimum(log_q, LARGEST_EXPONENT))
        return -self.rate[:, None] * ((self.V * weights) @ self.V.T)

    def split(self, t: float, kappa: Array) -> tuple[Array, Array]:
        """|u| and |v| at time t: √(2p) and √(2q)."""
        log_p, log_q = self.exponents(t, kappa)
        return np.sqrt(2.0) * np.exp(0.5 * log_p), np.sqrt(2.0) * np.exp(0.5 * log_q)

    def factors_from(self, size_u: Array, size_v: Array) -> tuple[Array, Array]:
        u, v = np.copysign(size_u, self.start.u), np.copysign(size_v, self.start.v)
        return (u + v) / np.sqrt(2.0), (u - v) / np.sqrt(2.0)


class _DirectSystem:
    """(m, w) with ∇f = Zᵀ(Zx − y)/n and the Woodbury solve of its Jacobian."""

    def __init__(self, problem: Regression, schedule: Schedule, rtol: float) -> None:
        self.Z, self.y, self.n, self.d = problem.Z, problem.y, problem.n, problem.d
        self.schedule, self.rtol = schedule, rtol
        self.end = np.inf

    def alpha(self, t: float) -> float:
        # α jumps at the end of a segment: within it, its value from the left counts
        return float(self.schedule.alpha(min(t, np.nextafter(self.end, 0.0))))

    def gradient(self, m: Array, w: Array) -> Array:
        return self.Z.T @ (self.Z @ (m * w) - self.y) / self.n

    def derivative(self, t: float, state: Array) -> Array:
        m, w = state[: self.d], state[self.d :]
        slope, alpha = self.gradient(m, w), self.alpha(t)
        return np.concatenate([-w * slope - 2 * alpha * m, -m * slope - 2 * alpha * w])

    def time_derivative(self, t: float, state: Array) -> Array:
        return -2.0 * self.schedule.slope(t) * state

    def solver(self, t: float, state: Array, shift: float) -> Callable[[Array], Array]:
        # (shift − J) = D + BᵀB/n: D couples m_i and w_i only, through ∇f_i, and
        # B = Z [diag(w), diag(m)] is the rank-n rest
        m, w = state[: self.d], state[self.d :]
        slope, diagonal = self.gradient(m, w), shift + 2 * self.alpha(t)
        determinant = (diagonal - slope) * (diagonal + slope)
        own, cross = diagonal / determinant, -slope / determinant
        to_m, to_w = own * w + cross * m, own * m + cross * w  # D⁻¹ on a column (w, m)
        small = (self.Z * (w * to_m + m * to_w)) @ self.Z.T / self.n
        small.flat[:: self.n + 1] += 1.0
        # symmetric, but indefinite where a long step meets a large gradient
        factor, pivots, _ = lapack.dgetrf(small, overwrite_a=1)

        def solve(b: Array) -> Array:
            first, second = b[: self.d], b[self.d :]
            easy_m, easy_w = own * first + cross * second, own * second + cross * first
            inner = self.Z @ (w * easy_m + m * easy_w) / self.n
            back = self.Z.T @ lapack.dgetrs(factor, pivots, inner)[0]
            return np.concatenate([easy_m - to_m * back, easy_w - to_w * back])

        return solve

    def error(self, increment: Array, state: Array) -> float:
        sizes = np.hypot(state[: self.d], state[self.d :])
        errors = np.hypot(increment[: self.d], increment[self.d :])
        # below SMALLEST a factor adds nothing to x, and denormals can't be that exact
        return float(np.max(errors / np.maximum(sizes, SMALLEST))) / self.rtol
