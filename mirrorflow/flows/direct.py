r"""The direct system: gradient flow of the parameters θ as it is written, for any map and any loss.

    θ̇_k = −∂_k g(θ) ⊙ ∇f(x) − 2α_t θ_k,      x = g(θ),      and, where asked for,
    ġ = e^{−κA_t} ∇f(x)

with the layers θ_1 … θ_K, each (d,), one after the other; m ⊙ w has the layers m and w. It knows
nothing of potentials or invariants, so it can refute them.

shift − J is a block of K×K for each coordinate, D = (shift + 2α) + ∂f ∇²g, plus V C Vᵀ/n of rank n
with V = ∇g_j z_j (Woodbury). Errors of (θ_1, …, θ_K)_j are measured against their length, and
against max|x|/|∇g_j| where x is small: so rtol is the relative error of x itself.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.compiled.curvature import between_roots, by_root, by_root_transposed, take_root
from mirrorflow.compiled.layout import (
    CURVATURE,
    DEGREE,
    FACTORS,
    KAPPA,
    LARGEST_X,
    LAYERS,
    MATRIX,
    OWN,
    SAMPLES,
    SCRATCH,
    SHIFT,
    TRACE,
    USUAL,
    WEIGHT,
    loss_gradient,
)
from mirrorflow.compiled.options import loop
from mirrorflow.compiled.vectors import (
    PANEL,
    add_product,
    copy,
    factorize,
    fill,
    gram,
    largest,
    solve_factors,
    transposed_product,
)
from mirrorflow.maps import product

__all__ = ["derivative", "linearise", "rows_of_wide", "scale", "size", "solve", "weigh"]

# rows of `wide`: scratch, ∇f, weights, units of ∫∇f, x; ∇g (K), ∇²g (K(K+1)/2), D⁻¹ (K²),
# D⁻¹∇g (K), scratch (K)
PANELS = OWN
GRADIENT, WEIGHTS, UNITS, X, FIRST = range(PANELS + PANEL, PANELS + PANEL + 5)
EPS = float(np.finfo(float).eps)
SMALLEST = 1e-280  # square of the least length that errors are measured by


def rows_of_wide(layers: int) -> int:
    """How many rows `wide` must have."""
    return FIRST + 3 * layers + layers * (layers + 1) // 2 + layers * layers


@loop
def _layers(state, numbers, d):
    """θ as (K, d)."""
    k = int(numbers[LAYERS])
    return state[: k * d].reshape((k, d))


@loop
def _gradient(Z, small, wide, numbers, map_at, loss_at, theta, end):
    """x, ∇g and, where the rows of `wide` to be filled end late enough, ∇²g; then ∇f.

    g does not depend on A; the map is told its degree in that place, and ∇f's row is its scratch.
    """
    if numbers[USUAL] > 0.0:
        product.written_loop(theta, wide[X:end])
    else:
        low, high = np.uintp(0), np.uintp(wide.shape[1])
        map_at(theta, low, high, numbers[DEGREE], wide[GRADIENT], wide[X:end])
    loss_gradient(Z, small, wide, numbers, loss_at, wide[X], wide[GRADIENT])


@loop
def derivative(Z, small, wide, numbers, map_at, loss_at, total, alpha, state, out):
    d = wide.shape[1]
    theta = _layers(state, numbers, d)
    end = FIRST + theta.shape[0]
    _gradient(Z, small, wide, numbers, map_at, loss_at, theta, end)
    grad_f = wide[GRADIENT]
    numbers[WEIGHT] = math.exp(-numbers[KAPPA] * total)
    for k in range(theta.shape[0]):
        part, own, along = out[k * d : (k + 1) * d], theta[k], wide[FIRST + k]
        for j in range(d):
            part[j] = -along[j] * grad_f[j] - 2.0 * alpha * own[j]
    if out.size > theta.size:
        part = out[theta.size :]
        for j in range(d):
            part[j] = numbers[WEIGHT] * grad_f[j]


@loop
def _invert(blocks, layers):
    """Each coordinate's symmetric K×K block ← its inverse, by elimination without pivots."""
    d = blocks.shape[1]
    if layers == 2:  # alike in both layers to the last bit, so that |m| = |w| lasts
        first, cross, last = blocks[0], blocks[1], blocks[3]
        for j in range(d):
            a, b, c = first[j], cross[j], last[j]
            scale = 1.0 / (a * c - b * b)
            first[j], cross[j], last[j] = c * scale, -b * scale, a * scale
        copy(cross, blocks[2])
        return
    for p in range(layers):
        pivot = blocks[p * layers + p]
        for j in range(d):
            pivot[j] = 1.0 / pivot[j]
        for k in range(layers):
            if k != p:
                factor = blocks[k * layers + p]
                for l in range(layers):
                    if l != p:
                        one, row = blocks[k * layers + l], blocks[p * layers + l]
                        for j in range(d):
                            one[j] -= factor[j] * pivot[j] * row[j]
        for k in range(layers):
            if k != p:
                column, row = blocks[k * layers + p], blocks[p * layers + k]
                for j in range(d):
                    column[j] *= -pivot[j]
                    row[j] *= pivot[j]


@loop
def linearise(Z, small, wide, pairs, numbers, map_at, loss_at, total, alpha, state, shift):
    """D⁻¹ by coordinate, and factors of 1 + C^½ Z diag(∇gᵀD⁻¹∇g) Zᵀ C^½/n."""
    d = wide.shape[1]
    theta = _layers(state, numbers, d)
    layers = theta.shape[0]
    hessian, inverse = FIRST + layers, FIRST + layers + layers * (layers + 1) // 2
    solved = inverse + layers * layers
    numbers[SHIFT] = shift
    _gradient(Z, small, wide, numbers, map_at, loss_at, theta, inverse)
    grad_f, at = wide[GRADIENT], 0
    for k in range(layers):
        for l in range(k, layers):
            diagonal = shift + 2.0 * alpha if k == l else 0.0
            one, other = wide[inverse + k * layers + l], wide[inverse + l * layers + k]
            second = wide[hessian + at]
            for j in range(d):
                one[j] = diagonal + grad_f[j] * second[j]
            for j in range(d):
                other[j] = one[j]
            at += 1
    _invert(wide[inverse:], layers)
    for k in range(layers):
        part = wide[solved + k]
        fill(part, 0.0)
        for step in range(layers):  # a layer's own part first, as in all layers
            l = (k + step) % layers
            one, along = wide[inverse + k * layers + l], wide[FIRST + l]
            for j in range(d):
                part[j] += one[j] * along[j]
    weights = wide[GRADIENT]  # ∇f is used up
    fill(weights, 0.0)
    for k in range(layers):
        part, along = wide[solved + k], wide[FIRST + k]
        for j in range(d):
            weights[j] += part[j] * along[j]
    gram(Z, wide, weights, wide[PANELS:], pairs[MATRIX])
    take_root(small, pairs, 1.0 / numbers[SAMPLES])
    between_roots(small, pairs)
    return factorize(pairs[MATRIX], 1.0, pairs[FACTORS])


@loop
def solve(Z, small, wide, pairs, numbers, b):
    d = wide.shape[1]
    right = _layers(b, numbers, d)
    layers = right.shape[0]
    inverse = FIRST + layers + layers * (layers + 1) // 2
    solved = inverse + layers * layers
    low, high = np.uintp(0), np.uintp(d)
    inner = wide[GRADIENT]
    # ∇gᵀD⁻¹b, as D⁻¹ is symmetric
    fill(inner, 0.0)
    for k in range(layers):
        part, own = wide[solved + k], right[k]
        for j in range(d):
            inner[j] += part[j] * own[j]
    scratch = small[SCRATCH]
    vector = scratch[: pairs.shape[1]]
    fill(vector, 0.0)
    add_product(Z, wide, inner, low, high, vector)
    by_root_transposed(small, pairs, vector)
    solve_factors(pairs[FACTORS], vector)
    by_root(small, pairs, vector)
    transposed_product(Z, wide, vector, low, high, inner)
    for k in range(layers):
        part, along = wide[solved + layers + k], wide[solved + k]
        for j in range(d):
            part[j] = -along[j] * inner[j]
        for step in range(layers):
            l = (k + step) % layers
            block, own = wide[inverse + k * layers + l], right[l]
            for j in range(d):
                part[j] += block[j] * own[j]
    for k in range(layers):
        copy(wide[solved + layers + k], right[k])
    if b.size > right.size:
        part, shift, weight = b[right.size :], numbers[SHIFT], numbers[WEIGHT]
        for j in range(d):
            part[j] = (part[j] + weight * inner[j]) / shift


@loop
def size(wide, numbers, state, error):
    """The largest error of a coordinate."""
    d = wide.shape[1]
    off = _layers(error, numbers, d)
    squares, weights = wide[GRADIENT], wide[WEIGHTS]
    fill(squares, 0.0)
    total = 0.0
    for k in range(off.shape[0]):
        own = off[k]
        for j in range(d):
            squares[j] += own[j] * own[j]
    for j in range(d):
        total += squares[j]
        squares[j] *= weights[j]
    worst = math.sqrt(largest(squares, np.uintp(0), np.uintp(d)))
    if error.size > off.size:
        part, now, units = error[off.size :], state[off.size :], wide[UNITS]
        for j in range(d):
            total += part[j]
            worst = max(worst, abs(part[j]) / (numbers[WEIGHT] * units[j] + abs(now[j])))
    return worst if np.isfinite(total) else np.inf


@loop
def scale(small, wide, numbers):
    """As in `dual`; ∇f is at hand."""
    low, d = np.uintp(0), np.uintp(wide.shape[1])
    curvature = largest(small[CURVATURE], low, np.uintp(small.shape[1]))
    trace = curvature * numbers[TRACE] * wide.shape[1] / numbers[SAMPLES]
    pull = largest(wide[GRADIENT], low, d) / max(trace, 1e-300)
    numbers[LARGEST_X] = max(largest(wide[X], low, d), pull)


@loop
def weigh(wide, numbers, state):
    """Squares of the weights from the last right-hand side; what rounding of θ is worth."""
    d = wide.shape[1]
    theta = _layers(state, numbers, d)
    lengths, metric = wide[GRADIENT], wide[WEIGHTS]
    fill(lengths, SMALLEST)
    fill(metric, 0.0)
    for k in range(theta.shape[0]):
        own, along = theta[k], wide[FIRST + k]
        for j in range(d):
            lengths[j] += own[j] * own[j]
            metric[j] += along[j] * along[j]
    top = max(numbers[LARGEST_X], largest(wide[X], np.uintp(0), np.uintp(d)))
    numbers[LARGEST_X] = top
    scale = 1.0 / top if top > 0.0 else 0.0
    if state.size > theta.size:
        units = wide[UNITS]  # what a relative error of θ is worth in ∇R; 1 for m ⊙ w
        for j in range(d):
            units[j] = math.sqrt(lengths[j] / metric[j]) if metric[j] > 0.0 else 1.0
    for j in range(d):
        metric[j] = max(1.0 / lengths[j], metric[j] * scale * scale)
    return 100.0 * EPS
