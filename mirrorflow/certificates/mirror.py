r"""Theorem 2.1: along (m, w) the flow is the mirror flow of R_{a_t}, with which constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from mirrorflow.certificates.base import (
    SMALLEST,
    Certificate,
    Trajectory,
    drift,
    path_bounds,
    size_of,
)
from mirrorflow.certificates.losses import SQUARED, Loss
from mirrorflow.certificates.referee import Path
from mirrorflow.checks import Array, InputError
from mirrorflow.limits import interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression

__all__ = [
    "DERIVED",
    "Constants",
    "closed_form",
    "finite_time",
    "invariant",
    "loss_slope",
    "mirror_equation",
    "mirror_flow",
    "path_difference",
    "positional_bias",
    "signs_kept",
]


@dataclass(frozen=True, slots=True)
class Constants:
    """Of ∇R_{a_t}(x) = factor·(arcsinh(x/a_t) − c), a_t = scale·|u₀v₀|e^{−exponent·A_t}.

    Theorem 2.1 holds with (1, 4, ½). arXiv v1 prints (2, 2, ½) in its Theorem 3.1, and
    (2, 2, ¼) in its Theorem 2.1, where α = 0.
    """

    scale: float = 1.0
    exponent: float = 4.0
    factor: float = 0.5

    def gradient(self, factors: Factors, total: float, x: Array) -> Array:
        """∇R_{a_t}(x) with these constants, for coordinates with |m₀| ≠ |w₀|."""
        right = HyperbolicEntropy.of(factors, total * self.exponent / 4.0)
        shift = math.log(self.scale)
        changed = HyperbolicEntropy(right.log_p + shift, right.log_q + shift, right.c)
        return 2.0 * self.factor * changed.gradient(x)


DERIVED = Constants()


def _path_bounds(path: Path, rtol: float) -> tuple[float, float]:
    # g is integrated to rtol(1 + |g|), and exponents are 2g
    return path_bounds(path, rtol, 1.0 + float(np.abs(path.accumulated).max(initial=0.0)))


def mirror_equation(
    factors: Factors, path: Path, rtol: float, constants: Constants = DERIVED
) -> Certificate:
    """∇R_{a_t}(x_t) − ∇R_{a_0}(x_0) + ∫₀ᵗ∇f = 0 (Theorem 2.1; v1 3.1), for any loss.

    Value: largest entry over times. Bound: rtol (100 + steps)(1 + max|∫∇f|), as
    ∇²R · (error of x) is the relative error of m and w, and ∫∇f is integrated to rtol(1 + |∫∇f|).
    """
    start = constants.gradient(factors, 0.0, factors.x)
    worst = 0.0
    for x, total, g in zip(path.x, path.total, path.accumulated, strict=True):
        now = constants.gradient(factors, float(total), x)
        worst = max(worst, float(np.abs(now - start + g).max()))
    return Certificate.of("mirror_equation", worst, *_path_bounds(path, rtol))


def closed_form(factors: Factors, path: Path, rtol: float, half: float = 0.5) -> Certificate:
    """x_t = ½e^{−4A_t}(u₀²e^{−2g_t} − v₀²e^{2g_t}) with g_t = ∫∇f (v1 Lemma A.1 lacks the ½).

    Value: largest difference over times and coordinates, relative to ½(m_t² + w_t²). Bound:
    rtol (100 + steps)(1 + max|g|). `half` is the factor to try.
    """
    g, decay = path.accumulated, np.exp(-4.0 * path.total)[:, None]
    claimed = half * decay * (factors.u**2 * np.exp(-2 * g) - factors.v**2 * np.exp(2 * g))
    sizes = np.maximum(0.5 * (path.m**2 + path.w**2), SMALLEST**2)
    value = float((np.abs(path.x - claimed) / sizes).max())
    return Certificate.of("closed_form", value, *_path_bounds(path, rtol))


def positional_bias(
    factors: Factors, path: Path, rtol: float, exponent: float = 4.0
) -> Certificate:
    """argmin R_{a_t} = e^{−4A_t} m₀ ⊙ w₀, measured by undoing ∫∇f (v1 prints e^{−2A_t}).

    From (m_t, w_t) alone a_t = ½|m_t² − w_t²|, and a_t sinh(arcsinh(x_t/a_t) + 2g_t) is the point
    that the mirror map puts at gradient 0. Value: its largest distance to
    e^{−exponent·A_t} m₀ ⊙ w₀, relative to ½(m₀² + w₀²)e^{−4A_t}. Bound: rtol (100 + steps)
    (1 + max|g|)·(largest ratio of ½(m² + w²) over times to a_t), as m_t² − w_t² loses that
    many digits.
    """
    a = 0.5 * np.abs((path.m - path.w) * (path.m + path.w))
    sizes = 0.5 * (path.m**2 + path.w**2)
    decay = np.exp(-4.0 * path.total)[:, None]
    undone = a * np.sinh(np.arcsinh(path.x / a) + 2.0 * path.accumulated)
    claimed = np.exp(-exponent * path.total)[:, None] * factors.x
    unit = 0.5 * (factors.m**2 + factors.w**2) * decay
    value = float((np.abs(undone - claimed) / unit).max())
    lost = float((sizes / a).max())
    return Certificate.of("positional_bias", value, _path_bounds(path, rtol)[0] * lost)


def loss_slope(
    problem: Regression,
    factors: Factors,
    alpha: Array,
    path: Path,
    rtol: float,
    loss: Loss = SQUARED,
    constants: tuple[float, float] = (2.0, 4.0),
) -> Certificate:
    """df/dt = −Σ 2√(x² + a_t²)(∂f)² − 4α_t⟨x, ∇f⟩ (v1 Appendix A prints 1 and 2 for 2 and 4).

    df/dt is ⟨w∂f, ṁ⟩ + ⟨m∂f, ẇ⟩ with ṁ, ẇ as the flow is written. Value: largest difference
    over times, relative to the sum of the terms' sizes. Bound: rtol (100 + steps), the drift
    of a_t.

    Parameters
    ----------
    alpha : (T,) array
        α at `path.times`.
    constants : the pair to try.
    """
    a = 0.5 * np.abs(factors.imbalance) * np.exp(-4.0 * path.total)[:, None]
    slope = loss.slope(path.x @ problem.Z.T - problem.y) @ problem.Z / problem.n
    rate = alpha[:, None]
    m_dot = -path.w * slope - 2 * rate * path.m
    w_dot = -path.m * slope - 2 * rate * path.w
    true = np.sum(slope * (path.w * m_dot + path.m * w_dot), axis=1)
    by_loss = np.sum(np.hypot(path.x, a) * slope**2, axis=1)
    by_penalty = np.sum(rate * path.x * slope, axis=1)
    claimed = -constants[0] * by_loss - constants[1] * by_penalty
    scale = 2.0 * by_loss + 4.0 * np.sum(np.abs(rate * path.x * slope), axis=1)
    alive = scale > 0
    value = float((np.abs(true - claimed)[alive] / scale[alive]).max(initial=0.0))
    return Certificate.of("loss_slope", value, *path_bounds(path, rtol))


def signs_kept(factors: Factors, path: Trajectory, rtol: float) -> Certificate:
    """Balanced coordinates, |m₀| = |w₀| ≠ 0, keep the sign of x₀.

    Value: largest −sign(x₀)x_t among them, relative to the path's largest ½(m² + w²); 0 where
    no sign changes. Bound: rtol (100 + steps), none where the path itself shows that rounding has
    let |m| and |w| part.
    """
    balanced = (np.abs(factors.m) == np.abs(factors.w)) & (factors.m != 0)
    turned = -np.sign(factors.x[balanced]) * path.x[:, balanced]
    value = float(turned.max(initial=0.0)) / size_of(path)
    m, w = path.m[:, balanced], path.w[:, balanced]
    parted = (np.abs(m - w) * np.abs(m + w) > drift(path, rtol) * (m * m + w * w)).any()
    return Certificate.of("signs_kept", value, drift(path, rtol), math.inf if parted else 0.0)


def invariant(factors: Factors, flow: Trajectory, rtol: float) -> Certificate:
    """(m² − w²) e^{4A_t} = m₀² − w₀² along a flow (Theorem 2.1's proof).

    Value: largest |m_t² − w_t² − (m₀² − w₀²)e^{−4A_t}| / (m_t² + w_t²) over times and
    coordinates, the drift in units that an integrator with relative error control can keep.
    Bound: rtol (100 + steps). Where a drift beyond it is what a coordinate lost that was once much
    larger, max_{s≤t} (m_s² + w_s²)e^{4A_s} of m_t² + w_t² times e^{4A_t}, nothing can be judged.
    """
    expected = factors.imbalance * np.exp(-4.0 * flow.total)[:, None]
    sizes = flow.m**2 + flow.w**2
    alive = sizes > SMALLEST**2
    off = np.abs((flow.m - flow.w) * (flow.m + flow.w) - expected)
    off = np.divide(off, sizes, out=np.zeros_like(sizes), where=alive)
    bound = drift(flow, rtol)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(sizes) + 4.0 * flow.total[:, None]
        shrunk = np.maximum.accumulate(logs) - logs
        explained = np.log(off) <= math.log(2.0 * bound) + shrunk
    # a coordinate that ought to be there and is not has lost everything
    off[~alive & (np.abs(expected) > 1e3 * SMALLEST**2)] = math.inf
    known = math.inf if (explained & alive | (off <= bound)).all() else 0.0
    return Certificate.of("invariant", off.max(initial=0.0), bound, known)


def mirror_flow(
    problem: Regression, factors: Factors, flow: Trajectory, rtol: float
) -> Certificate:
    """∇R_{a_t}(x_t) = −∫₀ᵗ∇f stays in the row space of Z, from ∇R_{a_0}(x_0) = 0 (Theorem 2.1).

    Value: largest max-norm over times of ∇R_{a_t}(x_t) minus its projection on the row space.
    Bound: rtol (100 + steps), as ∇²R_a · (error of x) = (relative error of m, w). An x_t outside
    the potential's domain (a balanced coordinate that changed sign, as rounding lets it) gives inf
    and judges nothing: see `signs_kept`.
    """
    alive = np.hypot(flow.m, flow.w) > SMALLEST
    worst = 0.0
    basis_of: dict[bytes, Array] = {}
    for x, total, seen in zip(flow.x, flow.total, alive, strict=True):
        potential = HyperbolicEntropy.of(factors, float(total))
        try:
            gradient = potential.gradient(x)[seen]
        except InputError:
            return Certificate.of("mirror_flow", math.inf, math.nan)
        if seen.all():
            off = gradient - problem.row_space.V.T @ (problem.row_space.V @ gradient)
        else:
            key = seen.tobytes()
            if key not in basis_of:
                basis_of[key] = scipy.linalg.orth(problem.row_space.V[:, seen].T)
            off = gradient - basis_of[key] @ (basis_of[key].T @ gradient)
        worst = max(worst, float(np.abs(off).max(initial=0.0)))
    return Certificate.of("mirror_flow", worst, *path_bounds(flow, rtol))


def path_difference(dual: Trajectory, direct: Trajectory, rtol: float) -> Certificate:
    """x_t = ½e^{−4A}(u₀²e^{−2g} − v₀²e^{2g}), the dual form, against integrated (m, w).

    Value: largest ‖x_t − x'_t‖_∞ over the times both reached, relative to the largest
    √(x² + a²) = ½(m² + w²), of which rtol is a fraction. Bound: rtol (100 + steps of both). The
    dual form holds exponents to rtol of the largest: what that explains judges nothing.
    """
    reached = min(dual.times.size, direct.times.size)
    difference = np.abs(dual.x[:reached] - direct.x[:reached]).max(initial=0.0) / size_of(direct)
    by_dual = drift(dual, rtol)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.log(np.abs([dual.m + dual.w, dual.m - dual.w])) + 2.0 * dual.total[:, None]
        span = np.nan_to_num(np.ptp(exponents, axis=1), nan=0.0, posinf=np.inf)
    bound, explained = path_bounds(direct, rtol, added=by_dual)
    explained += 2.0 * by_dual * float(span.max(initial=0.0))
    return Certificate.of("path_difference", difference, bound, explained)


def finite_time(
    problem: Regression, factors: Factors, flow: Trajectory, rtol: float, checks: int = 6
) -> Certificate:
    """x_t = argmin {R_{a_t}(x) : Zx = Zx_t} at every finite time.

    A flow that has not arrived gets its verdict here. Value: largest ‖x_t − argmin‖_∞ over
    `checks` times spread over the flow, relative to its largest √(x² + a²); inf where an argmin
    was not found, which judges nothing. Times at which all factors are below 1e-140 are left out:
    there x is denormal. Bound: rtol (100 + steps).
    """
    chosen = np.unique(np.linspace(0, flow.times.size - 1, checks).astype(int))
    worst = 0.0
    alive = (np.hypot(flow.m, flow.w) > SMALLEST).any(axis=1) & np.isfinite(flow.times)
    for i in chosen[alive[chosen]]:
        at = problem.with_targets(problem.Z @ flow.x[i])
        found = interpolator(at, factors, float(flow.total[i]))
        if not found.success:
            return Certificate.of("finite_time", math.inf, math.nan)
        worst = max(worst, float(np.abs(flow.x[i] - found.x).max()) / size_of(flow))
    return Certificate.of("finite_time", worst, *path_bounds(flow, rtol))
