"""The entropic problem for many runs at once, each followed along increasing A.

Every run ("lane") has masses p̄, q̄ of its own; V and b are common. As in `entropic`, Newton's
method maximises the dual and κ(A) is followed by tangents, each lane at its own stride; but all
lanes take their Newton steps together, so that the work is in a few large products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.maps.entropy import HyperbolicEntropy, signed_mass
from mirrorflow.rowspace import Basis
from mirrorflow.rowwise import Outer

__all__ = ["Grams", "follow"]

EPS = float(np.finfo(float).eps)
ROUGH, FINE = 1e-1, 1e-9  # largest last Newton step, in exponents: on the way, and at a total
MOST_STEPS = 60  # Newton steps to one point of the path
MOST_AT_START = 400  # to its first point
SHORTEST = 1e-3  # stride in A

Lanes = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Grams:
    """V diag(w) Vᵀ for many w ≥ 0."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.outer = None if basis.factor is not None else Outer.where_small(basis.array)

    def __call__(self, weights: Array) -> Array:
        """(L, r, r) for weights (L, d)."""
        if self.outer is not None:
            return self.outer(weights)
        return np.array([self.basis.gram(w) for w in weights])


def follow(
    grams: Grams, b: Array, potential: HyperbolicEntropy, totals: Array
) -> tuple[Array, Lanes, Mask]:
    """Dual points κ(A) of L runs at ascending finite `totals`.

    Parameters
    ----------
    grams : Grams
        Of V, (r, d).
    b : (r,) array
    potential : HyperbolicEntropy
        At A = 0, all finite: the coordinates of the runs one after the other, L·d in all.
    totals : (T,) array

    Returns
    -------
    kappa : (L, T, r) array
    iterations : (L, T) array
        Newton steps since the total before.
    arrived : (L, T) bool array
        False from the first total on that a run did not reach.
    """
    paths = _Paths(grams, b, potential, totals)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is lost, and said to be
        live = np.arange(paths.at.size)
        while live.size:
            done, lost = paths.newton(live)
            paths.forward(live[done & ~lost])
            paths.backward(live[lost | (~done & (paths.tries[live] >= paths.most[live]))])
            live = live[paths.underway[live]]
    return paths.found, paths.iterations, paths.arrived


class _Paths:
    """Where each run is (κ and dκ/dA at `at`), where it was, and how far it dares to step."""

    def __init__(self, grams: Grams, b: Array, potential: HyperbolicEntropy, totals: Array) -> None:
        self.grams, self.basis, self.b, self.totals = grams, grams.basis, b, totals
        (r, d), T = self.basis.shape, totals.size
        self.log_p, self.log_q = potential.log_p.reshape(-1, d), potential.log_q.reshape(-1, d)
        self.c = potential.c.reshape(-1, d)
        self.sizes = np.maximum(np.abs(self.log_p), np.abs(self.log_q))
        L = self.c.shape[0]
        self.found, self.iterations = np.zeros((L, T, r)), np.zeros((L, T), dtype=np.intp)
        self.arrived = np.zeros((L, T), dtype=bool)
        self.kappa, self.tangent = np.zeros((2, L, r))
        # Start where the masses are as large as the solution: there the problem is nearly
        # quadratic.
        typical = float(np.linalg.norm(b)) / np.sqrt(d)
        excess = np.median(np.logaddexp(self.log_p, self.log_q), axis=1) - 4 * totals[0]
        early = np.maximum(0.0, (np.log(typical) - excess) / 4) if typical > 0 else np.zeros(L)
        self.at, self.goal = totals[0] - early, np.zeros(L, dtype=np.intp)
        self.underway = np.ones(L, dtype=bool)
        self.stride, self.taken = np.ones(L), np.zeros(L)
        self.tries, self.most = np.zeros(L, dtype=np.intp), np.full(L, MOST_AT_START)
        self.last_kappa, self.last_tangent = self.kappa.copy(), self.tangent.copy()
        self.last_at = self.at.copy()

    def newton(self, live: Lanes) -> tuple[Mask, Mask]:
        """One Newton step of some runs; which of them are there, and which are lost."""
        b, at, kappa = self.b, self.at[live], self.kappa[live]
        bend = self.basis.rmatvec(kappa)
        p, q = self._masses(live, bend)
        weights, x = p + q, signed_mass(p, q, self.c[live] + bend)
        fit = self.basis.matvec(x)
        gradient = b - fit
        # a mass is as exact as what its exponent is summed from
        summed = self.sizes[live] + 4 * np.abs(at)[:, None] + np.abs(bend)
        seen = weights > EPS * weights.max(axis=1, keepdims=True)
        noise = EPS * (1.0 + np.max(summed, axis=1, where=seen, initial=0.0))
        # the tangent solves H κ' = 4Vx; corrected rather than computed anew, so that directions
        # that only vanished weights see keep the slope they had when they were seen
        bent = self.basis.rmatvec(self.tangent[live])
        lag = 4 * fit - self.basis.matvec(weights * bent)
        H = self.grams(weights)
        diagonal = np.einsum("lii->li", H)
        trace = diagonal.sum(axis=1)
        # the ridge keeps a step in those directions from being made of rounding alone
        diagonal += (10 * noise * np.maximum(trace, 1e-300))[:, None]
        solved: Any = np.linalg.solve(H, np.stack([gradient, lag], axis=2))
        step, turn = solved[..., 0], solved[..., 1]
        moved = self.basis.rmatvec(step)
        slope, climb = np.sum(gradient * step, axis=1), np.sum(step * b, axis=1)
        reached = np.abs(moved).max(axis=1)
        lost = ~(np.isfinite(reached) & (slope >= 0))
        self.tangent[live] += turn
        far = np.flatnonzero((reached > 1.0) & ~lost)
        if far.size:
            step[far] *= self._lengths(
                live[far], bend[far], moved[far], climb[far], slope[far], reached[far]
            )[:, None]
        self.kappa[live] = kappa + step
        self.tries[live] += 1
        self.iterations[live, self.goal[live]] += 1
        floor = noise * np.sqrt(np.sum(weights**2, axis=1))  # rows of V have norm 1
        tolerance = np.where(at < self.totals[self.goal[live]], ROUGH, FINE)
        return (reached <= tolerance) | (np.abs(gradient).max(axis=1) <= floor), lost

    def _masses(self, lanes: Lanes, bend: Array) -> tuple[Array, Array]:
        grown = -4 * self.at[lanes, None]
        return np.exp(self.log_p[lanes] + grown + bend), np.exp(self.log_q[lanes] + grown - bend)

    def _lengths(
        self, lanes: Lanes, bend: Array, moved: Array, climb: Array, slope: Array, reached: Array
    ) -> Array:
        """How much of each Newton step to take: all if that ascends, else as much as surely does
        (see `entropic`)."""
        p, q = self._masses(lanes, bend)
        start = p.sum(axis=1) + q.sum(axis=1)
        length, sure = np.ones(lanes.size), np.log1p(reached) / reached
        left = np.arange(lanes.size)
        while left.size:
            tried = length[left]
            p, q = self._masses(lanes[left], bend[left] + tried[:, None] * moved[left])
            gain = tried * climb[left] - (p.sum(axis=1) + q.sum(axis=1) - start[left])
            left = left[~(gain >= 1e-4 * tried * slope[left])]
            length[left] = np.maximum(0.25 * length[left], sure[left])
            left = left[length[left] > sure[left]]
        return length

    def forward(self, lanes: Lanes) -> None:
        """Note what was reached, and leap along the tangent towards the next total."""
        factor = np.where(self.tries[lanes] > 2, 2.0, 8.0)
        self.stride[lanes] = np.maximum(self.stride[lanes], factor * self.taken[lanes])
        there = lanes[self.at[lanes] == self.totals[self.goal[lanes]]]
        self.found[there, self.goal[there]] = self.kappa[there]
        self.arrived[there, self.goal[there]] = True
        self.goal[there] += 1
        self.underway[there] = self.goal[there] < self.totals.size
        lanes = lanes[self.underway[lanes]]
        self.last_kappa[lanes], self.last_tangent[lanes] = self.kappa[lanes], self.tangent[lanes]
        self.last_at[lanes] = self.at[lanes]
        self.most[lanes] = MOST_STEPS
        self._leap(lanes)

    def backward(self, lanes: Lanes) -> None:
        """Return to the last point of the path and step a quarter as far, or give up."""
        hopeless = (self.taken[lanes] <= SHORTEST) | (
            self.iterations[lanes, self.goal[lanes]] >= MOST_AT_START
        )
        self.underway[lanes[hopeless]] = False
        lanes = lanes[~hopeless]
        self.stride[lanes] = self.taken[lanes] / 4
        self._leap(lanes)

    def _leap(self, lanes: Lanes) -> None:
        goal, start = self.totals[self.goal[lanes]], self.last_at[lanes]
        # goal itself, not a sum that rounds
        self.at[lanes] = np.where(
            self.stride[lanes] < goal - start, start + self.stride[lanes], goal
        )
        self.taken[lanes] = self.at[lanes] - start
        self.tangent[lanes] = self.last_tangent[lanes]
        self.kappa[lanes] = self.last_kappa[lanes] + self.taken[lanes, None] * self.tangent[lanes]
        self.tries[lanes] = 0
