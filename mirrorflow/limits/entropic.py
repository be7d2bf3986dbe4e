"""min KL(p‖p̄) + KL(q‖q̄) over V(p − q) = b by Newton's method on its dual.

The dual maximises bᵀκ − Σ(p + q) over κ ∈ Rʳ with p = p̄e^{Vᵀκ}, q = q̄e^{−Vᵀκ}: smooth,
unconstrained, concave, r unknowns and an r×r Cholesky factorization per step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from mirrorflow.checks import Array
from mirrorflow.maps.entropy import HyperbolicEntropy, signed_mass
from mirrorflow.rowspace import Basis

__all__ = ["EntropicSolution", "solve_entropic"]

EPS = float(np.finfo(float).eps)
MAX_ITERATIONS = 400


@dataclass(frozen=True, slots=True)
class EntropicSolution:
    """p, q ≥ 0 and x = p − q, each (d,), the dual point κ (r,), factorizations done, and whether
    the residual is down to rounding."""

    p: Array
    q: Array
    x: Array
    kappa: Array
    iterations: int
    converged: bool


class _Dual:
    """The dual at masses e^{4τ}p̄, e^{4τ}q̄, and its Newton step."""

    def __init__(self, basis: Basis, b: Array, potential: HyperbolicEntropy) -> None:
        self.basis, self.b, self.c = basis, b, potential.c
        self.log_p, self.log_q = potential.log_p, potential.log_q
        self.kappa = np.zeros(b.size)
        self.tangent = np.zeros(b.size)
        self.iterations = 0
        logs = np.array([potential.log_p, potential.log_q])
        self.sizes = np.max(np.abs(logs), axis=0, where=np.isfinite(logs), initial=0.0)

    def masses(self, tau: float) -> tuple[Array, Array, Array]:
        """p, q and x = p − q at the current κ."""
        return self._masses(tau, self.basis.rmatvec(self.kappa))

    def _masses(self, tau: float, bend: Array) -> tuple[Array, Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            p, q = np.exp(self.log_p + 4 * tau + bend), np.exp(self.log_q + 4 * tau - bend)
            return p, q, signed_mass(p, q, self.c + bend)

    def correct(self, tau: float, tolerance: float, limit: int = 60) -> bool:
        """Newton steps until the last one moves no exponent by more than `tolerance`."""
        for _ in range(limit):
            bend = self.basis.rmatvec(self.kappa)
            p, q, x = self._masses(tau, bend)
            if not np.isfinite(x).all():
                return False
            fit, weights = self.basis.matvec(x), p + q
            gradient = self.b - fit
            # a mass is as exact as what its exponent is summed from
            summed = self.sizes + 4 * tau + np.abs(bend)
            seen = weights > EPS * weights.max()
            noise = EPS * (1.0 + float(summed.max(where=seen, initial=0.0)))
            H = self.basis.gram(weights)
            # Where weights vanish, so does what H says of the directions that only they see.
            # The ridge keeps a step there from being made of rounding alone.
            ridge = 10 * noise * max(float(H.trace()), 1e-300)
            H.flat[:: H.shape[0] + 1] += ridge
            factor, failed = lapack.dpotrf(H, lower=1, overwrite_a=1)
            self.iterations += 1
            if failed:
                return False
            step = lapack.dpotrs(factor, gradient, lower=1)[0]
            if not np.isfinite(step).all():
                return False
            if tau > 0:
                # the tangent solves H κ' = 4Vx; corrected rather than computed anew, so that
                # unseen directions keep the slope they had when they were seen
                bent = self.basis.rmatvec(self.tangent)
                lag = 4 * fit - self.basis.matvec(weights * bent)
                self.tangent = self.tangent + lapack.dpotrs(factor, lag, lower=1)[0]
            reached = float(np.abs(self.basis.rmatvec(step)).max())
            self._advance(tau, step, reached, float(gradient @ step))
            floor = noise * float(blas.dnrm2(weights))  # rows of V have norm 1; no square overflows
            if reached <= tolerance or float(np.abs(gradient).max()) <= floor:
                return True
        return False

    def _advance(self, tau: float, step: Array, reached: float, slope: float) -> None:
        """Move along a Newton step: all of it if that ascends, else as much as surely does."""
        start, length = self.kappa, 1.0
        if reached > 1.0:
            # The dual is generalised self-concordant: this length always ascends
            # (Sun and Tran-Dinh, Math. Program. 178, 2019, with ν = 2 and M = 1). It is far too
            # short where only vanishing masses move, so longer ones are tried first.
            sure, value = np.log1p(reached) / reached, self._value(tau)
            while length > sure:
                self.kappa = start + length * step
                if self._value(tau) - value >= 1e-4 * length * slope:
                    return
                length = max(0.25 * length, sure)
        self.kappa = start + length * step

    def _value(self, tau: float) -> float:
        p, q, _ = self.masses(tau)
        return float(self.b @ self.kappa - p.sum() - q.sum())


def solve_entropic(
    basis: Basis, b: Array, potential: HyperbolicEntropy, kappa: Array | None = None
) -> EntropicSolution:
    """Minimise KL(p‖p̄) + KL(q‖q̄) subject to V(p − q) = b.

    Parameters
    ----------
    basis : Basis
        V, (r, d).
    b : (r,) array; {p, q > 0} must hold a solution wherever p̄, q̄ > 0
    potential : HyperbolicEntropy
        log p̄ and log q̄; −inf removes the mass.
    kappa : (r,) array, optional
        A start close to the solution. Without it, Newton starts at masses e^{4τ} as large as
        the solution, where the problem is nearly quadratic, and follows the path τ → 0 by
        tangents.
    """
    dual = _Dual(basis, b, potential)
    tau = 0.0
    if b.size == 0:  # Z = 0 constrains nothing
        return EntropicSolution(*dual.masses(tau), dual.kappa, 0, True)
    sizes = np.logaddexp(potential.log_p, potential.log_q)
    sizes = sizes[np.isfinite(sizes)]
    if not b.any():  # a common factor of all masses leaves κ as it is
        away = -float(np.median(sizes)) / 4 if sizes.size else 0.0
        arrived = dual.correct(away, 1e-9, MAX_ITERATIONS)
        return EntropicSolution(*dual.masses(tau), dual.kappa, dual.iterations, arrived)
    if kappa is not None:
        dual.kappa = kappa
    else:
        typical = float(np.linalg.norm(b)) / np.sqrt(basis.shape[1])
        if sizes.size and typical > 0:
            tau = max(0.0, (np.log(typical) - float(np.median(sizes))) / 4)
    stride = 1.0
    arrived = dual.correct(tau, 1e-1 if tau > 0 else 1e-9, MAX_ITERATIONS)
    while arrived and tau > 0:
        stride = min(stride, tau)
        kappa, tangent, spent = dual.kappa, dual.tangent, dual.iterations
        dual.kappa = kappa + stride * tangent
        tau -= stride
        if dual.correct(tau, 1e-1 if tau > 0 else 1e-9):
            stride *= 2.0 if dual.iterations - spent > 2 else 8.0
        elif stride > 1e-3 and dual.iterations < MAX_ITERATIONS:
            dual.kappa, dual.tangent, tau, stride = kappa, tangent, tau + stride, stride / 4
        else:
            arrived = False
    return EntropicSolution(*dual.masses(tau), dual.kappa, dual.iterations, arrived)
