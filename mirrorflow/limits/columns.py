"""Signed columns G = [V⁺, −V⁻], and the few of them that decide a polyhedral question.

With x = p − q and u = (p, q) ≥ 0, Vx = Gu. A coordinate that may only be positive has no column
in V⁻, one that may only be negative none in V⁺. Where G is large it is never formed: a question
is solved on a working set of columns, and the columns that break its optimality conditions join
until none does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.rowspace import Basis

__all__ = ["Indices", "SignedColumns", "working_set"]

Indices = NDArray[np.intp]
WHOLE = 2**19  # most entries of a G that is used as a whole


@dataclass(frozen=True, slots=True, eq=False)
class SignedColumns:
    """G = [V[:, plus], −V[:, minus]]·diag(scales), (r, N); for scales 1/t Σu = Σt|x|."""

    basis: Basis
    plus: Indices
    minus: Indices
    scales: Array | float = 1.0

    @property
    def count(self) -> int:
        """N."""
        return self.plus.size + self.minus.size

    @property
    def large(self) -> bool:
        """Whether G is used a few columns at a time."""
        return self.basis.shape[0] * self.count > WHOLE

    def take(self, chosen: Indices) -> Array:
        """G[:, chosen] for ascending `chosen`."""
        plus = self.plus[chosen[chosen < self.plus.size]]
        minus = self.minus[chosen[chosen >= self.plus.size] - self.plus.size]
        scales = np.broadcast_to(self.scales, self.count)[chosen]
        return np.hstack([self.basis.columns(plus), -self.basis.columns(minus)]) * scales

    def correlate(self, dual: Array) -> Array:
        """Gᵀ·dual, (N,)."""
        correlation = self.basis.rmatvec(dual)
        return np.concatenate([correlation[self.plus], -correlation[self.minus]]) * self.scales

    def split(self, u: Array) -> tuple[Array, Array]:
        """p and q, each (d,), from u (N,)."""
        p, q, u = *np.zeros((2, self.basis.shape[1])), u * self.scales
        p[self.plus], q[self.minus] = u[: self.plus.size], u[self.plus.size :]
        return p, q


def working_set(
    G: SignedColumns, start: Array, solve: Callable[[Array], Array], level: float, tolerance: float
) -> Indices:
    """Ascending indices of columns that have the same optimum as all of G.

    Parameters
    ----------
    G : SignedColumns
    start : (r,) array
        The first columns are those with the largest Gᵀ·start.
    solve : callable
        From G[:, chosen] to its optimal dual (r,).
    level, tolerance : float
        Optimality means Gᵀ·dual ≤ level; columns within the tolerance of it belong to the set.
    """
    rank = start.size
    if not G.large:
        return np.arange(G.count)
    chosen = np.sort(np.argsort(-G.correlate(start))[: 4 * rank])
    while chosen.size < G.count:
        dual = solve(G.take(chosen))
        if not dual.any():  # no condition is left to break
            return chosen
        correlations = G.correlate(dual)
        correlations[chosen] = -np.inf
        if correlations.max() <= level + tolerance:
            return np.union1d(chosen, np.flatnonzero(correlations >= level - tolerance))
        worst = np.argsort(-correlations)[: 2 * rank]
        chosen = np.union1d(chosen, worst[correlations[worst] > level - tolerance])
    return chosen
