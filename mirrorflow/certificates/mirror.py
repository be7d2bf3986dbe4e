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
    faded,
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
from mirrorflow.schedules import Schedule

__all__ = ["Constants", "closed_form", "finite_time", "invariant", "loss_slope", "mirror_equation"]
__all__ += ["mirror_flow", "path_difference", "positional_bias", "signs_kept"]


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


def loss_slope(
    problem: Regression,
    schedule: Schedule,
    path: Flow,
    rtol: float,
    factors: tuple[float, float] = (1.0, 1.0),
) -> Certificate:
    """df/dt = −Σ e^{−κA}(∂f)²/R_A″(x) − δα_t⟨x, ∇f⟩; of m ⊙ w −Σ 2√(x² + a_t²)(∂f)² − 4α_t⟨x, ∇f⟩.

    v1 Appendix A prints half of both: `factors` to try. df/dt is ⟨∂f, ∂g θ̇⟩ with θ̇ as the flow is
    written. Value: largest difference over times, relative to the sum of the terms' sizes. Bound:
    rtol (100 + steps), the drift of a_t.
    """
    start, worst = path.start, 0.0
    slopes, weights = start.slopes(path.parameters), faded(start.kappa, path.total)
    for i, (x, total) in enumerate(zip(path.x, path.total.tolist(), strict=True)):
        grad_f, alpha = problem.gradient(x), float(schedule.alpha(path.times[i]))
        theta_dot = -slopes[i] * grad_f - 2.0 * alpha * path.parameters[i]
        true = float(np.sum(grad_f * np.sum(slopes[i] * theta_dot, axis=0)))
        by_loss = weights[i] * np.sum(grad_f**2 / start.potential(total).hessian_diagonal(x))
        by_penalty = (start.decay if alpha > 0 else 0.0) * alpha * x * grad_f
        scale = float(by_loss + np.sum(np.abs(by_penalty)))
        claimed = -factors[0] * float(by_loss) - factors[1] * float(np.sum(by_penalty))
        worst = max(worst, abs(true - claimed) / scale if scale > 0 else 0.0)
    return Certificate.of("loss_slope", worst, *path_bounds(path, rtol, growth(path)))


def _off(start: MirrorMap, flow: Flow) -> tuple[Array, Array, Array]:
    """Errors of the invariants, (T, M, d); what relative errors of θ are worth in them, and what
    they would be worth if there were decay alone."""
    alone = np.exp(-2.0 * flow.total)[:, None, None] * start.theta  # θ̇ = −2αθ
    (found, terms), (expected, still) = (start.invariants(at) for at in (flow.parameters, alone))
    return np.abs(found - expected), terms, still


def signs_kept(start: MirrorMap, path: Flow, rtol: float) -> Certificate:
    """Coordinates on the edge of a map's domain, such as |m₀| = |w₀|, keep the sign of x₀.

    Value: largest |x_t| where the map allows no such sign, relative to the path's largest
    |∂g||θ|/L = ½(m² + w²); 0 where no sign changes. Bound: rtol (100 + steps), none where the path
    itself shows that rounding has let |m| and |w| part.
    """
    positive, negative = start.signs
    turned = np.where(positive, 0.0, path.x) - np.where(negative, 0.0, path.x)
    value = float(turned.max(initial=0.0)) / size_of(path)
    off, terms, _ = _off(start, path)
    parted = (off > drift(path, rtol) * terms)[..., ~(positive & negative)].any()
    return Certificate.of("signs_kept", value, drift(path, rtol), math.inf if parted else 0.0)


def invariant(start: MirrorMap, flow: Flow, rtol: float) -> Certificate:
    """What the flow of a map conserves but for decay; of m ⊙ w (m² − w²)e^{4A_t} = m₀² − w₀².

    Value: largest |I(θ_t) − I(e^{−2A_t}θ₀)| over times, coordinates and the map's `invariants` I,
    relative to the size of their terms, m_t² + w_t²: the drift in units that an integrator with
    relative error control can keep. Bound: rtol (100 + steps). Where a drift beyond it is what a
    coordinate lost whose terms were once much larger, beside what decay alone leaves of them,
    nothing can be judged.
    """
    off, terms, still = _off(start, flow)
    if off.shape[1] == 0:
        raise InputError(f"start must have invariants, but {type(start).__name__} has none.")
    alive = terms > SMALLEST**2
    missing = ~alive & (still > 1e3 * SMALLEST**2)
    off = np.divide(off, terms, out=np.zeros_like(terms), where=alive)
    bound = drift(flow, rtol)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(terms) - np.log(still)
        shrunk = np.maximum.accumulate(logs) - logs
        explained = np.log(off) <= math.log(2.0 * bound) + shrunk
    # a coordinate that ought to be there and is not has lost everything
    off[missing] = math.inf
    known = math.inf if (explained & alive | (off <= bound)).all() else 0.0
    return Certificate.of("invariant", off.max(initial=0.0), bound, known)


def mirror_flow(problem: Regression, start: MirrorMap, flow: Flow, rtol: float) -> Certificate:
    """∇R_{A_t}(x_t) = −∫₀ᵗe^{−κA}∇f stays in the row space of Z, from ∇R_0(x_0) = 0 (Theorem 2.1).

    Value: largest max-norm over times of ∇R_{A_t}(x_t) minus its projection on the row space.
    Bound: rtol (100 + steps) max e^{−κA}|θ|/|∂g|, as in `mirror_equation`. An x_t outside the
    potential's domain (a balanced coordinate that changed sign, as rounding lets it) gives inf
    and judges nothing: see `signs_kept`.
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
    """
    reached = min(dual.times.size, direct.times.size)
    difference = np.abs(dual.x[:reached] - direct.x[:reached]).max(initial=0.0) / size_of(direct)
    by_dual = drift(dual, rtol)
    parts = np.abs(dual.start.separated(dual.parameters))
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.log(parts) + 2.0 * dual.total[:, None, None]  # of θ without decay
        span = np.nan_to_num(np.ptp(exponents, axis=0), nan=0.0, posinf=np.inf)
    bound, explained = path_bounds(direct, rtol, growth(direct), by_dual)
    explained += 2.0 * by_dual * float(span.max(initial=0.0))
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
    """
    chosen = np.unique(np.linspace(0, flow.times.size - 1, checks).astype(int))
    worst = 0.0
    alive = (np.abs(flow.parameters) > SMALLEST).any(axis=(1, 2)) & np.isfinite(flow.times)
    for i in chosen[alive[chosen]]:
        at = problem.with_targets(problem.Z @ flow.x[i])
        if decay is None:
            found = interpolator(at, start, float(flow.total[i]))
        else:
            found = interpolator(at, start, 0.0, gain=start.decay * decay * flow.total[i])
        if not found.success:
            return Certificate.of("finite_time", math.inf, math.nan)
        worst = max(worst, float(np.abs(flow.x[i] - found.x).max()) / size_of(flow))
    return Certificate.of("finite_time", worst, *path_bounds(flow, rtol, growth(flow)))
