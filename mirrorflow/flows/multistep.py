"""Integration of one run: Adams' methods of variable order, then BDF where the flow is stiff.

In Nordsieck's form, as in LSODE (Hindmarsh, "ODEPACK", 1983): row j of `z` holds h^j/j! times the
j-th derivative, so that a step's length changes by scaling and any time in it is a polynomial of
controlled error. Beside LSODE, BDF's matrices come from the system, and the choice between the two
families follows Petzold (SIAM J. Sci. Stat. Comput. 4, 1983) on measured rates of convergence.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.compiled.layout import DUAL, SYSTEM
from mirrorflow.compiled.options import inlined, kernel, loop
from mirrorflow.compiled.tables import evaluate, last_segment, next_segment
from mirrorflow.compiled.vectors import copy, fill
from mirrorflow.flows import direct, dual

__all__ = ["REASONS", "integrate"]

REASONS = (
    "",
    "more than {calls} right-hand sides were needed",
    "the step size fell below rounding",
    "the right-hand side is not finite",
)
DONE, TOO_LONG, STUCK, NOT_FINITE = (np.int64(i) for i in range(4))
MOST_CALLS = 500_000
OUTPUTS, STEPS, CALLS, FACTORIZATIONS, MOST = range(5)  # of counts
ADAMS, BDF = np.int64(0), np.int64(1)
HIGHEST = (12, 5)  # orders
ROWS = 14
PROMISING = 2.0  # BDF takes over where its step is so much longer
LASTING = 20  # steps that a linearisation is good for


def _coefficients() -> tuple[Array, Array]:
    """l (method, order, j), and error constants (method, order; order − 1, order, order + 1).

    l(s) = Σ l_j s^j is ∫₋₁ˢ Π(r + i) dr, normalised, for Adams, and Π(1 + s/i), l₁ = 1, for BDF.
    """
    P = np.polynomial.polynomial
    l, c = np.zeros((2, ROWS, ROWS)), np.ones((2, ROWS, 3))
    for q in range(1, HIGHEST[ADAMS] + 1):
        p = P.polyfromroots(-np.arange(1.0, q)) / math.factorial(q - 1)
        l[ADAMS, q, : q + 1] = P.polyint(p, lbnd=-1.0)
        own = q / P.polyval(-1.0, P.polyint(P.polymulx(p)))
        c[ADAMS, q, 1] = c[ADAMS, q - 1, 2] = own
        c[ADAMS, q + 1, 0] = own / math.factorial(q) / (q + 1)
    for q in range(1, HIGHEST[BDF] + 1):
        p = P.polyfromroots(-np.arange(1.0, q + 1))
        l[BDF, q, : q + 1] = p / p[1]
        first = l[BDF, q, 0]
        c[BDF, q] = 1.0 / math.factorial(q - 1), (q + 1) / first, (q + 2) / first
    return l, c


L, CONSTANTS = _coefficients()
# h times the fastest rate that Adams' method of order 1, 2, … is stable for
STABLE = np.array([0.0, 0.5, 0.575, 0.55, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025])


@loop
def _predict(z, q, sign):
    """z one step on (sign 1) or back (−1), by Taylor's series."""
    for k in range(q):
        for j in range(q - 1, k - 1, -1):
            for i in range(z.shape[1]):
                z[j, i] += sign * z[j + 1, i]


@loop
def _rescale(z, q, factor):
    """z for steps `factor` times as long."""
    a = 1.0
    for j in range(1, q + 1):
        a *= factor
        for i in range(z.shape[1]):
            z[j, i] *= a


@loop
def _interpolate(z, q, s, out):
    """The state at t + s·h."""
    copy(z[q], out)
    for j in range(q - 1, -1, -1):
        for i in range(out.size):
            out[i] = out[i] * s + z[j, i]


@loop
def _growth(error, order, bias):
    """Factor by which the step may grow for an error in units of the tolerance."""
    return 1.0 / (bias * max(error, 1e-40) ** (1.0 / order) + 1e-6 * bias)


# which of the two systems is met; known when a run begins, so a call costs no more than the other's


@inlined
def _derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, state, out):
    if numbers[SYSTEM] == DUAL:
        dual.derivative(Z, small, wide, numbers, map_at, loss_at, total, state, out)
    else:
        direct.derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, state, out)


@inlined
def _linearise(Z, small, wide, pairs, numbers, map_at, loss_at, total, alpha, state, shift, new):
    if numbers[SYSTEM] == DUAL:
        return dual.linearise(
            Z, small, wide, pairs, numbers, map_at, loss_at, total, state, shift, new
        )
    return direct.linearise(
        Z, small, wide, pairs, numbers, map_at, loss_at, total, alpha, state, shift
    )


@inlined
def _solve(Z, small, wide, pairs, numbers, b):
    if numbers[SYSTEM] == DUAL:
        dual.solve(small, pairs, b)
    else:
        direct.solve(Z, small, wide, pairs, numbers, b)


@inlined
def _size(Z, small, wide, pairs, numbers, state, error):
    if numbers[SYSTEM] == DUAL:
        return dual.size(Z, small, wide, pairs, numbers, error)
    return direct.size(wide, numbers, state, error)


@inlined
def _scale(Z, small, wide, numbers):
    if numbers[SYSTEM] == DUAL:
        dual.scale(Z, small, wide, numbers)
    else:
        direct.scale(small, wide, numbers)


@inlined
def _weigh(wide, pairs, numbers, state):
    if numbers[SYSTEM] == DUAL:
        return dual.weigh(wide, pairs, numbers, state)
    return direct.weigh(wide, numbers, state)


@kernel("INTEGRATE")
def integrate(
    Z, small, wide, pairs, numbers, map_at, loss_at, table, start, outputs, rtol, states, counts
):
    """One run from `start` at t = 0: its states (T, N) at `outputs`, ascending.

    `counts` (5,) is filled with outputs reached, steps, right-hand sides, factorizations; its last
    entry is the most right-hand sides. Returns the index in `REASONS` of why it ended.
    """
    N = start.size
    y, f, correction = start.copy(), np.empty(N), np.empty(N)
    change, saved = np.empty(N), np.empty(N)
    z, t, end, s = np.zeros((ROWS, N)), 0.0, outputs[-1], np.int64(0)
    at = np.int64(0)  # outputs reached
    while at < outputs.size and outputs[at] <= 0.0:
        copy(y, states[at])
        at += 1
    counts[OUTPUTS] = at
    while t < end:  # one piece of the schedule between breakpoints
        last = last_segment(table, s)
        stop = min(table[last, 2], end)
        total, alpha = evaluate(table, s, t)
        _derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, y, f)
        counts[CALLS] += 1
        _scale(Z, small, wide, numbers)
        rounding = _weigh(wide, pairs, numbers, y)
        # the first step changes x, relative to its size, by some 0.3 %
        speed = _size(Z, small, wide, pairs, numbers, y, f)
        h = min(3e-3 / max(speed + 4.0 * alpha, 1e-300), stop - t)
        copy(y, z[0])
        for i in range(N):
            z[1, i] = h * f[i]
        # wait: steps until the order q is reconsidered; most: growth of h until then
        method, q, wait, most = ADAMS, np.int64(1), np.int64(2), 1e4
        contraction, fastest, taken, failures = 0.7, 0.0, 0, 0
        factored, linearised = 0.0, -LASTING  # h l₀ of the factors; step of the last linearisation
        while t < stop:
            later = t + h
            if t + h * (1.0 + 1e-10) >= stop:
                _rescale(z, q, (stop - t) / h)
                h, later = stop - t, stop
            counts[OUTPUTS] = at
            if not h > 4.0 * np.spacing(t):
                return STUCK if np.isfinite(h) else NOT_FINITE
            if counts[CALLS] > counts[MOST]:
                return TOO_LONG
            tolerance = max(rtol, rounding)
            s = next_segment(table, s, t)
            total, alpha = evaluate(table, next_segment(table, s, later), later)
            _predict(z, q, 1.0)
            # y = z₀ + l₀·correction solves the implicit equation
            l0, converged, fresh = L[method, q, 0], False, False
            enough = 0.5 / (q + 2) * CONSTANTS[method, q, 1] * tolerance
            while not converged:
                if method == BDF:
                    new = taken >= linearised + LASTING
                    if new or not abs(h * l0 / factored - 1.0) <= 0.3:
                        factored, contraction, fresh = h * l0, 0.7, new or fresh
                        linearised = taken if new else linearised
                        counts[FACTORIZATIONS] += 1
                        if not _linearise(
                            Z,
                            small,
                            wide,
                            pairs,
                            numbers,
                            map_at,
                            loss_at,
                            total,
                            alpha,
                            z[0],
                            1.0 / factored,
                            new,
                        ):
                            linearised = -LASTING  # at a state beyond a domain's end, say
                            break
                fill(correction, 0.0)
                copy(z[0], y)
                before, rate = 0.0, 0.0
                for iteration in range(3):
                    _derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, y, f)
                    counts[CALLS] += 1
                    for i in range(N):
                        change[i] = h * f[i] - z[1, i] - correction[i]
                    if method == BDF:
                        _solve(Z, small, wide, pairs, numbers, change)
                        for i in range(N):
                            change[i] /= h * l0
                    moved = _size(Z, small, wide, pairs, numbers, z[0], change)
                    if not np.isfinite(moved):
                        break
                    for i in range(N):
                        correction[i] += change[i]
                        y[i] = z[0, i] + l0 * correction[i]
                    if iteration > 0:
                        rate = max(rate, min(moved / before, 1024.0) if before > 0.0 else 0.0)
                        contraction = max(0.2 * contraction, rate)
                    if (iteration > 0 or method == BDF) and moved * min(
                        1.0, 1.5 * contraction
                    ) <= enough:
                        converged = True
                        break
                    if iteration > 0 and moved > 2.0 * before:
                        break
                    before = moved
                if method == ADAMS or fresh:
                    break
                linearised = linearised if converged else -LASTING
            if not converged:
                linearised = -LASTING  # that of a prediction gone astray would pass for Newton's
                _predict(z, q, -1.0)
                _rescale(z, q, 0.25)
                h, wait, most = 0.25 * h, q + 1, 2.0
                continue
            if method == ADAMS:
                fastest = max(fastest, rate / (h * l0))
            error = _size(Z, small, wide, pairs, numbers, z[0], correction)
            own = error / tolerance / CONSTANTS[method, q, 1]
            same, lower, higher = _growth(own, q + 1, 1.2), 0.0, 0.0
            if own > 1.0:
                _predict(z, q, -1.0)
                failures += 1
                if failures >= 3:  # the higher derivatives are no good here
                    total, alpha = evaluate(table, s, t)
                    _derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, z[0], f)
                    counts[CALLS] += 1
                    q, h = np.int64(1), 0.1 * h
                    for i in range(N):
                        z[1, i] = h * f[i]
                else:
                    if q > 1:
                        error = _size(Z, small, wide, pairs, numbers, z[0], z[q])
                        lower = _growth(error / tolerance / CONSTANTS[method, q, 0], q, 1.3)
                    q -= 1 if lower > same else 0
                    factor = max(min(max(same, min(lower, 1.0)), 0.9), 0.1)
                    _rescale(z, q, factor)
                    h *= factor
                wait, most = q + 1, 2.0
                continue
            for j in range(q + 1):
                a = L[method, q, j]
                for i in range(N):
                    z[j, i] += a * correction[i]
            t, failures = later, 0
            taken += 1
            wait -= 1
            counts[STEPS] += 1
            rounding = _weigh(wide, pairs, numbers, z[0])
            while at < outputs.size and outputs[at] <= t:
                _interpolate(z, q, (outputs[at] - t) / h, states[at])
                at += 1
            counts[OUTPUTS] = at
            if t == stop:
                break
            stable = 1.0 / (max(fastest, 1e-300) * h) if method == ADAMS else np.inf
            if method == ADAMS and taken >= 20 and fastest > 0.0:  # how long would BDF's step be?
                p = min(q, HIGHEST[BDF])
                if p == q:
                    other = own * CONSTANTS[ADAMS, q, 1] * L[ADAMS, q, q]
                else:
                    error = _size(Z, small, wide, pairs, numbers, z[0], z[p + 1])
                    other = error / tolerance
                factor = _growth(other / (CONSTANTS[BDF, p, 1] * L[BDF, p, p]), p + 1, 1.2)
                if factor >= PROMISING * min(same, STABLE[q] * stable):
                    method, q, wait, factor = BDF, p, p + 1, min(factor, most)
                    _rescale(z, q, factor)
                    h, most = h * factor, 10.0
                    continue
            top = HIGHEST[method]
            if wait == 1 and q < top:
                copy(correction, saved)
            if wait > 0:
                continue
            if q > 1:
                error = _size(Z, small, wide, pairs, numbers, z[0], z[q])
                lower = _growth(error / tolerance / CONSTANTS[method, q, 0], q, 1.3)
            if q < top:
                for i in range(N):
                    saved[i] = correction[i] - saved[i]
                error = _size(Z, small, wide, pairs, numbers, z[0], saved)
                higher = _growth(error / tolerance / CONSTANTS[method, q, 2], q + 2, 1.4)
            if method == ADAMS:
                same, lower = min(same, STABLE[q] * stable), min(lower, STABLE[q - 1] * stable)
                higher = min(higher, STABLE[min(q + 1, top)] * stable)
            fastest *= 0.5
            factor = max(same, lower, higher)
            if factor < 1.1:
                wait = 3
                continue
            if factor == higher:
                for i in range(N):
                    z[q + 1, i] = L[method, q, q] / (q + 1) * correction[i]
                q += 1
            elif factor == lower:
                q -= 1
            factor = min(factor, most)
            _rescale(z, q, factor)
            h, wait, most = h * factor, q + 1, 10.0
        copy(z[0], y)
        s = last + 1
    return DONE
