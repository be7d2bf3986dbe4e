"""What the flow conserves but for decay, and the signs that it keeps."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import SMALLEST, Certificate, drift, size_of
from mirrorflow.checks import Array, InputError
from mirrorflow.flows.trajectory import Flow
from mirrorflow.maps.base import MirrorMap

__all__ = ["invariant", "signs_kept"]


def _off(start: MirrorMap, flow: Flow) -> tuple[Array, Array, Array]:
    """Errors of the invariants, (T, M, d); what relative errors of θ are worth in them, and what
    they would be worth if there were decay alone."""
    alone = np.exp(-2.0 * flow.total)[:, None, None] * start.theta  # θ̇ = −2αθ
    (values, terms), (expected, still) = (start.invariants(at) for at in (flow.parameters, alone))
    return np.abs(values - expected), terms, still


def signs_kept(start: MirrorMap, path: Flow, rtol: float) -> Certificate:
    """Coordinates on the edge of a map's domain, such as |m₀| = |w₀|, keep the sign of x₀.

    Value: largest |x_t| where the map allows no such sign, relative to the path's largest
    |∂g||θ|/L = ½(m² + w²); 0 where no sign changes. Bound: rtol (100 + steps), none where the path
    itself shows that rounding has let |m| and |w| part.

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Factors([0.5, -0.5], [0.5, 0.5])  # balanced: x₀ = (¼, −¼)
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.signs_kept(start, path, 1e-9).holds, bool(path.x[-1, 1] < 0)
    (True, True)
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

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.
    flow : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the map has no invariants.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.invariant(start, path, 1e-9).verdict
    'confirmed'
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
