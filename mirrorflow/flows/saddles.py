r"""Saddle-to-saddle path: the limit of gradient flow from vanishing starts, event by event.

Start m ⊙ w at |m₀² − w₀²|/2 = a → 0, and count time in τ = t/ℓ with ℓ = log(1/a). Then ν̃ = ν/ℓ, for
∇R = ½Zᵀν, converges uniformly on bounded τ to the solution of

    dν̃/dτ = (2/n)(y − Zx),  x_j ≥ 0 where z_jᵀν̃ = P, ≤ 0 where −P, 0 between,  P = 1 + 4ατ

the projected gradient flow of basis pursuit's dual, max {yᵀν : ‖Zᵀν‖_∞ ≤ 1} (Pesme & Flammarion
2023 for α = 0). x jumps from saddle to saddle: each is the signed least-squares solution (with
decay α: LASSO) on the coordinates at the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, brief, instance, number, real_array, vector, whole
from mirrorflow.limits.nonnegative import least_squares
from mirrorflow.losses import Squared
from mirrorflow.problems import Regression
from mirrorflow.result import Result

__all__ = ["SaddlePath", "saddle_path"]

AT = 1e-9  # relative: what counts as at the threshold
STILL = 1e-11  # relative: a rate that is rounding


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SaddlePath(Result):
    """A path from saddle to saddle.

    Attributes
    ----------
    times : (E,) array
        τ of the events, ascending from 0: x jumps there.
    x : (E, d) array
        The saddle from each event on; the last is the end.
    dual : (E, n) array
        ν̃ at the events; between two of them it is linear.
    rate : (n,) array
        dν̃/dτ after the last event: 0 where Zx = y was reached without decay.
    status : str
        "completed", or "failed": more than `most` events.
    message : str

    Examples
    --------
    >>> import mirrorflow as mf
    >>> path = mf.saddle_path(mf.Regression([[1.0, 2.0]], [2.0]))
    >>> path.times, path.x
    (array([0.   , 0.125]), array([[0., 0.],
           [0., 1.]]))
    """

    table: ClassVar[tuple[str, ...]] = ("times", "x", "dual")
    times: Array
    x: Array
    dual: Array
    rate: Array
    status: str
    message: str

    @property
    def success(self) -> bool:
        """Whether the path was followed to its end."""
        return self.status == "completed"

    def _facts(self) -> dict[str, Any]:
        sizes = {"n": self.dual.shape[1], "d": self.x.shape[1], "events": self.times.size}
        return {**sizes, "status": self.status, "last_time": float(self.times[-1])}

    def at(self, tau: ArrayLike) -> tuple[Array, Array]:
        """x (T, d), after the jump where τ is an event, and ν̃ (T, n), at τ ≥ 0."""
        tau = real_array("tau", np.atleast_1d(tau) if np.isscalar(tau) else tau, 1)
        if not (tau >= 0).all():
            raise InputError(f"tau must be at least 0, but it is {tau}.")
        last = np.searchsorted(self.times, tau, side="right") - 1
        spans = np.diff(self.times)[:, None]
        rates = np.vstack([np.diff(self.dual, axis=0) / np.where(spans > 0, spans, 1.0), self.rate])
        return self.x[last], self.dual[last] + (tau - self.times[last])[:, None] * rates[last]


def saddle_path(
    problem: Regression,
    *,
    alpha: float = 0.0,
    thresholds: tuple[ArrayLike, ArrayLike] | None = None,
    most: int = 10_000,
) -> SaddlePath:
    """The exact limit of gradient flow's path as the start vanishes.

    Parameters
    ----------
    problem : Regression
        With the squared loss.
    alpha : float ≥ 0
        Constant decay α: the box ‖Zᵀν̃‖_∞ ≤ 1 + 4ατ grows, and the path ends in the LASSO with
        λ = 2α.
    thresholds : two (d,) arrays > 0, optional
        t⁺ and t⁻, where coordinate j begins to grow to the positive (negative) side: 1 for starts
        of one scale, k_j for starts a^{k_j}, and for depth ≥ 3 the ends of the mirror map's domain.
    most : int
        Events after which to give up.

    Returns
    -------
    SaddlePath

    Notes
    -----
    Where signed active columns are dependent (duplicates, more of them than samples) x is one of
    several saddles; Zx and ν̃ are unique.

    Raises
    ------
    InputError
        If the loss is another one, or a number is out of its range.

    Examples
    --------
    >>> path = saddle_path(Regression([[2.0, 1.0, 0.0], [0.0, 1.0, -2.0]], [2.0, -1.0]))
    >>> path.times.round(4), path.x[-1].round(4)
    (array([0.  , 0.25, 0.5 ]), array([1. , 0. , 0.5]))
    """
    instance("problem", problem, Regression)
    if not isinstance(problem.loss, Squared):
        raise InputError(f"problem must have the squared loss, but it has {problem.loss!r}.")
    alpha = number("alpha", alpha, 0.0)
    most = whole("most", most, 1)
    ones = np.ones(problem.d)
    pair = (ones, ones) if thresholds is None else thresholds
    if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
        raise InputError(f"thresholds must be two arrays, t⁺ and t⁻, but it is {brief(pair)}.")
    upper, lower = (vector("thresholds", t, problem.d, "one for each coordinate") for t in pair)
    if min(upper.min(), lower.min()) <= 0:
        raise InputError(f"thresholds must be above 0, but one is {min(upper.min(), lower.min())}.")
    Z: Any = problem.Z
    y, n = problem.y, problem.n
    size = float((abs(Z).T @ np.abs(y)).max()) or 1.0  # by which Zᵀy rounds
    first = 0.5 * n * min(upper.min(), lower.min()) / size  # no coordinate is earlier
    tau, nu, x = 0.0, np.zeros(n), np.zeros(problem.d)
    times, states, duals = [tau], [x], [nu]
    sign = np.zeros(problem.d)  # of the coordinates at their thresholds
    status, message = "completed", "The path ends here."
    while True:
        active = np.flatnonzero(sign)
        residual = y
        if active.size:
            columns = np.asarray(Z[:, active].toarray() if hasattr(Z, "toarray") else Z[:, active])
            u, residual = least_squares(columns * sign[active], y, 2.0 * alpha * n)
            x = np.zeros(problem.d)
            x[active] = sign[active] * u
            times[-1], states[-1] = tau, x
            residual = y - Z @ x
        rate = 2.0 / n * residual
        drift = Z.T @ rate
        drift[np.abs(drift) < STILL * size] = 0.0
        # a coordinate whose dual moves inside its threshold is no longer active
        stays = sign * drift >= 4.0 * alpha - STILL * size
        before, sign = sign, np.where(stays, sign, 0.0)
        at, grown = Z.T @ nu, 4.0 * alpha * tau
        steps = np.full((2, problem.d), np.inf)
        for row, (side, ends) in enumerate(((1.0, upper), (-1.0, lower))):
            speed = side * drift - 4.0 * alpha
            free = (sign != side) & (before != side) & (speed > STILL * size)
            steps[row, free] = np.maximum((ends + grown - side * at)[free] / speed[free], 0.0)
        step = float(steps.min())
        if not math.isfinite(step):
            break
        if len(times) > most:
            status, message = (
                "failed",
                f"More than {most} events; raise `most`, or rescale columns.",
            )
            break
        tau, nu = tau + step, nu + step * rate
        reached = steps <= step * (1.0 + AT) + AT * 1e-3 * first
        sign = np.where(reached[0], 1.0, np.where(reached[1], -1.0, sign))
        times.append(tau)
        states.append(x)
        duals.append(nu)
    return SaddlePath(np.array(times), np.array(states), np.array(duals), rate, status, message)
