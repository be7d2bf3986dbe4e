r"""When a flow without penalty may be finished by its limit, and how exact that is.

Once α = 0 the flow η̇ = −∇φ(η) has a convex φ with minimum η∞ (see `dual`), Hessian H there, and
smallest eigenvalue λ of H. Let u = reach·‖η₀ − η∞‖, which bounds by how much any exponent of p or
q is still to change. p and q are exponentials, so that each term of ⟨η̇, η − η∞⟩ is at least
(1 − e^{−u})/u times what H would make it; hence d(reach·‖η − η∞‖)/dt ≤ −λ(1 − e^{−u}), and

    max|E_t − E_∞| ≤ log(1 + (e^u − 1) e^{−λt})                         (distance to the limit).

The linear flow δ_t = e^{−Ht}(η₀ − η∞) misses η_t − η∞ by an ε driven by what is quadratic in E;
with d‖ε‖²/dt ≤ ½ Σ(p + q)(e^{|E|} − 1 − |E|)² and ∫ Σ(p + q)E² ≤ ½e^u‖η₀ − η∞‖²,

    max|E_t − E_∞ − Vᵀ(σ ⊙ δ_t)| ≤ ¼ u² e^{3u/2}                        (linear decay).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.flows.dual import Dual, Masses

__all__ = ["Tails", "find_limits", "finish_error", "rest_error"]

EPS = float(np.finfo(float).eps)
MOST_STEPS = 40


@dataclass(frozen=True, slots=True)
class Tails:
    """Linear decay towards the limits of L runs.

    Attributes
    ----------
    limit : (L, r) array, η∞
    rates, modes : (L, r) and (L, r, r) arrays, H = modes diag(rates) modesᵀ at the limit
    slowest : (L,) array
        A lower bound of λ; 0 where rounding hides it.
    doubt : (L,) array
        Bound of the error of η∞, in exponents.
    """

    limit: Array
    rates: Array
    modes: Array
    slowest: Array
    doubt: Array

    @classmethod
    def at(cls, dual: Dual, limit: Array, masses: Masses) -> Tails:
        """Linearise at `limit` (L, r) and bound how far from there the minimum of φ can be."""
        slope, H = dual.linearised(limit, masses)
        H[~np.isfinite(H).all(axis=(1, 2))] = 0.0  # its doubt is infinite then
        rates, modes = np.linalg.eigh(H)
        slowest = np.maximum(rates[:, 0] - 100 * EPS * rates[:, -1], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            # one more step of Newton's method, as exact as rounding allows
            mixed = np.matmul(slope[:, None, :], modes) / rates[:, None, :]
            limit = limit + np.matmul(mixed, modes.transpose(0, 2, 1))[:, 0, :]
            # the bound of the distance at rest: λ(1 − e^{−u}) ≤ reach·‖η̇‖
            slope = dual.derivative(limit, masses)
            left = dual.reach * np.linalg.norm(slope, axis=1) / slowest
        doubt = np.full(left.size, np.inf)
        np.negative(np.log1p(-left, where=left < 0.5, out=doubt), where=left < 0.5, out=doubt)
        return cls(limit, rates, modes, slowest, doubt)

    def states(self, lane: int | np.intp, eta: Array, elapsed: Array) -> Array:
        """η after the times `elapsed` (k,), of a run now at `eta`: (k, r)."""
        modes = self.modes[lane]
        # no further than e^-100: denormal numbers are slow
        phases = np.minimum(np.multiply.outer(elapsed, self.rates[lane]), 100.0)
        decayed = np.exp(-phases) * ((eta - self.limit[lane]) @ modes)
        return self.limit[lane] + decayed @ modes.T


def finish_error(u: Array, fading: Array) -> Array:
    """Bound of the error of the exponents where the rest of a flow is taken as linear decay.

    Parameters
    ----------
    u : (L,) array, reach·‖η₀ − η∞‖
    fading : (L,) array, λt for the time t until the first output
    """
    with np.errstate(over="ignore", divide="ignore"):
        linear = 0.25 * u**2 * np.exp(1.5 * u)
        distance = np.logaddexp(0.0, u + np.log(-np.expm1(-u)) - fading)
    # linear decay is itself no longer than the bound of the distance
    return np.minimum(linear, 2.0 * distance)


def rest_error(rest: Array, mass: Array, reach: float, span: Array) -> Array:
    """Bound of the error of the exponents where a penalty's rest is taken as over.

    Exponents then lag by ρ = 4(A_∞ − A) ≤ `rest`, and η by an ε driven by the difference that ρ
    makes to x: d‖ε‖²/dt ≤ ½ Σ(p + q)(e^ρ − 1)².

    Parameters
    ----------
    rest : (L,) array
    mass : (L,) array, Σ(p + q) at the limit; on the way no more than twice that
    reach : float, of the dual
    span : (L,) array, time to the last output
    """
    return rest * (1.0 + reach * np.sqrt(mass * span))


def find_limits(
    dual: Dual, eta: Array, masses: Masses, tolerance: float
) -> tuple[Array, NDArray[np.bool_], NDArray[np.intp]]:
    """η∞ by Newton's method from `eta` (L, r), for the masses (L, d) after A_∞.

    A step is shortened to log(1 + ρ)/ρ where it moves an exponent by ρ, which always ascends the
    dual: it is generalised self-concordant (Sun and Tran-Dinh, Math. Program. 178, 2019).

    Returns
    -------
    limit : (L, r) array
    found : (L,) array of bool
    work : (L,) array of int, factorizations
    """
    L, r = eta.shape
    limit, work = eta.copy(), np.zeros(L, dtype=np.intp)
    found, running = np.zeros(L, dtype=bool), np.arange(L)
    for _ in range(MOST_STEPS):
        slope, H = dual.linearised(limit[running], masses.at(running))
        work[running] += 1
        H[:, range(r), range(r)] += EPS * np.trace(H, axis1=1, axis2=2)[:, None] + 1e-300
        step = np.asarray(np.linalg.solve(H, slope[:, :, None])[:, :, 0], float)
        moved = np.abs(dual.bend(step)).max(1)
        limit[running] += step * (np.log1p(moved) / np.maximum(moved, 1e-300))[:, None]
        # the error of the next point is of the order of the square of this step
        close = moved**2 <= 0.1 * tolerance
        found[running[close]] = True
        running = running[~close & np.isfinite(moved)]
        if running.size == 0:
            break
    return limit, found, work
