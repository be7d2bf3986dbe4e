"""Units, bounds and sums that every check is built from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse

from mirrorflow.certificate import UNJUDGED, Certificate, columns, unjudged
from mirrorflow.checks import Array, InputError
from mirrorflow.flows.trajectory import Flow
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression

__all__ = ["EPS", "PATH_FACTOR", "UNJUDGED", "Certificate", "columns", "unjudged"]

EPS = float(np.finfo(float).eps)
# Error of what the flow contracts (the loss, a misfit) over local tolerance: between two
# integrators at the same rtol up to 20 was seen; a wrong constant moves every value here by 0.1
# and more. What the flow conserves adds up from step to step instead: `drift`.
PATH_FACTOR = 1e2
SMALLEST = 1e-140  # parameters below it add nothing to x


def dense(problem: Regression) -> Array:
    """Z as an array: these checks are made for small problems."""
    Z: Any = problem.Z
    return Z.toarray() if scipy.sparse.issparse(Z) else Z


def integral(flow: Flow) -> Array:
    """∫e^{−κA}∇f, (T, d), of a flow that was asked for it."""
    if flow.accumulated is None:
        raise InputError(
            "flow must hold ∫∇f, but it does not; integrate it by direct_flow(…, accumulate=True)."
        )
    return flow.accumulated


def faded(rate: float, total: Array) -> Array:
    """e^{−rate·A}; 1 where A = 0, as a map without degree has no rates."""
    return np.exp(-np.where(total > 0, rate, 0.0) * total)


def metric(start: MirrorMap, theta: Array) -> Array:
    """|∂g|² = Σ_k (∂g/∂θ_k)² of θ (…, K, d), which turns ∇f into −ẋ; for m ⊙ w: m² + w²."""
    return np.sum(start.grad_g(theta) ** 2, axis=-2)


def sharpened(problem: Regression, x: Array, weights: Array) -> Array:
    """(1/n) C^½ Z diag(weights) Zᵀ C^½, C = diag φ″ at x; its eigenvalues are the flow's rates."""
    half = dense(problem) * np.sqrt(weights)
    roots = np.sqrt(problem.loss.curvature(problem.Z @ x, problem.y))
    return half @ half.T * np.outer(roots, roots) / problem.n


# Every accepted step leaves an error of at most rtol·|θ_j| in the parameters θ_j = (θ_1, …, θ_K)_j
# of a coordinate. It changes x_j by |∂g||θ_j| and ∇R(x)_j by |θ_j|/|∂g| of that fraction (for m ⊙ w
# ½(m² + w²) and 1). What the row space sees of it the flow contracts, as the dual function is
# convex; the rest, invariants and ∇R off the row space, adds up.


def _lengths(theta: Array) -> Array:
    return np.sqrt(np.sum(theta**2, axis=-2))


def _degree(start: MirrorMap) -> float:
    return start.degree if math.isfinite(start.degree) else 1.0


def sizes(start: MirrorMap, theta: Array) -> Array:
    """|∂g||θ|/L ≥ |x| of θ (…, K, d), where L is known: what relative errors of θ are fractions of.

    For m ⊙ w: √(x² + a²) = ½(m² + w²).
    """
    return np.sqrt(metric(start, theta)) * _lengths(theta) / _degree(start)


def size_of(flow: Flow) -> float:
    """Largest of a flow's `sizes`."""
    return float(sizes(flow.start, flow.parameters).max(initial=0.0)) or 1.0


def dual_units(flow: Flow) -> Array:
    """e^{−κA}|θ|/|∂g|, (T, d): what relative errors of θ are worth in ∇R; 1 for m ⊙ w."""
    lengths, grad_norms = _lengths(flow.parameters), np.sqrt(metric(flow.start, flow.parameters))
    ratio = np.divide(lengths, grad_norms, out=np.ones_like(lengths), where=grad_norms > 0)
    return faded(flow.start.kappa, flow.total)[:, None] * ratio


def moved(flow: Flow) -> Array:
    """What relative errors of θ at any time before are worth in x, (T, d), as they last in ∇R.

    e^{κA}|∂g|² max_{s≤t} `dual_units`/L, no less than `sizes`, and the same for m ⊙ w.
    """
    weights = metric(flow.start, flow.parameters) / faded(flow.start.kappa, flow.total)[:, None]
    return weights * np.maximum.accumulate(dual_units(flow)) / _degree(flow.start)


def growth(flow: Flow) -> float:
    """Largest `moved` in units of `size_of`; 1 for m ⊙ w."""
    return max(float(moved(flow).max(initial=0.0)) / size_of(flow), 1.0)


def misfit_unit(problem: Regression, path: Flow) -> float:
    """√f of the largest |Z|·`sizes` of a path: what relative errors of x are worth in √f."""
    moved = sizes(path.start, path.parameters) @ np.abs(dense(problem).T)
    return float(np.linalg.norm(moved, axis=1).max()) / math.sqrt(2.0 * problem.n)


def drift(path: Flow, rtol: float) -> float:
    """rtol·(100 + steps): the relative error of θ that adds up along a path."""
    return rtol * (PATH_FACTOR + path.steps)


def path_bounds(
    path: Flow, rtol: float, unit: float = 1.0, added: float = 0.0
) -> tuple[float, float]:
    """A bound on a value of which relative errors of θ change `unit`, and what errors explain.

    The bound is unit·`drift` + added, the second number unit·2·`drift`·s + added. Parts s_k of θ
    that are separated, as m ± w are, have errors of s_k L_k, L_k = max_{s≤t} |θ|/|s_k|; s is the
    largest Σ s_k² L_k/|s|².
    """
    parts = path.start.separated(path.parameters)
    squares = np.maximum(np.sum(parts**2, axis=1), SMALLEST**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.maximum.accumulate(np.sqrt(squares)[:, None] / np.abs(parts)) * parts * parts
        worst = np.fmax.reduce(np.sum(lost, axis=1) / squares, axis=None, initial=1.0)
    tight = unit * drift(path, rtol)
    explained = math.inf if path.status == "failed" else 2.0 * tight * float(worst) + added
    return tight + added, explained
