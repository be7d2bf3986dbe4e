"""Polyhedral questions behind the limits: minimum L1, LASSO, cones, and faces of their answers.

All of them live on signed columns (see `columns`): G = [V⁺, −V⁻] and u ≥ 0. The linear program
of minimum L1 is solved by steps of its dual, with a start by HiGHS (scipy.optimize.linprog) where
few steps don't end it; all else is least squares over u ≥ 0 (see `nonnegative`), polished by a
solve on the columns that it names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from mirrorflow.checks import Array
from mirrorflow.limits.columns import Indices, SignedColumns, working_set
from mirrorflow.limits.nonnegative import DEPENDENT, FaceError, least_squares

__all__ = ["Face", "cone_projection", "lasso_face", "minimum_l1_face"]

Mask = NDArray[np.bool_]
EPS = float(np.finfo(float).eps)
TIGHT = 1e-9  # relative: which constraints of a polished solution count as active
REACHED = 1e-13  # relative residual that counts as rounding
OUTSIDE = 1e-10  # relative distance at which a point is outside a cone
LP_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
LP_OPTIONS["presolve"] = False  # a dense G has nothing to remove, and looking takes a third


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


def _reached(G: Array, b: Array, u: Array) -> bool:
    """Whether Gu = b to rounding."""
    size = math.hypot(*b) + float(np.linalg.norm(G, axis=0) @ np.abs(u))
    return math.hypot(*(G @ u - b)) <= REACHED * size


def _floor(u: Array) -> float:
    """Entries up to this are rounding of the largest: exactly 0 in the solution."""
    return 1e-13 * float(np.abs(u).max(initial=0.0))


def _only_solution(G: Array, b: Array, candidates: Mask) -> Array | None:
    """u ≥ 0 with Gu = b, 0 off the candidates, where their columns are independent; else None."""
    u, columns = np.zeros(G.shape[1]), np.flatnonzero(candidates)
    if columns.size:
        u[columns], _, rank, _ = np.linalg.lstsq(G[:, columns], b, rcond=DEPENDENT)
        if rank < columns.size or u.min() < -_floor(u):
            return None
        u = np.where(u > _floor(u), u, 0.0)
    return u if _reached(G, b, u) else None


def largest_support(G: Array, point: Array, among: Mask) -> Mask:
    """Which of the columns `among` (bool) are positive in some u ≥ 0 with Gu = G·point, u = 0
    elsewhere.

    The sizes in `point` play no part: an entry 0 can grow if some direction δ has Gδ = 0, δ ≥ 0
    where the point is 0, and that entry positive. Off the range of the columns at work (where δ is
    free) that is Wδ = 0. Least squares over δ ≥ 1 answers: a residual Wδ ≠ 0 has WᵀWδ ≥ 0, and
    columns where this is positive are 0 in every such direction (Stiemke's alternative).
    """
    support = among & (point > 0)
    rest = np.flatnonzero(among & ~support)
    U, s, _ = np.linalg.svd(G[:, support], full_matrices=False)
    U = U[:, s > DEPENDENT * s.max(initial=0.0)]
    W = G[:, rest] - U @ (U.T @ G[:, rest])
    lengths = np.linalg.norm(W, axis=0)
    off = lengths > DEPENDENT * np.linalg.norm(G[:, rest], axis=0)
    support[rest[~off]] = True
    W, rest = W[:, off] / lengths[off], rest[off]
    while rest.size:
        extra, residual = least_squares(W, -W.sum(axis=1))  # δ − 1, −Wδ
        if math.hypot(*residual) <= TIGHT * (rest.size + float(extra.sum())):
            support[rest] = True
            break
        correlations = -W.T @ residual
        stay = correlations < 1e-3 * correlations.max()  # only what is surely above rounding leaves
        W, rest = W[:, stay], rest[stay]
    return support


def _face(G: Array, b: Array, point: Array, candidates: Mask, dual: Array) -> Face:
    """The face {u ≥ 0 on `candidates`: Gu = b} around one of its points."""
    polished = _only_solution(G, b, candidates)
    if polished is not None:
        return Face(polished, polished > 0, dual, True)
    point = np.where(point > _floor(point), point, 0.0)
    support = largest_support(G, point, candidates)
    return Face(point, support, dual, bool(point[support].all()))


def minimum_l1_face(columns: SignedColumns, b: Array) -> Face:
    """All minimisers of Σu over u ≥ 0, Gu = b.

    The residual of least squares over u ≥ 0 on the columns with Gᵀ·dual = 1 is a direction in which
    the dual rises until another column is at 1 (Barnes, Chen, Gopalakrishnan, Johnson, Oper. Res.
    Lett. 30, 2002); a solution with k entries takes some k steps where L1 finds it early. Where
    the first ones don't reach b and G is small, HiGHS proposes a dual, and steps from there mend
    what its tolerance was too coarse for.
    FaceError if no u ≥ 0 with Gu = b is found.
    """
    scale = math.hypot(*b)  # unlike NumPy's norm it does not underflow below 1e-162
    if scale == 0.0 or columns.count == 0:
        zeros = np.zeros(columns.count)
        return Face(zeros, zeros > 0, np.zeros(b.size), True)
    dual, active = np.zeros(b.size), np.zeros(0, dtype=np.intp)
    at_work, residual = active, b
    patience = 2 + b.size // 8  # steps that cost less than HiGHS
    for step in range(20 * b.size + 20):
        if step == patience and not columns.large:
            dual, active = _proposed(columns, b / scale)
            at_work = active[:0]
        G = columns.take(active)
        every = np.full(active.size, True)
        point, at_one = _only_solution(G, b / scale, every) if step == patience else None, every
        if point is None:
            start = np.flatnonzero(np.isin(active, at_work))
            point, residual = least_squares(G, b / scale, start=start)
            at_one = point > 0
        if _reached(G, b / scale, point):
            H = G[:, at_one]
            sharper = dual + np.linalg.lstsq(H.T, 1.0 - H.T @ dual, rcond=DEPENDENT)[0]
            if columns.correlate(sharper).max() <= 1.0 + TIGHT:
                dual = sharper
            return _spread(_face(G, b, scale * point, every, dual), active, columns.count)
        at_work = active[point > 0]
        correlations, slack = columns.correlate(residual), 1.0 - columns.correlate(dual)
        correlations[active] = 0.0
        rising = correlations > REACHED * math.hypot(*residual)
        if not rising.any():
            break
        dual = dual + (slack[rising] / correlations[rising]).min() * residual
        active = np.flatnonzero(columns.correlate(dual) >= 1.0 - TIGHT)
    raise FaceError(
        "No minimum-L1 interpolator was found to rounding; rescale Z and y, or remove nearly "
        "dependent rows of Z."
    )


def _proposed(columns: SignedColumns, b: Array) -> tuple[Array, Indices]:
    """A dual by HiGHS, and the columns that may be positive; 0 and none where it fails."""
    G = columns.take(np.arange(columns.count))
    result = linprog(np.ones(columns.count), A_eq=G, b_eq=b, options=LP_OPTIONS)
    if result.status != 0:
        return np.zeros(b.size), np.zeros(0, dtype=np.intp)
    dual = result.eqlin.marginals
    basic = result.x > 1e-9 * result.x.max(initial=0.0)
    return dual, np.flatnonzero(basic | (G.T @ dual >= 1.0 - TIGHT))


def _spread(face: Face, chosen: Indices, count: int) -> Face:
    """A face of G[:, chosen] as one of G."""
    point, support = np.zeros(count), np.zeros(count, dtype=bool)
    point[chosen], support[chosen] = face.point, face.support
    return Face(point, support, face.dual, face.unique)


def lasso_face(columns: SignedColumns, b: Array, s: Array, penalty: float) -> tuple[Face, Array]:
    """All minimisers of ½‖s(Gu − b)‖² + penalty·Σu over u ≥ 0, and their common fit Gu.

    FaceError if rounding of sb hides the penalty, or nearly equal columns can't be told apart.
    """
    chosen = working_set(
        columns, s * s * b, lambda G: _lasso_on(G, b, s, penalty)[0].dual, 1.0, 1e-7
    )
    face, fit = _lasso_on(columns.take(chosen), b, s, penalty)
    return _spread(face, chosen, columns.count), fit


def _lasso_on(G: Array, b: Array, s: Array, penalty: float) -> tuple[Face, Array]:
    B, target = s[:, None] * G, s * b
    # what rounding of Bᵀθ amounts to in units of the penalty
    size = math.hypot(*target)
    rounding = 64 * EPS * float(np.linalg.norm(B, axis=0).max(initial=0.0)) * size / penalty
    if rounding > 1e-2:
        raise FaceError(
            "The penalty is lost in the rounding of y; take a larger alpha, or the limit of "
            "A → ∞ (`interpolator` with total = inf)."
        )
    u, theta = least_squares(B, target, penalty)
    candidates = (u > 0) | (B.T @ theta / penalty >= 1.0 - TIGHT - rounding)
    fit = G @ u
    return _face(G, fit, u, candidates, s * theta / penalty), fit


def cone_projection(columns: SignedColumns, b: Array, s: Array) -> tuple[Face, Array, bool]:
    """All u ≥ 0 that minimise ‖s(Gu − b)‖, their common Gu, and whether b is outside the cone.

    Where a large G has a u with Gu = b, all of it counts as support: b on the boundary of the
    cone counts as inside.
    """
    size = math.hypot(*(s * b)) or 1.0
    if s.size == 0:  # Z = 0: every u minimises
        return Face(np.zeros(columns.count), np.full(columns.count, True), b, False), b, False

    def dual_on(G: Array) -> Array:
        residual = least_squares(s[:, None] * G, s * b / size)[1]
        misfit = math.hypot(*residual)
        return s * residual / misfit if misfit > OUTSIDE else np.zeros_like(s)

    chosen = working_set(columns, s * s * b, dual_on, 0.0, TIGHT * float(s[0]))
    G = columns.take(chosen)
    u, residual = least_squares(s[:, None] * G, s * b / size)
    misfit = math.hypot(*residual)
    if misfit <= OUTSIDE and chosen.size < columns.count:
        return Face(np.zeros(columns.count), np.full(columns.count, True), b, False), b, False
    point = u * size
    fit = b if _reached(G, b, point) else G @ point
    if math.hypot(*(s * fit)) <= 1e-13 * size:  # rounding has no direction
        point, fit = np.zeros_like(point), np.zeros_like(b)
    # a residual's direction is as exact as its length is above rounding
    correlations = G.T @ (s * residual) / np.linalg.norm(s[:, None] * G, axis=0).clip(1e-300)
    candidates = (point > 0) | (correlations >= -TIGHT * misfit - REACHED) | (misfit <= REACHED)
    face = _face(G, fit, point, candidates, s * residual)
    return _spread(face, chosen, columns.count), fit, misfit > OUTSIDE
