"""Vectors and matrices in compiled loops: products with Z, dense or sparse, and small systems.

Z is an (n, d) array; or sparse, a (2, entries) array of values and row numbers by column, where
the entries of column j are those from `wide[STARTS, j]` to `wide[ENDS, j]`. For a dense Z
`wide[ENDS, 0]` is negative. `low` and `high` bound the columns that a call is for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mirrorflow.compiled.options import exact, inlined, loop, vectorised

__all__ = ["BLOCK", "ENDS", "PANEL", "STARTS"]
__all__ += ["add_dense", "add_gram", "add_product", "block_end", "copy", "exponential_minus_1"]
__all__ += ["factorize", "fill"]
__all__ += ["gram", "largest", "solve_factors", "transposed_dense", "transposed_product"]

ZERO, ONE, TWO = np.uintp(0), np.uintp(1), np.uintp(2)
BLOCK = 512  # columns of Z at a time: they stay in the cache
PANEL = 4  # rows of scratch that `gram` needs
STARTS, ENDS = 0, 1  # rows of `wide`


@exact
def exponential_minus_1(x: Any) -> Any:
    """(e^x − 1) and e^x to one unit in the last place, without branches (Cody & Waite 1980).

    x = k log 2 + r, and a polynomial of degree 12 in |r| ≤ ½ log 2. Arguments are kept above −650,
    so that products with the result are not denormal, which would make them slow.
    """
    x = min(max(x, -650.0), 709.0)
    shifted = x * 1.4426950408889634 + 6755399441055744.0  # adding 1.5·2⁵² rounds to a whole number
    k = shifted - 6755399441055744.0
    r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r * r + r
    # 2^k by its bits
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return power * p + (power - 1.0), power * p + power


@loop
def copy(values: Any, out: Any) -> None:
    """out ← values."""
    for i in range(out.size):
        out[i] = values[i]


@loop
def fill(out: Any, value: float) -> None:
    """out ← value."""
    for i in range(out.size):
        out[i] = value


@vectorised
def largest(values: Any, low: Any, high: Any) -> Any:
    """Largest |value|, or 0."""
    worst = 0.0
    for i in range(low, high):
        worst = max(worst, abs(values[i]))
    return worst


@loop
def block_end(low: Any, d: Any) -> Any:
    """First column after the block that begins at `low`."""
    return np.uintp(min(low + np.uintp(BLOCK), d))


@loop
def add_dense(A: Any, x: Any, low: Any, high: Any, out: Any) -> None:
    """out += Ax over columns low … high, by four rows at a time."""
    n = A.shape[0]
    for i in range(0, n - 3, 4):
        a, b, c, e = 0.0, 0.0, 0.0, 0.0
        for j in range(low, high):
            v = x[j]
            a += A[i, j] * v
            b += A[i + 1, j] * v
            c += A[i + 2, j] * v
            e += A[i + 3, j] * v
        out[i] += a
        out[i + 1] += b
        out[i + 2] += c
        out[i + 3] += e
    for i in range(n - n % 4, n):
        a = 0.0
        for j in range(low, high):
            a += A[i, j] * x[j]
        out[i] += a


@loop
def transposed_dense(A: Any, v: Any, low: Any, high: Any, out: Any) -> None:
    """out ← Aᵀv at the columns low … high, by four rows at a time."""
    n = A.shape[0]
    for j in range(low, high):
        out[j] = 0.0
    for i in range(0, n - 3, 4):
        a, b, c, e = v[i], v[i + 1], v[i + 2], v[i + 3]
        for j in range(low, high):
            out[j] += a * A[i, j] + b * A[i + 1, j] + c * A[i + 2, j] + e * A[i + 3, j]
    for i in range(n - n % 4, n):
        a = v[i]
        for j in range(low, high):
            out[j] += a * A[i, j]


@loop
def _add_sparse(Z: Any, wide: Any, x: Any, low: Any, high: Any, out: Any) -> None:
    for j in range(low, high):
        for k in range(int(wide[STARTS, j]), int(wide[ENDS, j])):
            out[int(Z[1, k])] += Z[0, k] * x[j]


@loop
def _transposed_sparse(Z: Any, wide: Any, v: Any, low: Any, high: Any, out: Any) -> None:
    for j in range(low, high):
        a = 0.0
        for k in range(int(wide[STARTS, j]), int(wide[ENDS, j])):
            a += Z[0, k] * v[int(Z[1, k])]
        out[j] = a


@inlined
def add_product(Z: Any, wide: Any, x: Any, low: Any, high: Any, out: Any) -> None:
    """out += Zx over columns low … high."""
    if wide[ENDS, 0] < 0.0:
        add_dense(Z, x, low, high, out)
    else:
        _add_sparse(Z, wide, x, low, high, out)


@inlined
def transposed_product(Z: Any, wide: Any, v: Any, low: Any, high: Any, out: Any) -> None:
    """out ← Zᵀv at the columns low … high."""
    if wide[ENDS, 0] < 0.0:
        transposed_dense(Z, v, low, high, out)
    else:
        _transposed_sparse(Z, wide, v, low, high, out)


@loop
def add_gram(Z: Any, weights: Any, panel: Any, low: Any, high: Any, out: Any) -> None:
    """Lower half of out += Z diag(weights) Zᵀ over columns low … high of a dense Z."""
    n = Z.shape[0]
    for i in range(0, n - 3, 4):
        for k in range(4):
            for j in range(low, high):
                panel[k, j] = Z[i + k, j] * weights[j]
        for l in range(0, i + 4, 2):
            a0, a1, a2, a3, b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(low, high):
                u, v = Z[l, j], Z[l + 1, j]
                a0 += panel[0, j] * u
                a1 += panel[1, j] * u
                a2 += panel[2, j] * u
                a3 += panel[3, j] * u
                b0 += panel[0, j] * v
                b1 += panel[1, j] * v
                b2 += panel[2, j] * v
                b3 += panel[3, j] * v
            for k, a, b in ((0, a0, b0), (1, a1, b1), (2, a2, b2), (3, a3, b3)):
                out[i + k, l] += a
                out[i + k, l + 1] += b
    for i in range(n - n % 4, n):
        for l in range(i + 1):
            a0 = 0.0
            for j in range(low, high):
                a0 += Z[i, j] * weights[j] * Z[l, j]
            out[i, l] += a0


@loop
def gram(Z: Any, wide: Any, weights: Any, panel: Any, out: Any) -> None:
    """Lower half of Z diag(weights) Zᵀ."""
    n, d = np.uintp(out.shape[0]), np.uintp(weights.size)
    for i in range(n):
        for k in range(i + ONE):
            out[i, k] = 0.0
    if wide[ENDS, 0] >= 0.0:
        for j in range(d):
            start = int(wide[STARTS, j])
            for k in range(start, int(wide[ENDS, j])):
                a, row = Z[0, k] * weights[j], int(Z[1, k])
                for l in range(start, k + 1):  # rows ascend within a column
                    out[row, int(Z[1, l])] += a * Z[0, l]
        return
    low = ZERO
    while low < d:
        high = block_end(low, d)
        add_gram(Z, weights, panel, low, high, out)
        low = high


@loop
def factorize(A: Any, shift: float, F: Any) -> Any:
    """A + shift = L D Lᵀ without pivots, from A's lower half; False where one is 0 or not finite.

    D may be negative. F holds L below, Lᵀ above and 1/D on the diagonal.
    """
    n = np.uintp(A.shape[0])
    for i in range(n):
        for j in range(i):
            F[i, j] = A[i, j]
        F[i, i] = A[i, i] + shift
    for k in range(n):
        if not 0.0 < abs(F[k, k]) < np.inf:
            return False
        pivot, after = 1.0 / F[k, k], k + ONE
        for i in range(after, n):
            F[k, i] = F[i, k] * pivot
        for i in range(after, n):
            a = F[i, k]
            for j in range(after, i + ONE):
                F[i, j] -= a * F[k, j]
        F[k, k] = pivot
    for i in range(n):
        for j in range(i):
            F[i, j] = F[j, i]
    return True


@loop
def solve_factors(F: Any, b: Any) -> None:
    """b ← (L D Lᵀ)⁻¹ b, two unknowns at a time."""
    n = np.uintp(b.size)
    even = n - n % TWO
    for k in range(ZERO, even, TWO):
        l = k + ONE
        a, c = b[k], b[l] - F[k, l] * b[k]
        b[l] = c
        for i in range(k + TWO, n):
            b[i] -= F[k, i] * a + F[l, i] * c
    for k in range(n):
        b[k] *= F[k, k]
    if even < n:
        for i in range(even):
            b[i] -= F[even, i] * b[even]
    for half in range(even // TWO):
        k = even - TWO * half - ONE
        l = k - ONE
        a, c = b[k], b[l] - F[k, l] * b[k]
        b[l] = c
        for i in range(l):
            b[i] -= F[k, i] * a + F[l, i] * c
