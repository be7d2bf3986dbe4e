r"""Products of four to six layers: the map of `deep` by quadrature.

F is known at nodes z₁ < … < z_N; between them, from 0 to z₁ and from ∞ (by 1/z) to z_N, Gauss'
rule of 8 points is exact to rounding, and z follows from F by Taylor's series of the inverse, of
third order, which is repeated until a step is small: mostly once. Good for three layers too, for
which `elliptic` is five times as fast.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.compiled.options import kernel, loop
from mirrorflow.maps.base import DX, RATES, Q, X

__all__ = ["DEPTH", "DOWNWARD", "START", "UPWARD", "point", "point_loop", "tabulate"]

# rows of `parts`: F(z₀), ±∞ where the sign is locked; the slack to either side at μ = 0; L; F(z₁),
# −1 where the sign is locked, ∞ where x ≡ 0; how many μ_k are 0, the product of the others, and
# z₁^{1 − TIES}; least μ_k²; P² as a polynomial of z², and z^{2−2L}P² of 1/z²; coefficients of first
# guesses of z by F and of 1/z by the slack; at each node z, the slack, and 1/z up to the next as a
# cubic of F − F(node)
START, UPWARD, DOWNWARD, DEPTH, INNER, TIES, RATE, POWER, FLOOR, SQUARE = range(10)
REVERSED, GUESS, NODE = SQUARE + 6, SQUARE + 12, SQUARE + 16
BLOCKS = 6
RATIO = 1.35  # of nodes
CLOSE = 6e-5  # relative step after which the next is below rounding
POINTS, _weights = np.polynomial.legendre.leggauss(8)
POINTS = 0.5 * (POINTS + 1.0)
WEIGHTS = 0.5 * _weights * POINTS ** np.arange(4.0)[:, None]  # of ∫₀¹ y^k …, k = 0 … 3


@loop
def _length(parts, j, polynomial, k, low, high):
    """∫ dy/√polynomial(y²) from low to high; of y^k, over high^k, where k > 0 and low = 0."""
    a, b, c = parts[polynomial, j], parts[polynomial + 1, j], parts[polynomial + 2, j]
    d, e, f = parts[polynomial + 3, j], parts[polynomial + 4, j], parts[polynomial + 5, j]
    step, total = high - low, 0.0
    for i in range(8):
        y = low + step * POINTS[i]
        y *= y
        total += WEIGHTS[k, i] / math.sqrt(((((f * y + e) * y + d) * y + c) * y + b) * y + a)
    return total * step


@loop
def _square(parts, j, y):
    """P² at z² = y, and its first two derivatives by y."""
    value, first, second = parts[SQUARE + 5, j], 0.0, 0.0
    for k in range(SQUARE + 4, SQUARE - 1, -1):
        second = second * y + 2.0 * first
        first = first * y + value
        value = value * y + parts[k, j]
    return value, first, second


@loop
def _corrected(parts, j, z, error):
    """z where F is larger by `error`: z′ = P, z″ = ½dP²/dz, z‴ = ½d²P²/dz² · P."""
    y = z * z
    value, first, second = _square(parts, j, y)
    step = math.sqrt(value) * error
    d2z, d3z_by_p = z * first, first + 2.0 * y * second
    return z + step + error * error * (0.5 * d2z + d3z_by_p * step / 6.0), step


@loop
def _guess(parts, j, row, t):
    """t(1 + at² + bt⁴)."""
    return t * (1.0 + (parts[row, j] + parts[row + 1, j] * t * t) * t * t)


@loop
def _factor(parts, j, length, slack):
    """z at F = `length` ≥ 0, and `slack` before its end."""
    depth = int(parts[DEPTH, 0])
    count = (parts.shape[0] - NODE) // BLOCKS
    last = NODE + count - 1
    if parts[INNER, j] == np.inf:
        return 0.0
    if slack < parts[last + count, j]:  # beyond the last node, by 1/z
        inverse = _guess(parts, j, GUESS + 2, ((depth - 2) * slack) ** (1.0 / (depth - 2)))
        z = 1.0 / inverse
        rest = _length(parts, j, REVERSED, depth - 3, 0.0, 1.0 / z)
        # the guess is off by 5e-6 at most, and the step leaves the fourth power of that
        return _corrected(parts, j, z, rest / z ** (depth - 3) - slack)[0]
    if length <= parts[INNER, j]:
        low, target, z = 0.0, length, _guess(parts, j, GUESS, length * parts[RATE, j])
    elif slack >= parts[NODE + count, j]:  # of a locked sign, where z is far below the other μ_k
        ties, rise = parts[TIES, j], parts[RATE, j] * (slack - parts[NODE + count, j])
        if ties == 1.0:
            return parts[NODE, j] * math.exp(-rise)
        return (parts[POWER, j] + (ties - 1.0) * rise) ** (1.0 / (1.0 - ties))
    else:
        at, end = NODE, last
        while end - at > 1:
            middle = (at + end) // 2
            if slack < parts[middle + count, j]:
                at = middle
            else:
                end = middle
        low, target = parts[at, j], parts[at + count, j] - slack
        a, b = parts[at + 2 * count, j], parts[at + 3 * count, j]
        c, e = parts[at + 4 * count, j], parts[at + 5 * count, j]
        z = 1.0 / (((e * target + c) * target + b) * target + a)
    for _ in range(20):
        z, step = _corrected(parts, j, z, target - _length(parts, j, SQUARE, 0, low, z))
        if not abs(step) > CLOSE * z:
            break
    return z


@loop
def point_loop(parts, low, high, total, mu, out):
    """x, X′, the rates and Q."""
    depth = int(parts[DEPTH, 0])
    decay = math.exp(-2.0 * depth * total)
    for j in range(low, high):
        length = parts[START, j] + mu[j]
        slack = parts[UPWARD, j] - mu[j] if length >= 0.0 else parts[DOWNWARD, j] + mu[j]
        if not slack > 0.0:  # beyond an end of the domain
            out[X, j], out[DX, j], out[RATES, j] = math.copysign(np.inf, length), np.inf, np.inf
            continue
        z = _factor(parts, j, abs(length), slack)
        y = z * z
        value, first, _ = _square(parts, j, y)
        others, metric = math.sqrt(value), value + y * first
        out[X, j] = math.copysign(decay * z * others, length)
        out[DX, j] = decay * metric
        # x is held against what it is where z is as large as the least μ_k
        out[RATES, j] = metric / max(math.sqrt(y + parts[FLOOR, j]) * others, 1e-300)
        if out.shape[0] > Q:
            out[Q, j] = decay * 0.5 * y


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """`point_loop` to be called by address."""
    point_loop(parts, low, high, total, mu, out)


def _lengths(polynomial: Array, k: int, low: Array, high: Array) -> Array:
    """`_length` by NumPy: polynomial (6, d), low and high (…, d)."""
    total = np.zeros(np.broadcast_shapes(low.shape, high.shape))
    for point, weight in zip(POINTS, WEIGHTS[k], strict=True):
        y = (low + (high - low) * point) ** 2
        total += weight / np.sqrt(_value(polynomial, y))
    return total * (high - low) * high**k


def _value(polynomial: Array, y: Array) -> Array:
    value = np.zeros_like(y)
    for coefficients in polynomial[::-1]:
        value = value * y + coefficients
    return value


def tabulate(z: Array, squares: Array) -> Array:
    """What `point_loop` knows of z₀ and the ascending μ_k², (L − 1, d), for L ≥ 3."""
    (others, d), depth = squares.shape, len(squares) + 1
    size, zeros, roots = np.abs(z), (squares == 0).sum(axis=0), np.sqrt(squares)
    none, locked = (zeros > 0) & (z == 0), (zeros > 0) & (z != 0)
    alike = locked & (zeros == others)
    # from z₁ to z_N: all that is not near to 0 or ∞; any will do where there is a closed form
    next_up = np.take_along_axis(roots, np.minimum(zeros, others - 1)[None], 0)[0]
    first = np.where(locked, np.minimum(1e-8 * next_up, size), next_up / 3.0)
    first, last = np.where(none | alike, 1.0, first), np.where(none | alike, 2.0, 4.0 * roots[-1])
    count = 2 + int(np.log((last / first).max()) / math.log(RATIO))
    nodes = first * (last / first) ** np.linspace(0.0, 1.0, count)[:, None]

    polynomial = np.zeros((6, d))
    polynomial[0] = 1.0
    for square in np.where(none, 1.0, squares):
        polynomial = square * polynomial + np.vstack([np.zeros(d), polynomial[:-1]])
    inverse = np.zeros((6, d))
    inverse[:depth] = polynomial[:depth][::-1]

    pieces = _lengths(polynomial, 0, nodes[:-1], nodes[1:])
    end = _lengths(inverse, depth - 3, np.zeros(d), 1.0 / last)
    slack = end + np.vstack([np.cumsum(pieces[::-1], axis=0)[::-1], np.zeros(d)])
    slack[:, alike] = 0.0
    inner = _lengths(polynomial, 0, np.zeros(d), first)
    total = slack[0] + inner

    at = (nodes <= size).sum(axis=0)
    above = np.minimum(at, count - 1)[None]
    up_to = np.take_along_axis(nodes, above, 0)[0]
    forward = np.take_along_axis(slack, above, 0)[0] + _lengths(polynomial, 0, size, up_to)
    beyond = _lengths(inverse, depth - 3, np.zeros(d), 1.0 / np.maximum(size, last))
    forward = np.where(at == count, beyond, forward)
    length = np.where(at == 0, _lengths(polynomial, 0, np.zeros(d), size), total - forward)
    forward = np.where(at == 0, total - length, forward)
    forward[alike] = size[alike] ** (2 - depth) / (depth - 2)
    back = np.where(locked, np.inf, total + length)
    positive, length = ~np.signbit(z), np.where(locked, np.inf, length)

    parts = np.empty((NODE + BLOCKS * count, d))
    parts[START] = np.where(none, 0.0, np.copysign(length, z))
    parts[UPWARD] = np.where(none, np.inf, np.where(positive, forward, back))
    parts[DOWNWARD] = np.where(none, np.inf, np.where(positive, back, forward))
    parts[DEPTH] = depth
    parts[INNER] = np.where(none, np.inf, np.where(locked, -1.0, inner))
    parts[TIES], parts[RATE] = zeros, np.prod(np.where(squares == 0, 1.0, roots), axis=0)
    parts[POWER] = np.where(alike, 0.0, first ** (1.0 - zeros))
    parts[FLOOR] = squares[0]
    parts[SQUARE:REVERSED], parts[REVERSED:GUESS] = np.where(none, 0.0, polynomial), inverse
    # the first from the series, the second so that the guess is right at the node
    rise, fall = parts[RATE] * inner, ((depth - 2) * end) ** (1.0 / (depth - 2))
    parts[GUESS] = polynomial[1] / np.where(zeros == 0, 6.0 * polynomial[0], np.inf)
    parts[GUESS + 2] = inverse[1] / (2.0 * depth)
    for row, t, exact in ((GUESS, rise, first), (GUESS + 2, fall, 1.0 / last)):
        parts[row + 1] = (exact / t - 1.0 - parts[row] * t**2) / t**4
    blocks = parts[NODE:].reshape(BLOCKS, count, d)
    blocks[0], blocks[1], blocks[2] = nodes, slack, 1.0 / nodes
    # Hermite's cubic
    blocks[3] = -np.sqrt(_value(polynomial, nodes**2)) / nodes**2
    chord = np.diff(blocks[2], axis=0) / pieces
    before, after = blocks[3, :-1], blocks[3, 1:]
    blocks[4, :-1] = (3.0 * chord - 2.0 * before - after) / pieces
    blocks[5, :-1] = (before + after - 2.0 * chord) / pieces**2
    blocks[4:, -1] = 0.0
    return parts
