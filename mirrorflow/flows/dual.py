r"""The gradient flow as a contraction in r unknowns, for many runs on one problem at once.

The accumulated gradient g_t = ∫₀ᵗ ∇f lies in the row space of Z = U diag(s) V. With
σ = s√(2/n), b = s⁻¹Uᵀy and −2g = Vᵀ(σ ⊙ η), the unknown η ∈ Rʳ of a run obeys

    η̇ = σ ⊙ (b − Vx),   x = p − q,   p = ½u₀²e^{−4A + E},   q = ½v₀²e^{−4A − E},   E = Vᵀ(σ ⊙ η),

r ≤ n unknowns, whatever d, the rank and the consistency of Zx = y. The Jacobian −H with
H = σ ⊙ V diag(p + q) Vᵀ ⊙ σ is symmetric and negative semidefinite: two solutions never move
apart in the Euclidean norm. All functions take L runs, one per row.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.factors import Factors
from mirrorflow.limits.lanes import Grams
from mirrorflow.potentials import HyperbolicEntropy
from mirrorflow.problems import Regression

__all__ = ["Dual", "Masses"]


@dataclass(frozen=True, slots=True)
class Masses:
    """log ½u₀² and log ½v₀² of each run, (L, d); −inf where there is none."""

    log_p: Array
    log_q: Array

    @classmethod
    def of(cls, runs: Sequence[Factors], d: int) -> Masses:
        """The masses of `runs` at A = 0."""
        shape = (len(runs), d)
        if not runs:
            return cls(np.empty(shape), np.empty(shape))
        # every coordinate has its own potential: to it, the runs are one long vector
        m, w = np.concatenate([run.m for run in runs]), np.concatenate([run.w for run in runs])
        potential = HyperbolicEntropy.of(Factors(m, w))
        return cls(potential.log_p.reshape(shape), potential.log_q.reshape(shape))

    def after(self, totals: Array) -> Masses:
        """The masses e^{−4A}p, e^{−4A}q for A of shape (L,)."""
        if not totals.any():  # as with α = 0, where it saves an eighth of the time
            return self
        decay = 4.0 * totals[..., None]
        return Masses(self.log_p - decay, self.log_q - decay)

    def at(self, index: NDArray[Any]) -> Masses:
        """Those of the runs `index`."""
        return Masses(self.log_p[index], self.log_q[index])


class Dual:
    """η̇, the Jacobian −H, and how far η moves the exponents of p and q."""

    def __init__(self, problem: Regression) -> None:
        space = problem.row_space
        self.basis = space.basis
        self.sigma = space.s * np.sqrt(2.0 / problem.n)
        self.target = self.sigma * space.b
        Z: Any = problem.Z
        sparse = scipy.sparse.issparse(Z)
        squares = Z.multiply(Z).sum(axis=0) if sparse else np.einsum("ij,ij->j", Z, Z)
        # max|E| ≤ reach·‖η‖: the columns of σ ⊙ V are no longer than those of √(2/n) Z
        self.reach = float(np.sqrt(2.0 / problem.n * squares.max()))

    @property
    def r(self) -> int:
        """Number of unknowns of a run."""
        return self.sigma.size

    @functools.cached_property
    def _grams(self) -> Grams:
        return Grams(self.basis)

    def bend(self, eta: Array) -> Array:
        """E = Vᵀ(σ ⊙ η), (L, d), by which the exponents of p rise and those of q fall."""
        return self.basis.rmatvec(eta * self.sigma)

    def parts(self, eta: Array, masses: Masses) -> tuple[Array, Array]:
        """p and q, (L, d)."""
        p = self.bend(eta)
        q = masses.log_q - p
        p += masses.log_p
        return np.exp(p, out=p), np.exp(q, out=q)

    def derivative(self, eta: Array, masses: Masses) -> Array:
        """η̇, (L, r)."""
        return self._slope(*self.parts(eta, masses))

    def linearised(self, eta: Array, masses: Masses) -> tuple[Array, Array]:
        """η̇ and H, (L, r) and (L, r, r)."""
        p, q = self.parts(eta, masses)
        H = self._grams(p + q)
        H *= self.sigma[:, None] * self.sigma
        return self._slope(p, q), H

    def hessian(self, eta: Array, masses: Masses) -> Array:
        """H of one run, (r, r), without the table that `linearised` makes for many."""
        p, q = self.parts(eta, masses)
        return self.basis.gram(p + q) * (self.sigma[:, None] * self.sigma)

    def _slope(self, p: Array, q: Array) -> Array:
        p -= q
        return self.target - self.sigma * self.basis.matvec(p)
