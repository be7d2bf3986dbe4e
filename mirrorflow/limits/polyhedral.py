"""Polyhedral limits of m ⊙ w: A → ∞, and a penalty that never fades.

Among all minimum-L1 interpolators A → ∞ leads to the one that minimises KL against ½u₀², ½v₀²,
since 2R_a = 4A‖x‖₁ + KL + const. A penalty α_∞ > 0 leads to the LASSO min f(x) + 2α_∞‖x‖₁ and the
same choice among its solutions.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mirrorflow.checks import InputError, number
from mirrorflow.limits.faces import Face, lasso_face, minimum_l1_face
from mirrorflow.limits.newton import Solver
from mirrorflow.limits.nonnegative import FaceError
from mirrorflow.limits.optimality import Interpolator, Points, failed, proven
from mirrorflow.limits.reach import Reach, factors_of
from mirrorflow.losses import Squared
from mirrorflow.maps.base import MirrorMap, check_pair
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.threads import on_one_thread

__all__ = ["endless", "lasso_limit"]


def endless(problem: Regression, runs: list[Reach]) -> list[Interpolator]:
    """The limits of A → ∞ of several runs; those without balanced coordinates share a face."""
    shared: Face | None = None
    limits = []
    for run in runs:
        try:
            face = shared if run.all_signs and shared else minimum_l1_face(run.signed, run.b)
            shared = face if run.all_signs else shared
            points = _on_face(run, face)
            gap = abs(float(np.sum(points.p + points.q) - run.b @ face.dual))
            limits.append(_polyhedral(problem, run, points, gap))
        except FaceError as error:
            limits.append(failed(problem, run.start, str(error)))
    return limits


@on_one_thread
def lasso_limit(problem: Regression, start: MirrorMap, alpha: float) -> Interpolator:
    """The limit under a penalty that stays: min 1/(2n)‖Zx − y‖² + 2α‖x‖₁.

    Among several LASSO solutions the one that minimises KL against ½u₀², ½v₀² is returned, as
    the flow does; balanced coordinates keep their signs.

    Parameters
    ----------
    problem : Regression
        With the squared loss.
    start : Factors
    alpha : float > 0
        α_∞; the LASSO's λ is 2α.
    """
    alpha = number("alpha", alpha, 0.0, open_low=True)
    check_pair(problem, start)
    if not isinstance(start, Factors) or not isinstance(problem.loss, Squared):
        raise InputError(
            "a penalty that stays has a known limit for Factors and the squared loss, but they are "
            f"{type(start).__name__} and {type(problem.loss).__name__}; integrate to a late time."
        )
    n, space = problem.n, problem.row_space
    # signs enter through the columns alone: a LASSO needs no interpolator
    reach = Reach.of(start, space, problem.y)
    try:
        face, b = lasso_face(reach.signed, space.b, space.s, 2 * alpha * n)
        reach = dataclasses.replace(reach, b=b, fit=space.fit(b), status="converged")
        points = _on_face(reach, face)
    except FaceError as error:
        return failed(problem, start, str(error))
    target = space.s * space.b
    theta = 2 * alpha * n * face.dual / space.s
    residual = space.s * space.basis.matvec(points.x[0]) - target
    primal = 0.5 * residual @ residual / n + 2 * alpha * np.sum(points.p + points.q)
    dual = (target @ theta - 0.5 * theta @ theta) / n
    return _polyhedral(problem, reach, points, abs(float(primal - dual)))


def _on_face(reach: Reach, face: Face) -> Points:
    """The point of an L1 or LASSO face that minimises KL to the reference masses."""
    p, q = reach.signed.split(face.point)
    x, counts, sure = p - q, np.zeros(1, dtype=np.int64), np.array([True])
    if not face.unique:
        # what the point reaches is within the cone of its columns; b may be off by rounding
        on = reach.restricted(face.support, reach.space.basis.matvec(x), reach.status)
        potential, size, kappa = on.potential(0.0), float(face.point.sum()), None
        if size > 0.0:
            # Σu is constant on the face and Gᵀ·dual = 1 there, so that masses scale along the
            # dual; in logs, as the masses may all be below the least float
            kappa = 0.5 * face.dual * (math.log(size) - np.logaddexp.reduce(on.parts[:2].ravel()))
        path = on.follow(Solver(reach.space.basis), np.zeros(1), kappa)
        counts, sure = path.counts, np.array([np.isfinite(path.kappa).all()])
        if sure:
            theta = reach.space.basis.rmatvec(path.kappa[0])
            (p, q), x = potential.split(theta), potential.inverse_gradient(theta)
    p, q, x = p[None], q[None], x[None]
    parts = p, q, x, factors_of([reach], p, q), 2.0 * (p + q)
    return Points(*parts, face.dual[None], counts, sure)


def _polyhedral(problem: Regression, reach: Reach, points: Points, gap: float) -> Interpolator:
    p, q = points.p[0], points.q[0]
    slope = reach.space.basis.rmatvec(points.kappa[0])
    off_p = np.where(p > 0, np.abs(slope - 1.0), np.maximum(slope - 1.0, 0.0))
    off_q = np.where(q > 0, np.abs(slope + 1.0), np.maximum(-slope - 1.0, 0.0))
    stationarity = max(
        off_p[reach.positive].max(initial=0.0), off_q[reach.negative].max(initial=0.0)
    )
    # near ties that rounding decides can leave a dual that proves nothing
    sound = dataclasses.replace(points, converged=points.converged & (stationarity <= 1e-6))
    proofs = np.array([stationarity]), np.array([gap])
    return proven(problem, [reach.start], sound, *proofs, reach.fit, reach.status)[0]
