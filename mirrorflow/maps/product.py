"""The map of m ⊙ w in compiled form: x = p̄e^{2μ} − q̄e^{−2μ}, and g(m, w) = m w."""

from __future__ import annotations

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.compiled.options import MAP, loop, pointer
from mirrorflow.compiled.vectors import exponential_minus_1
from mirrorflow.factors import Factors
from mirrorflow.potentials import HyperbolicEntropy

__all__ = [
    "LAYERS",
    "RATE",
    "parameters",
    "parts",
    "point",
    "point_loop",
    "written",
    "written_loop",
]

RATE, LAYERS = 2.0, 2

# rows that the start fills: logarithms of p̄ and q̄ at A = 0, then p̄, q̄ and p̄ − q̄ themselves
LOG_P, LOG_Q, P, Q, BIAS = range(5)
X, DX = range(2)
CANCELS = 1e3  # parts so much larger than x lose its digits


def parts(factors: Factors) -> Array:
    """What `point` knows of the start, (5, d)."""
    potential = HyperbolicEntropy.of(factors)
    p, q = 0.5 * factors.u**2, 0.5 * factors.v**2
    return np.stack([potential.log_p, potential.log_q, p, q, factors.x])


def parameters(factors: Factors, total: Array, mu: Array) -> tuple[Array, Array]:
    """m and w, (T, d), at μ (T, d) and A (T,).

    m, w = (u ± v)/√2 with u = u₀e^{−2A + μ}, v = v₀e^{−2A − μ}. Where one of m and w is a small
    difference of u and v, it is e^{−2A}(m₀ cosh μ + w₀ sinh μ), or with m₀ and w₀ exchanged.
    """
    decay = np.exp(-2.0 * total)[:, None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if np.abs(mu).max(initial=0.0) < 300.0:
            rise, decay_u = np.exp(mu), np.sqrt(0.5) * decay
            u, v = decay_u * factors.u * rise, decay_u * factors.v / rise
        else:  # u₀ and e^μ may be beyond the range of floats where their product is not
            potential = HyperbolicEntropy.of(factors)
            exponents = mu - 2.0 * total[:, None]
            u = np.copysign(np.exp(0.5 * potential.log_p + exponents), factors.u)
            v = np.exp(0.5 * potential.log_q - mu - 2.0 * total[:, None])
            v = np.copysign(v, factors.v)
        m, w = u + v, u - v
        for value, own, other in ((m, factors.m, factors.w), (w, factors.w, factors.m)):
            near = (np.abs(value) < CANCELS**-1 * (np.abs(u) + np.abs(v))) & (np.abs(mu) < 1.0)
            if near.any():
                t, j = np.nonzero(near)
                some = mu[t, j]
                value[t, j] = decay[t, 0] * (own[j] * np.cosh(some) + other[j] * np.sinh(some))
    return m, w


@loop
def point_loop(parts, low, high, total, mu, out):
    """x and X′ at μ after total A; the rate of the parts is always `RATE`."""
    x, dx, decay = out[X], out[DX], 4.0 * total
    sum_x, sum_dx = 0.0, 0.0
    for j in range(low, high):
        p = exponential_minus_1(parts[LOG_P, j] - decay + 2.0 * mu[j])[1]
        q = exponential_minus_1(parts[LOG_Q, j] - decay - 2.0 * mu[j])[1]
        x[j] = p - q
        dx[j] = 2.0 * (p + q)
        sum_x += abs(x[j])
        sum_dx += dx[j]
    if sum_dx > CANCELS * sum_x:
        shrink = exponential_minus_1(-decay)[1]
        for j in range(low, high):
            # (p̄ − q̄) + p̄(e^{2μ} − 1) − q̄(e^{−2μ} − 1)
            rise, fall = exponential_minus_1(2.0 * mu[j])[0], exponential_minus_1(-2.0 * mu[j])[0]
            stable = shrink * (parts[BIAS, j] + parts[P, j] * rise - parts[Q, j] * fall)
            x[j] = stable if abs(mu[j]) < 0.25 else x[j]


@pointer(MAP)
def point(parts, low, high, total, mu, out):
    """`point_loop` to be called by address."""
    point_loop(parts, low, high, total, mu, out)


@loop
def written_loop(theta, out):
    """g = m w, its gradient (w, m), and where `out` has rows for them its second derivatives."""
    x, by_m, by_w, m, w = out[0], out[1], out[2], theta[0], theta[1]
    for j in range(x.size):
        x[j] = m[j] * w[j]
        by_m[j] = w[j]
        by_w[j] = m[j]
    if out.shape[0] > 3:
        for j in range(x.size):
            out[3, j] = 0.0
            out[4, j] = 1.0
            out[5, j] = 0.0


@pointer(MAP)
def written(theta, low, high, total, mu, out):
    """`written_loop` to be called by address."""
    written_loop(theta, out)
