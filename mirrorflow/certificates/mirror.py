r"""Theorem 2.1: along θ the flow is the mirror flow of R_{A_t}, with which constants.

    ∇R_{A_t}(x_t) = −∫₀ᵗ e^{−κA}∇f,   R_A(x) = e^{−δA}R(e^{δA}x)

of any mirror map; m ⊙ w has κ = 0, δ = 4 and the hyperbolic entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mirrorflow.certificates.base import (
    SMALLEST,
    Certificate,
    drift,
    dual_units,
    growth,
    integral,
    moved,
    path_bounds,
    size_of,
    sizes,
)
from mirrorflow.checks import Array, InputError
from mirrorflow.flows.trajectory import Flow
from mirrorflow.limits import interpolator
from mirrorflow.maps.base import MirrorMap, X
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression

__all__ = ["Constants", "closed_form", "finite_time", "mirror_equation"]
__all__ += ["mirror_flow", "path_difference", "positional_bias"]


@dataclass(frozen=True, slots=True)
class Constants:
    """Of ∇R_{a_t}(x) = factor·(arcsinh(x/a_t) − c), a_t = scale·|u₀v₀|e^{−exponent·A_t}.

    Theorem 2.1 holds with (1, 4, ½). arXiv v1 prints (2, 2, ½) in its Theorem 3.1, and
    (2, 2, ¼) in its Theorem 2.1, where α = 0.

    Parameters
    ----------
    scale, exponent, factor : float

    Examples
    --------
    >>> import mirrorflow as mf
    >>> constants = mf.certificates.Constants(scale=2.0)
    >>> constants.gradient(mf.Factors.pilot([0.0]), 0.0, [1.0]).round(3)
    array([0.441])
    """

    scale: float = 1.0
    exponent: float = 4.0
    factor: float = 0.5

    def gradient(self, factors: Factors, total: float, x: Array) -> Array:
        """∇R_{a_t}(x) with these constants, for coordinates with |m₀| ≠ |w₀|."""
        right = factors.potential(total * self.exponent / factors.decay)
        shift = math.log(self.scale)
        changed = HyperbolicEntropy(right.log_p + shift, right.log_q + shift, right.c)
        return 2.0 * self.factor * changed.gradient(x)


def _moving(start: MirrorMap) -> NDArray[np.bool_]:
    """The coordinates that are not 0 for ever, as m = w = 0 is; there nothing depends on ∇f."""
    positive, negative = start.signs
    return positive | negative


def _spent(path: Flow) -> float:
    """Largest |∫e^{−κA}∇f| in units of what relative errors of θ are worth in it."""
    units = np.maximum.accumulate(dual_units(path))
    return float((np.abs(integral(path)) / units)[:, _moving(path.start)].max(initial=0.0))


def mirror_equation(
    start: MirrorMap, path: Flow, rtol: float, constants: Constants | None = None
) -> Certificate:
    """∇R_{A_t}(x_t) − ∇R_0(x_0) + ∫₀ᵗe^{−κA}∇f = 0 (Theorem 2.1; v1 3.1), for any loss.

    Value: largest entry over times; of m ⊙ w with other `constants` where they are given. Bound:
    rtol (100 + steps)(max e^{−κA}|θ|/|∂g| + max|∫|), as ∇²R · (error of x) is the relative error
    of θ times the first, 1 for m ⊙ w, and the integral errors of rtol times both.

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow(…, accumulate=True)`.
    rtol : float
        That of the path's integration.
    constants : Constants, optional
        Others than the theorem's, to try; of Factors.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `path` does not hold ∫∇f.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9, accumulate=True)
    >>> mf.certificates.mirror_equation(start, path, 1e-9).verdict
    'confirmed'
    >>> printed = mf.certificates.Constants(scale=2.0, exponent=2.0)
    >>> mf.certificates.mirror_equation(start, path, 1e-9, printed).verdict
    'refuted'
    """

    def gradient(total: float, x: Array) -> Array:
        if constants is None:
            return np.asarray(start.potential(total).gradient(x))
        assert isinstance(start, Factors)
        return constants.gradient(start, total, x)

    first, g, worst = gradient(0.0, start.x), integral(path), 0.0
    for x, total, spent in zip(path.x, path.total, g, strict=True):
        off = np.abs(gradient(float(total), x) - first + spent)[_moving(start)]
        worst = max(worst, float(off.max(initial=0.0)))
    unit = float(dual_units(path).max() + np.abs(g).max())
    return Certificate.of("mirror_equation", worst, *path_bounds(path, rtol, unit))


def closed_form(start: MirrorMap, path: Flow, rtol: float, factor: float = 1.0) -> Certificate:
    """x_t = e^{−δA_t}X(−g_t), g_t = ∫e^{−κA}∇f; of m ⊙ w ½e^{−4A_t}(u₀²e^{−2g_t} − v₀²e^{2g_t}).

    v1 Lemma A.1 lacks the ½: a `factor` of 2. Value: largest difference over times and
    coordinates, relative to what relative errors of θ up to then are worth, ½(m_t² + w_t²). Bound:
    rtol (100 + steps)(1 + max|g|), g in units of e^{−κA}|θ|/|∂g|.

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow(…, accumulate=True)`.
    rtol : float
        That of the path's integration.
    factor : float
        On the right side, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `path` does not hold ∫∇f.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9, accumulate=True)
    >>> mf.certificates.closed_form(start, path, 1e-9).verdict
    'confirmed'
    >>> mf.certificates.closed_form(start, path, 1e-9, factor=2.0).verdict
    'refuted'
    """
    g = integral(path)
    claimed = [start.at(-now, float(A))[X] for now, A in zip(g, path.total, strict=True)]
    units = np.maximum(moved(path), SMALLEST**2)
    off = (np.abs(path.x - factor * np.array(claimed)) / units)[:, _moving(start)]
    value = float(off.max(initial=0.0))
    return Certificate.of("closed_form", value, *path_bounds(path, rtol, 1.0 + _spent(path)))


def positional_bias(
    start: MirrorMap, path: Flow, rtol: float, exponent: float | None = None
) -> Certificate:
    """argmin R_{A_t} = e^{−δA_t}x₀, measured by undoing ∫∇f (of m ⊙ w, v1 prints e^{−2A_t}).

    From θ_t alone: the map that starts there has its x at −g_t undone by X(g_t). Value: the largest
    distance of that point to e^{−exponent·A_t}x₀, δ unless given, relative to e^{−δA_t}|∂g||θ|/L at
    θ₀. Bound: rtol (100 + steps)(1 + max|g|) times the digits that invariants lose, the largest
    (m_t² + w_t²)/|m_t² − w_t²|.

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow(…, accumulate=True)`.
    rtol : float
        That of the path's integration.
    exponent : float, optional
        In place of δ, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `path` does not hold ∫∇f.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.2, -0.1])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9, accumulate=True)
    >>> mf.certificates.positional_bias(start, path, 1e-9).verdict
    'confirmed'
    >>> mf.certificates.positional_bias(start, path, 1e-9, exponent=2.0).verdict
    'refuted'
    """
    g, worst = integral(path), 0.0
    moved = 0.0 if exponent is None else start.decay - exponent
    grown = np.exp(2.0 * path.total)[:, None, None] * path.parameters  # without decay
    for theta, total, spent in zip(grown, path.total, g, strict=True):
        undone = start.through(theta).at(spent)[X] - np.exp(moved * total) * start.x
        worst = max(worst, float((np.abs(undone) / sizes(start, start.theta)).max()))
    invariants, terms = start.invariants(path.parameters)
    lost = float((terms / np.abs(invariants)).max(initial=1.0))
    bound = path_bounds(path, rtol, growth(path) + _spent(path))[0] * lost
    return Certificate.of("positional_bias", worst, bound)


def mirror_flow(problem: Regression, start: MirrorMap, flow: Flow, rtol: float) -> Certificate:
    """∇R_{A_t}(x_t) = −∫₀ᵗe^{−κA}∇f stays in the row space of Z, from ∇R_0(x_0) = 0 (Theorem 2.1).

    Value: largest max-norm over times of ∇R_{A_t}(x_t) minus its projection on the row space.
    Bound: rtol (100 + steps) max e^{−κA}|θ|/|∂g|, as in `mirror_equation`. An x_t outside the
    potential's domain (a balanced coordinate that changed sign, as rounding lets it) gives inf
    and judges nothing: see `signs_kept`.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    flow : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.mirror_flow(problem, start, path, 1e-9).verdict
    'confirmed'
    """
    alive = (np.sum(flow.parameters**2, axis=1) > SMALLEST**2) & _moving(start)
    worst = 0.0
    basis_of: dict[bytes, Array] = {}
    for x, total, seen in zip(flow.x, flow.total, alive, strict=True):
        try:
            gradient = start.potential(float(total)).gradient(x)[seen]
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
    return Certificate.of(
        "mirror_flow", worst, *path_bounds(flow, rtol, float(dual_units(flow).max(initial=0.0)))
    )


def path_difference(dual: Flow, direct: Flow, rtol: float) -> Certificate:
    """x_t = e^{−δA_t}X(Zᵀν_t), the dual form, against integrated θ.

    Value: largest ‖x_t − x'_t‖_∞ over the times both reached, relative to the largest |∂g||θ|/L,
    √(x² + a²) = ½(m² + w²) of m ⊙ w, of which rtol is a fraction. Bound: rtol (100 + steps of
    both). The dual form holds exponents to rtol of the largest: what that explains judges nothing.

    Parameters
    ----------
    dual : Flow
        Of `gradient_flow`.
    direct : Flow
        Of `direct_flow`, from the same start at the same times.
    rtol : float
        That of both integrations.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> times = [0.0, 5.0, 50.0]
    >>> dual = mf.gradient_flow(problem, start, mf.Constant(0.1, 5.0), times, 1e-9)
    >>> direct = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), times, 1e-9)
    >>> mf.certificates.path_difference(dual, direct, 1e-9).verdict
    'confirmed'
    """
    reached = min(dual.times.size, direct.times.size)
    difference = np.abs(dual.x[:reached] - direct.x[:reached]).max(initial=0.0) / size_of(direct)
    by_dual = drift(dual, rtol)
    parts = np.abs(dual.start.separated(dual.parameters))
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.log(parts) + 2.0 * dual.total[:, None, None]  # of θ without decay
        span = np.nan_to_num(np.ptp(exponents, axis=0), nan=0.0, posinf=np.inf)
    bound, explained = path_bounds(direct, rtol, growth(direct), by_dual)
    explained += math.inf if dual.status == "failed" else 2.0 * by_dual * float(span.max(initial=0))
    return Certificate.of("path_difference", difference, bound, explained)


def finite_time(
    problem: Regression,
    start: MirrorMap,
    flow: Flow,
    rtol: float,
    checks: int = 6,
    decay: Array | None = None,
) -> Certificate:
    """x_t = argmin {R_{A_t}(x) : Zx = Zx_t} at every finite time, for any loss or other control.

    A flow that has not arrived gets its verdict here. Value: largest ‖x_t − argmin‖_∞ over
    `checks` times spread over the flow, relative to its largest |∂g||θ|/L = √(x² + a²); inf where
    an argmin was not found, which judges nothing. Times at which all of θ is below 1e-140 are left
    out: there x is denormal. Bound: rtol (100 + steps). Of Factors, `decay` (d,) gives each
    coordinate its own A_j = decay_j·A.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    flow : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.
    checks : int
        Number of times.
    decay : (d,) array, optional
        A_j/A of each coordinate.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `start` and `flow` don't fit, or have no potential under this decay.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.finite_time(problem, start, path, 1e-9).verdict
    'confirmed'
    """
    chosen = np.unique(np.linspace(0, flow.times.size - 1, checks).astype(int))
    worst = 0.0
    alive = (np.abs(flow.parameters) > SMALLEST).any(axis=(1, 2)) & np.isfinite(flow.times)
    for i in chosen[alive[chosen]]:
        at = problem.with_targets(problem.Z @ flow.x[i])
        if decay is None:
            limit = interpolator(at, start, float(flow.total[i]))
        else:
            limit = interpolator(at, start, 0.0, gain=start.decay * decay * flow.total[i])
        if not limit.success:
            return Certificate.of("finite_time", math.inf, math.nan)
        worst = max(worst, float(np.abs(flow.x[i] - limit.x).max()) / size_of(flow))
    return Certificate.of("finite_time", worst, *path_bounds(flow, rtol, growth(flow)))
