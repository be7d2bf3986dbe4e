r"""The dual system: gradient flow in n unknowns, for any map and any loss.

    ν̇ = −e^{−κA_t} φ′(Zx, y)/n,      x = X(Zᵀν; A_t)

with the map's X (m ⊙ w: x = a_t sinh(2μ + c), κ = 0). Its Jacobian is −C H/n, with
C = e^{−κA} diag φ″ and H = Z diag(X′) Zᵀ, similar to the symmetric −C^½ H C^½/n.

An error δν changes the parts of x_j by the fraction rate_j·(Zᵀδν)_j, rate_j = 2 for m ⊙ w. Where
x_j is a small difference of large parts, X′_j/max|x| takes its place: so rtol is the relative error
of x itself.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.compiled.curvature import between_roots, by_inverse_root, by_root, take_root
from mirrorflow.compiled.layout import (
    CURVATURE,
    FACTORS,
    FIT,
    GRAM,
    KAPPA,
    LARGEST_X,
    MATRIX,
    OWN,
    PLAIN,
    RATE,
    SAMPLES,
    SCRATCH,
    SLOPE,
    TRACE,
    USUAL,
    loss_derivatives,
)
from mirrorflow.compiled.options import loop
from mirrorflow.compiled.vectors import (
    PANEL,
    add_dense,
    add_product,
    block_end,
    factorize,
    fill,
    gram,
    largest,
    solve_factors,
    transposed_product,
)
from mirrorflow.maps import product

__all__ = ["PARTS", "derivative", "linearise", "scale", "size", "solve", "weigh"]

# rows of `wide`: μ; x, X′ and the rates, as the map fills them; …; last what the map knows
MU, X, DX, RATES, WEIGHTS, ERROR, SCRATCHES = range(OWN, OWN + 7)
PARTS = SCRATCHES + PANEL
EPS = float(np.finfo(float).eps)
UNEVEN = 2.0  # a weight so far above the common rate needs a sum over coordinates


@loop
def _point(Z, small, wide, numbers, map_at, total, state):
    """Zx, and x, X′ and the rates with it; Z is read once."""
    d = np.uintp(wide.shape[1])
    low = np.uintp(0)
    fill(small[FIT], 0.0)
    while low < d:
        high = block_end(low, d)
        transposed_product(Z, wide, state, low, high, wide[MU])
        if numbers[USUAL] > 0.0:
            product.point_loop(wide[PARTS:], low, high, total, wide[MU], wide[X:WEIGHTS])
        else:
            map_at(wide[PARTS:], low, high, total, wide[MU], wide[X:WEIGHTS])
        add_product(Z, wide, wide[X], low, high, small[FIT])
        low = high


@loop
def derivative(Z, small, wide, numbers, map_at, loss_at, total, state, out):
    _point(Z, small, wide, numbers, map_at, total, state)
    loss_derivatives(small, numbers, loss_at)
    weight = math.exp(-numbers[KAPPA] * total) / numbers[SAMPLES]
    for i in range(out.size):
        out[i] = -weight * small[SLOPE, i]


@loop
def linearise(Z, small, wide, pairs, numbers, map_at, loss_at, total, state, shift, new):
    """Factors of shift + C^½ H C^½/n; H and C at `state` where `new`, else the last ones."""
    if new:
        _point(Z, small, wide, numbers, map_at, total, state)
        loss_derivatives(small, numbers, loss_at)
        take_root(small, pairs, math.exp(-numbers[KAPPA] * total) / numbers[SAMPLES])
        gram(Z, wide, wide[DX], wide[SCRATCHES:], pairs[MATRIX])
        between_roots(small, pairs)
    return factorize(pairs[MATRIX], shift, pairs[FACTORS])


@loop
def solve(small, pairs, b):
    """b ← C^½ (shift + C^½ H C^½/n)⁻¹ C^−½ b."""
    by_inverse_root(small, pairs, b)
    solve_factors(pairs[FACTORS], b)
    by_root(small, pairs, b)


@loop
def size(Z, small, wide, pairs, numbers, error):
    """Root mean square over coordinates of the weighted errors of Zᵀν."""
    total = 0.0
    if numbers[PLAIN] > 0.0:
        product = small[SCRATCH]
        fill(product, 0.0)
        add_dense(pairs[GRAM], error, np.uintp(0), np.uintp(error.size), product)
        for i in range(error.size):
            total += product[i] * error[i]
        total *= numbers[RATE] ** 2
    else:
        d = np.uintp(wide.shape[1])
        transposed_product(Z, wide, error, np.uintp(0), d, wide[ERROR])
        for j in range(d):
            a = wide[WEIGHTS, j] * wide[ERROR, j]
            total += a * a
        total /= wide.shape[1]
    return math.sqrt(max(total, 0.0)) if np.isfinite(total) else np.inf


@loop
def scale(Z, small, wide, numbers):
    """Largest |x|, or where it is small how far the data pull it: max|∇f|/trace(Zᵀ diag φ″ Z/n).

    The fastest mode moves x by no less, so errors measured against it are not wasted on x ≈ 0.
    """
    low, d = np.uintp(0), np.uintp(wide.shape[1])
    transposed_product(Z, wide, small[SLOPE], low, d, wide[ERROR])
    curvature = largest(small[CURVATURE], low, np.uintp(small.shape[1]))
    pull = largest(wide[ERROR], low, d) / max(curvature * numbers[TRACE] * wide.shape[1], 1e-300)
    numbers[LARGEST_X] = max(largest(wide[X], low, d), pull)


@loop
def weigh(wide, pairs, numbers, state):
    """Weights from the last right-hand side; what rounding of ν is worth in them.

    No error can be held below that: where {Zx = y} misses the sign cone ν grows without end.
    """
    low, d = np.uintp(0), np.uintp(wide.shape[1])
    top = max(numbers[LARGEST_X], largest(wide[X], low, d))
    numbers[LARGEST_X] = top
    worst = numbers[RATE]
    if top > 0.0:
        worst = max(worst, largest(wide[DX], low, d) / top)
    numbers[PLAIN] = 1.0 if worst <= UNEVEN * numbers[RATE] else 0.0
    if numbers[PLAIN] == 0.0:
        scale = 1.0 / top if top > 0.0 else 0.0
        for j in range(d):
            wide[WEIGHTS, j] = max(wide[RATES, j], scale * wide[DX, j])
        worst = largest(wide[WEIGHTS], low, d)
    squares = 0.0
    for i in range(state.size):
        squares += state[i] * state[i] * pairs[GRAM, i, i]
    return 100.0 * EPS * worst * math.sqrt(squares)
