"""Polyhedral questions behind the limits: minimum L1, LASSO, cones, and faces of their answers.

All of them live on signed columns (see `columns`): G = [V⁺, −V⁻] and u ≥ 0. Linear programs go
to HiGHS (scipy.optimize.linprog), non-negative least squares to the Lawson–Hanson method
(scipy.optimize.nnls); what they find is polished to rounding by a least-squares solve on the
columns that they name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

from mirrorflow.checks import Array
from mirrorflow.limits.columns import Indices, SignedColumns, working_set

__all__ = [
    "Face",
    "FaceError",
    "cone_projection",
    "guessed_l1_face",
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


def _solve_on(G: Array, b: Array, columns: Indices) -> tuple[Array, int]:
    """Least-squares u on the columns given (0 elsewhere), and the rank of those columns."""
    u = np.zeros(G.shape[1])
    u[columns], _, rank, _ = np.linalg.lstsq(G[:, columns], b, rcond=1e-11)
    return u, int(rank)


def largest_support(G: Array, b: Array, among: Mask) -> Mask:
    """Which of the columns `among` (bool) are positive in some u ≥ 0 with Gu = b, u = 0 elsewhere.

    One linear program on the cone over the solution set: v = λu with λ ≥ 1 may be scaled until
    every positive entry is at least 1, so maximise Σ min(v, 1).
    """
    sizes = np.linalg.norm(G, axis=0)
    columns, support = np.flatnonzero(among & (sizes > 0)), among & (sizes == 0)
    if columns.size == 0:
        return support
    # in units of the columns, so that "positive" means the same for each
    H, N = G[:, columns] / sizes[columns], columns.size
    scale = math.hypot(*b) or 1.0
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


def _least_sum(G: Array, b: Array) -> tuple[Array, Array] | None:
    """A vertex of min Σu over u ≥ 0, Gu = b, and its dual; None where no u fits."""
    result = linprog(np.ones(G.shape[1]), A_eq=G, b_eq=b, method="highs", options=LP_OPTIONS)
    if result.status == 2:
        return None
    if result.x is None or result.status != 0:
        raise FaceError(f"the linear program for minimum L1 failed: {result.message}")
    return result.x, result.eqlin.marginals


def minimum_l1_face(columns: SignedColumns, b: Array, start: Array | None = None) -> Face:
    """All minimisers of Σu over u ≥ 0, Gu = b, from a vertex and its dual.

    `start` (r,), a guess of the dual, spares linear programs where G is large.

    Raises
    ------
    FaceError
        If HiGHS finds no solution.
    """
    scale = math.hypot(*b)  # unlike NumPy's norm it does not underflow below 1e-162
    if scale == 0.0 or columns.count == 0:
        zeros = np.zeros(columns.count)
        return Face(zeros, zeros > 0, np.zeros(b.size), True)

    def dual_on(G: Array) -> Array | None:
        found = _least_sum(G, b / scale)
        return None if found is None else found[1]

    chosen = working_set(columns, b if start is None else start, dual_on, 1.0, 1e-7)
    G = columns.take(chosen)
    found = _least_sum(G, b / scale)
    if found is None:
        raise FaceError("the linear program for minimum L1 failed: no u ≥ 0 fits")
    vertex = found[0] * scale
    basic = vertex > 1e-9 * vertex.max(initial=0.0)
    dual, _ = _sharpened(columns, G, basic, found[1])
    face = _face(G, b, vertex, basic | (G.T @ dual >= 1.0 - TIGHT), dual)
    return _spread(face, chosen, columns.count)


def guessed_l1_face(columns: SignedColumns, b: Array, guess: Array, dual: Array) -> Face | None:
    """The face of `minimum_l1_face` where it is one point, near u = guess (N,), and `dual` almost
    proves it; else None."""
    near = columns.correlate(dual) >= 1.0 - 1e-7
    chosen = np.flatnonzero(near | (guess > 1e-9 * guess.max()))
    G = columns.take(chosen)
    dual, certified = _sharpened(columns, G, guess[chosen] > 1e-9 * guess.max(), dual)
    point, rank = _solve_on(G, b, np.arange(chosen.size))
    exact = math.hypot(*(G @ point - b)) <= 1e-12 * math.hypot(*b)
    if not certified or not exact or rank < chosen.size or point.min() < -1e-13 * point.max():
        return None
    point = np.where(point > 1e-13 * point.max(), point, 0.0)
    return _spread(Face(point, point > 0, dual, True), chosen, columns.count)


def _sharpened(columns: SignedColumns, G: Array, basic: Mask, dual: Array) -> tuple[Array, bool]:
    """A dual exactly 1 on the basic columns of G and others at 1, where that keeps it feasible
    for all columns, and whether it does."""
    active = basic | (G.T @ dual >= 1.0 - 1e-7)
    correction = np.linalg.lstsq(G[:, active].T, 1.0 - G[:, active].T @ dual, rcond=1e-11)[0]
    sharper = dual + correction
    feasible = bool(columns.correlate(sharper).max() <= 1.0 + TIGHT)
    return (sharper if feasible else dual), feasible


def _spread(face: Face, chosen: Indices, count: int) -> Face:
    """A face of G[:, chosen] as one of G."""
    point, support = np.zeros(count), np.zeros(count, dtype=bool)
    point[chosen], support[chosen] = face.point, face.support
    return Face(point, support, face.dual, face.unique)


def lasso_face(columns: SignedColumns, b: Array, s: Array, penalty: float) -> tuple[Face, Array]:
    """All minimisers of ½‖s(Gu − b)‖² + penalty·Σu over u ≥ 0, and their common fit Gu.

    The residual θ = s(b − Gu) is the projection of sb onto {θ : (sG)ᵀθ ≤ penalty}: a
    least-distance problem, solved as non-negative least squares (Lawson and Hanson,
    "Solving Least Squares Problems", 1974, ch. 23), then polished by an active-set loop.

    Raises
    ------
    FaceError
        If the active-set loop does not settle.
    """
    chosen = working_set(
        columns, s * s * b, lambda G: _lasso_on(G, b, s, penalty)[0].dual, 1.0, 1e-7
    )
    face, fit = _lasso_on(columns.take(chosen), b, s, penalty)
    return _spread(face, chosen, columns.count), fit


def _lasso_on(G: Array, b: Array, s: Array, penalty: float) -> tuple[Face, Array]:
    B, target = s[:, None] * G, s * b
    size = math.hypot(*target) or 1.0
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


def _nonnegative(G: Array, b: Array, s: Array) -> tuple[Array, Array]:
    """u ≥ 0 that minimises ‖s(Gu − b)‖ for ‖sb‖ = 1, and s(b − Gu)."""
    B = s[:, None] * G
    u, _ = nnls(B, s * b, maxiter=30 * G.shape[1])
    columns = np.flatnonzero(u > 0)
    if columns.size:
        polished = np.linalg.lstsq(B[:, columns], s * b, rcond=None)[0]
        if polished.min() >= 0:
            u[columns] = polished
    return u, s * b - B @ u


def cone_projection(columns: SignedColumns, b: Array, s: Array) -> tuple[Face, Array, float]:
    """All u ≥ 0 that minimise ‖s(Gu − b)‖, their common Gu, and the relative misfit.

    Where a large G reaches b, its support is taken to be everything: b on the boundary of the
    cone is not told from b inside.
    """
    size = math.hypot(*(s * b)) or 1.0
    if columns.count == 0:  # m = w = 0 everywhere: x = 0; nnls can't do without columns
        nothing = np.zeros(0)
        return Face(nothing, nothing > 0, s * b, True), np.zeros_like(b), float(b.any())

    if s.size == 0:  # Z = 0: every u reaches all that there is to reach
        return Face(np.zeros(columns.count), np.full(columns.count, True), b, False), b, 0.0

    def dual_on(G: Array) -> Array:
        residual = _nonnegative(G, b / size, s)[1]
        return s * residual * (float(np.linalg.norm(residual)) > 1e-10)

    chosen = working_set(columns, s * s * b, dual_on, 0.0, TIGHT * float(s[0]))
    G = columns.take(chosen)
    u, residual = _nonnegative(G, b / size, s)
    misfit = float(np.linalg.norm(residual))
    inside = misfit <= 1e-10
    fit = b if inside else G @ (u * size)
    if math.hypot(*(s * fit)) <= 1e-13 * size:  # rounding has no direction
        fit = np.zeros_like(b)
    norms, slopes = np.linalg.norm(s[:, None] * G, axis=0), G.T @ (s * residual)
    if (slopes > TIGHT * norms).any() or float(np.abs(u * slopes).max()) > TIGHT:
        raise FaceError("non-negative least squares stopped short of its optimum")
    candidates = (u > 0) | (slopes >= -TIGHT * norms) | inside
    if inside and chosen.size < columns.count:
        support = np.full(columns.count, True)
    else:
        support = np.zeros(columns.count, dtype=bool)
        support[chosen] = largest_support(G, fit, candidates)
    point = np.zeros(columns.count)
    point[chosen] = u * size
    return Face(point, support, s * residual, False), fit, misfit
