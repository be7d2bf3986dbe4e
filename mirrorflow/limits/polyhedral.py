"""Polyhedral limits: A → ∞ at every depth, and for m ⊙ w a penalty that never fades.

Among all minimum-L1 interpolators A → ∞ leads to the one that minimises KL against ½u₀², ½v₀²,
since 2R_a = 4A‖x‖₁ + KL + const. At depth L ≥ 3 R is Σ(t⁺x⁺ + t⁻x⁻) − C Σ|x|^{2/L} for large x,
with weights that the start's shape sets (Zhao et al. 2026), hence the least weighted L1 norm and
among several the largest Σ|x|^{2/L}. A penalty α_∞ > 0 leads m ⊙ w to min f(x) + 2α_∞‖x‖₁.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.sparse

from mirrorflow.checks import Array, InputError, number
from mirrorflow.limits.faces import Face, lasso_face, minimum_l1_face
from mirrorflow.limits.newton import Solver
from mirrorflow.limits.nonnegative import FaceError, least_squares
from mirrorflow.limits.optimality import MESSAGES, Interpolator, Points, failed, proven
from mirrorflow.limits.sign_cone import SignCone, factors_of
from mirrorflow.losses import Squared
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.pairs import check_pair
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.threads import on_one_thread

__all__ = ["endless", "lasso_limit"]

STEPS = 200  # Newton steps
PROVEN = 1e-6  # relative, of dual constraints and gap


def endless(problem: Regression, runs: list[SignCone]) -> list[Interpolator]:
    """The limits of A → ∞ of several runs; those without balanced coordinates share a face."""
    shared: Face | None = None
    limits = []
    for run in runs:
        try:
            if run.start.degree > 2.0:
                limits.append(_deep(problem, run))
                continue
            face = shared if run.all_signs and shared else minimum_l1_face(run.signed, run.b)
            shared = face if run.all_signs else shared
            points = _on_face(run, face)
            values = float(np.sum(points.p + points.q)), float(run.b @ face.dual)
            limits.append(_polyhedral(problem, run, points, values))
        except FaceError as error:
            limits.append(failed(problem, run.start, str(error)))
    return limits


@on_one_thread
def lasso_limit(problem: Regression, start: MirrorMap, alpha: float) -> Interpolator:
    """The limit under a penalty that stays: min f(x) + 2α‖x‖₁, the LASSO, of any convex loss.

    Among several solutions the one that minimises KL against ½u₀², ½v₀² is returned, as
    the flow does; balanced coordinates keep their signs. Of another loss than the squared one the
    proofs are those of the LASSO whose targets are Zx − φ′.

    Parameters
    ----------
    problem : Regression
    start : Factors
        Deeper products have several limits, each with ∂_jf ∝ sign(x_j)|x_j|^{2/L − 1}
        (`certificates.deep_stationarity`).
    alpha : float > 0
        α_∞; the LASSO's λ is 2α.

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If `start` is none of `Factors` or doesn't fit `problem`, or α is no number > 0.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> lasso_limit(problem, Factors.pilot([0.0, 0.0]), 0.5).x.round(12)
    array([0.  , 0.75])
    """
    alpha = number("alpha", alpha, 0.0, open_low=True)
    check_pair(problem, start)
    if not isinstance(start, Factors):
        raise InputError(
            "start must be Factors, as a penalty that stays has one limit for them alone, but it "
            f"is {type(start).__name__}; integrate to a late time."
        )
    given = problem
    if not isinstance(problem.loss, Squared):
        problem = _as_squared(problem, start, alpha)
    n, space = problem.n, problem.row_space
    # signs enter through the columns alone: a LASSO needs no interpolator
    cone = SignCone.of(start, space, problem.y)
    try:
        face, b = lasso_face(cone.signed, space.b, space.s, 2 * alpha * n)
        cone = dataclasses.replace(cone, b=b, fit=space.fit(b), status="converged")
        points = _on_face(cone, face)
    except FaceError as error:
        return failed(problem, start, str(error))
    target = space.s * space.b
    theta = 2 * alpha * n * face.dual / space.s
    residual = space.s * space.basis.matvec(points.x[0]) - target
    primal = 0.5 * residual @ residual / n + 2 * alpha * np.sum(points.p + points.q)
    dual = (target @ theta - 0.5 * theta @ theta) / n
    # where proximal Newton has not ended, the squared loss has another gradient
    off = float(np.abs(given.gradient(points.x[0]) - problem.gradient(points.x[0])).max())
    if not off <= 1e-6 * 2.0 * alpha:
        return failed(given, start, MESSAGES["not_converged"])
    return _polyhedral(problem, cone, points, (float(primal), float(dual)))


def _as_squared(problem: Regression, start: Factors, alpha: float) -> Regression:
    """The squared loss with targets z − φ′(z), z = Zx at the limit: it has ∇f there, and the limit.

    z by proximal Newton: a LASSO for each quadratic model of f.
    """
    loss, y = problem.loss, problem.y
    Z: Any = problem.Z
    dense = Z.toarray() if scipy.sparse.issparse(Z) else Z
    positive, negative = start.signs
    G = np.hstack([dense[:, positive], -dense[:, negative]])
    u, penalty = np.zeros(G.shape[1]), 2.0 * alpha * problem.n

    def objective(u: Array) -> float:
        with np.errstate(over="ignore"):
            return float(loss.value(G @ u, y).sum()) + penalty * float(u.sum())

    for _ in range(STEPS):
        z, now, length = G @ u, objective(u), 1.0
        dphi, curved = loss.slope(z, y), loss.curvature(z, y)
        roots = np.sqrt(np.maximum(curved, 1e-12 * curved.max(initial=1e-300)))
        with np.errstate(over="ignore"):
            step = least_squares(roots[:, None] * G, roots * z - dphi / roots, penalty)[0] - u
        descent = float(dphi @ (G @ step)) + penalty * float(step.sum())
        if descent >= -1e-14 * abs(now):  # the last step's error is the square of its length
            u = u + step
            break
        while length > 1e-12 and objective(u + length * step) > now + 1e-4 * length * descent:
            length *= 0.5
        u = u + length * step
    z = G @ u
    return Regression(Z, z - loss.slope(z, y))


def _deep(problem: Regression, run: SignCone) -> Interpolator:
    """The limit A → ∞ of a map of degree L > 2."""
    columns, sure = run.weighted, True
    face = minimum_l1_face(columns, run.b)
    u = face.point
    if not face.unique:
        on = np.flatnonzero(face.support)
        sizes, sure = _largest_power(run.signed.take(on), run.b, face.dual, run.start.degree)
        u = np.zeros(columns.count)
        u[on] = sizes / np.broadcast_to(columns.scales, columns.count)[on]
    p, q = columns.split(u)
    theta = run.start.shortest(p - q)
    metric = np.sum(run.start.grad_g(theta) ** 2, axis=0)
    counts = np.zeros(1, dtype=np.int64)
    parts = p[None], q[None], (p - q)[None], theta[None], metric[None]
    points = Points(*parts, face.dual[None], counts, np.array([sure]))
    values = float(np.sum(u)), float(run.b @ face.dual)
    return _polyhedral(problem, run, points, values, run.start.weights)


def _largest_power(G: Array, b: Array, dual: Array, degree: float) -> tuple[Array, bool]:
    """argmax Σx^{2/L} over x > 0, Gx = b: x_j^{2/L − 1} = g_jᵀη, by Newton's method in η."""
    power = degree / (degree - 2.0)
    U, s, _ = np.linalg.svd(G, full_matrices=False)
    U = U[:, s > 1e-11 * s.max()]
    G, b, eta = U.T @ G, U.T @ b, U.T @ dual  # Gᵀη > 0, as it is the weights
    x = (G.T @ eta) ** -power
    eta *= (float((G.T @ eta) @ x) / float(eta @ b)) ** (1.0 / power)
    for _ in range(STEPS):
        slack = G.T @ eta
        x = slack**-power
        try:
            step = np.linalg.solve((G * (power * x / slack)) @ G.T, G @ x - b)
        except np.linalg.LinAlgError:  # nearly equal columns
            break
        change, length = G.T @ step, 1.0
        while length > 1e-12 and not (
            (slack + length * change > 0.0).all()
            # the dual −((L − 2)/2)Σ slack^{1 − power} − ⟨b, η⟩ still rises there
            and float(((slack + length * change) ** -power) @ change - b @ step)
            > -1e-13 * float(b @ step)
        ):
            length *= 0.5
        eta = eta + length * step
        if float(np.abs(change / slack).max()) < 1e-12:
            return (G.T @ eta) ** -power, True
    return x, False


def _on_face(cone: SignCone, face: Face) -> Points:
    """The point of an L1 or LASSO face that minimises KL to the reference masses."""
    p, q = cone.signed.split(face.point)
    x, counts, sure = p - q, np.zeros(1, dtype=np.int64), np.array([True])
    if not face.unique:
        # what the point reaches is within the cone of its columns; b may be off by rounding
        on = cone.restricted(face.support, cone.space.basis.matvec(x), cone.status)
        potential, size = on.potential(0.0), math.log(face.point.sum())  # 0 is unique
        # Σu is constant on the face and Gᵀ·dual = 1 there, so that masses scale along the dual; in
        # logs, as the masses may all be below the least float
        kappa = 0.5 * face.dual * (size - np.logaddexp.reduce(on.parts[:2].ravel()))
        path = on.follow(Solver(cone.space.basis), np.zeros(1), kappa)
        counts, sure = path.counts, np.array([np.isfinite(path.kappa).all()])
        if sure:
            theta = cone.space.basis.rmatvec(path.kappa[0])
            (p, q), x = potential.split(theta), potential.inverse_gradient(theta)
    p, q, x = p[None], q[None], x[None]
    parts = p, q, x, factors_of([cone], p, q), 2.0 * (p + q)
    return Points(*parts, face.dual[None], counts, sure)


def _polyhedral(
    problem: Regression,
    cone: SignCone,
    points: Points,
    values: tuple[float, float],  # primal and dual
    weights: tuple[Array | float, Array | float] = (1.0, 1.0),
) -> Interpolator:
    p, q = points.p[0], points.q[0]
    correlations = cone.space.basis.rmatvec(points.kappa[0])
    up, down = correlations / weights[0] - 1.0, -correlations / weights[1] - 1.0
    off_p = np.where(p > 0, np.abs(up), np.maximum(up, 0.0))
    off_q = np.where(q > 0, np.abs(down), np.maximum(down, 0.0))
    stationarity = max(off_p[cone.positive].max(initial=0.0), off_q[cone.negative].max(initial=0.0))
    gap = abs(values[0] - values[1])
    # near ties that rounding decides can leave a dual that proves nothing, and so does b if the
    # dual is huge
    proves = stationarity <= PROVEN and gap <= PROVEN * values[0]
    sound = dataclasses.replace(points, converged=points.converged & proves)
    proofs = np.array([stationarity]), np.array([gap])
    return proven(problem, [cone.start], sound, *proofs, cone.fit, cone.status)[0]
