"""Polyhedral questions behind the limits: minimum L1, LASSO, cones, and faces of their answers.

All of them live on signed columns: G = [V⁺, −V⁻] and u ≥ 0 with x = p − q, u = (p, q). A
coordinate that may only be positive has no column in V⁻, one that may only be negative none in
V⁺. Linear programs go to HiGHS (scipy.optimize.linprog), non-negative least squares to the
Lawson–Hanson method (scipy.optimize.nnls); what they find is polished to rounding by a
least-squares solve on the columns that they name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

from mirrorflow.checks import Array

__all__ = [
    "Face",
    "FaceError",
    "cone_projection",
    "largest_support",
    "lasso_face",
    "minimum_l1_face",
]

Mask = NDArray[np.bool_]
EPS = float(np.finfo(float).eps)
TIGHT = 1e-9  # relative: which constraints of a polished solution count as active
LP_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class FaceError(RuntimeError):
    """A linear program or least-squares problem could not be solved; the message says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """All optimal u: {u ≥ 0 : Gu = b, u = 0 outside `support`}.

    `point` is one of them, the only one where `unique`; `dual` certifies optimality, Gᵀ·dual
    being 1 on the face and below 1 off it (minimum L1, LASSO), or 0 and below 0 (cone).
    """

    point: Array  # (N,)
    support: Mask  # (N,) bool, as large as any solution's
    dual: Array  # (r,)
    unique: bool


def _solve_on(G: Array, b: Array, columns: NDArray[np.intp]) -> tuple[Array, int]:
    """Least-squares u on the columns given (0 elsewhere), and the rank of those columns."""
    u = np.zeros(G.shape[1])
    u[columns], _, rank, _ = np.linalg.lstsq(G[:, columns], b, rcond=1e-11)
    return u, int(rank)


def largest_support(G: Array, b: Array, among: Mask) -> Mask:
    """Which of the columns `among` (bool) are positive in some u ≥ 0 with Gu = b, u = 0 elsewhere.

    One linear program on the cone over the solution set: v = λu with λ ≥ 1 may be scaled until
    every positive entry is at least 1, so maximise Σ min(v, 1).
    """
    columns = np.flatnonzero(among)
    if columns.size == 0:
        return among.copy()
    # in units of the columns, so that "positive" means the same for each
    sizes = np.linalg.norm(G[:, columns], axis=0)
    H, N = G[:, columns] / np.where(sizes > 0, sizes, 1.0), columns.size
    scale = float(np.linalg.norm(b)) or 1.0
    # variables: s = min(v, 1), t = v − s, λ
    result = linprog(
        np.concatenate([-np.ones(N), np.zeros(N + 1)]),
        A_eq=np.hstack([H, H, -b[:, None] / scale]),
        b_eq=np.zeros(b.size),
        bounds=[(0.0, 1.0)] * N + [(0.0, None)] * N + [(1.0, None)],
        method="highs",
        options=LP_OPTIONS,
    )
    if result.x is None:
        raise FaceError(f"the linear program for the largest support failed: {result.message}")
    support = np.zeros_like(among)
    support[columns] = result.x[:N] > 0.5
    return support


def _face(G: Array, b: Array, point: Array, candidates: Mask, dual: Array) -> Face:
    """The face {u ≥ 0 on `candidates`: Gu = b}, polished where it is one point."""
    columns = np.flatnonzero(candidates)
    if columns.size:
        polished, rank = _solve_on(G, b, columns)
        if rank == columns.size:
            # entries within rounding of 0 are the degenerate ones, exactly 0 in the solution
            floor = 1e-13 * float(np.abs(polished).max(initial=0.0))
            polished = np.where(polished > floor, polished, 0.0)
            return Face(polished, polished > 0, dual, True)
        support = largest_support(G, b, candidates)
        return Face(np.where(support, point, 0.0), support, dual, False)
    return Face(np.zeros_like(point), candidates, dual, True)


def minimum_l1_face(G: Array, b: Array) -> Face:
    """All minimisers of Σu over u ≥ 0, Gu = b, from a vertex and its dual.

    Raises
    ------
    FaceError
        If HiGHS finds no solution.
    """
    scale = float(np.linalg.norm(b))
    if scale == 0.0 or G.shape[1] == 0:
        zeros = np.zeros(G.shape[1])
        return Face(zeros, zeros > 0, np.zeros(b.size), True)
    result = linprog(
        np.ones(G.shape[1]), A_eq=G, b_eq=b / scale, method="highs", options=LP_OPTIONS
    )
    if result.x is None or result.status != 0:
        raise FaceError(f"the linear program for minimum L1 failed: {result.message}")
    vertex, dual = result.x * scale, result.eqlin.marginals
    basic = vertex > 1e-9 * vertex.max(initial=0.0)
    active = basic | (G.T @ dual >= 1.0 - 1e-7)
    # make the dual exactly 1 on those columns where that is possible, then ask again
    correction = np.linalg.lstsq(G[:, active].T, 1.0 - G[:, active].T @ dual, rcond=1e-11)[0]
    sharper = dual + correction
    if (G.T @ sharper).max() <= 1.0 + TIGHT:
        dual = sharper
    return _face(G, b, vertex, basic | (G.T @ dual >= 1.0 - TIGHT), dual)


def lasso_face(G: Array, b: Array, s: Array, penalty: float) -> tuple[Face, Array]:
    """All minimisers of ½‖s(Gu − b)‖² + penalty·Σu over u ≥ 0, and their common fit Gu.

    The residual θ = s(b − Gu) is the projection of sb onto {θ : (sG)ᵀθ ≤ penalty}: a
    least-distance problem, solved as non-negative least squares (Lawson and Hanson,
    "Solving Least Squares Problems", 1974, ch. 23), then polished by an active-set loop.

    Raises
    ------
    FaceError
        If the active-set loop does not settle.
    """
    B, target = s[:, None] * G, s * b
    size = float(np.linalg.norm(target)) or 1.0
    level, N = penalty / size, G.shape[1]
    heights = B.T @ target / size - level
    u = np.zeros(N)
    if (heights > 0).any():
        stacked = np.vstack([-B, heights])
        goal = np.zeros(stacked.shape[0])
        goal[-1] = 1.0
        weights, _ = nnls(stacked, goal, maxiter=30 * N)
        last = float(stacked[-1] @ weights) - 1.0
        u = -weights / last * size
    passive = u > 1e-12 * u.max(initial=0.0)
    # what rounding of Bᵀθ amounts to in units of the penalty
    rounding = 64 * EPS * float(np.linalg.norm(B, axis=0).max(initial=0.0)) * size / penalty
    if rounding > 1e-2:
        raise FaceError("the penalty is lost in the rounding of y: use the limit at A = ∞ instead")
    tight = TIGHT + rounding
    for _ in range(10 * N + 10):
        columns = np.flatnonzero(passive)
        u = np.zeros(N)
        if columns.size:
            Q, R = np.linalg.qr(B[:, columns])
            if np.abs(np.diag(R)).min() <= 1e-12 * np.abs(np.diag(R)).max():
                raise FaceError("the LASSO's active columns are linearly dependent")
            u[columns] = np.linalg.solve(
                R, Q.T @ target - np.linalg.solve(R.T, np.full(columns.size, penalty))
            )
        theta = target - B @ u
        correlations = B.T @ theta / penalty
        if columns.size and u[columns].min() < 0:
            passive[columns[np.argmin(u[columns])]] = False
        elif correlations.max(initial=0.0) > 1.0 + tight:
            passive[int(np.argmax(correlations))] = True
        else:
            break
    else:
        raise FaceError("the LASSO's active set did not settle")
    fit = G @ u
    candidates = passive | (correlations >= 1.0 - tight)
    return _face(G, fit, u, candidates, s * theta / penalty), fit


def cone_projection(G: Array, b: Array, s: Array) -> tuple[Face, Array, float]:
    """All u ≥ 0 that minimise ‖s(Gu − b)‖, their common Gu, and the relative misfit."""
    B, target = s[:, None] * G, s * b
    size = float(np.linalg.norm(target)) or 1.0
    if G.shape[1] == 0:  # m = w = 0 everywhere: x = 0; scipy's nnls can't do without columns
        nothing = np.zeros(0)
        return Face(nothing, nothing > 0, target, True), np.zeros_like(b), float(target.any())
    u, _ = nnls(B, target / size, maxiter=30 * G.shape[1])
    columns = np.flatnonzero(u > 0)
    if columns.size:
        polished = np.linalg.lstsq(B[:, columns], target / size, rcond=None)[0]
        if polished.min() >= 0:
            u[columns] = polished
    residual = target / size - B @ u
    misfit = float(np.linalg.norm(residual))
    inside = misfit <= 1e-10
    fit = b if inside else G @ (u * size)
    norms = np.linalg.norm(B, axis=0)
    candidates = np.full(u.size, True)
    if not inside:
        candidates = (u > 0) | (B.T @ residual >= -TIGHT * norms)
    support = largest_support(G, fit, candidates)
    return Face(u * size, support, s * residual, False), fit, misfit
