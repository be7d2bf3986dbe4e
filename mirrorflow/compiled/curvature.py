"""Roots of a loss's curvature: L with LLᵀ = C, which linearised systems are symmetric in.

C = diag φ″ of the samples; or BᵀCB of r unknowns, where they are less than the samples and the last
rows of `small` hold Bᵀ (see `layout`). The first has a diagonal root, in `small`, the second a
lower triangular one, in `pairs`.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.compiled.layout import BASIS, CURVATURE, FACTORS, MATRIX, ROOT, ROOTS, SMALL
from mirrorflow.compiled.options import loop
from mirrorflow.compiled.vectors import add_gram, fill, largest

__all__ = ["between_roots", "by_inverse_root", "by_root", "by_root_transposed", "take_root"]

RIDGE = 1e-14  # of the trace: products with a triangular root's inverse need it regular


@loop
def take_root(small, pairs, weight):
    """L with LLᵀ = weight·C; curvatures that vanish or are negative count as a little above 0."""
    low, n = np.uintp(0), np.uintp(small.shape[1])
    least = 1e-20 * largest(small[CURVATURE], low, n) + 1e-280
    for i in range(n):
        small[ROOT, i] = weight * max(small[CURVATURE, i], least)
    if small.shape[0] == SMALL:
        for i in range(n):
            small[ROOT, i] = math.sqrt(small[ROOT, i])
        return
    L, trace = pairs[ROOTS], 0.0
    for i in range(L.shape[0]):
        fill(L[i], 0.0)
    add_gram(small[BASIS:], small[ROOT], small[SMALL:BASIS], low, n, L)
    for i in range(L.shape[0]):
        trace += L[i, i]
    for i in range(L.shape[0]):  # Cholesky
        for k in range(i + 1):
            a = L[i, k]
            for l in range(k):
                a -= L[i, l] * L[k, l]
            if i == k:
                L[i, i] = math.sqrt(max(a, 0.0) + RIDGE * trace)
            else:
                L[i, k] = a / L[k, k]


@loop
def between_roots(small, pairs):
    """MATRIX ← Lᵀ MATRIX L, lower halves."""
    M = pairs[MATRIX]
    r = M.shape[0]
    if small.shape[0] == SMALL:
        for i in range(r):
            for k in range(i + 1):
                M[i, k] *= small[ROOT, i] * small[ROOT, k]
        return
    L, product = pairs[ROOTS], pairs[FACTORS]  # free until M is factorized
    for i in range(r):
        fill(product[i], 0.0)
        for l in range(r):
            a = M[i, l] if l <= i else M[l, i]
            for k in range(l + 1):
                product[i, k] += a * L[l, k]
    for i in range(r):
        fill(M[i], 0.0)
        for l in range(i, r):
            for k in range(i + 1):
                M[i, k] += L[l, i] * product[l, k]


@loop
def by_root(small, pairs, v):
    """v ← Lv."""
    if small.shape[0] == SMALL:
        for i in range(v.size):
            v[i] *= small[ROOT, i]
        return
    L = pairs[ROOTS]
    for step in range(v.size):
        i, a = v.size - 1 - step, 0.0
        for k in range(i + 1):
            a += L[i, k] * v[k]
        v[i] = a


@loop
def by_root_transposed(small, pairs, v):
    """v ← Lᵀv."""
    if small.shape[0] == SMALL:
        for i in range(v.size):
            v[i] *= small[ROOT, i]
        return
    L = pairs[ROOTS]
    for i in range(v.size):
        a = 0.0
        for k in range(i, v.size):
            a += L[k, i] * v[k]
        v[i] = a


@loop
def by_inverse_root(small, pairs, v):
    """v ← L⁻¹v."""
    if small.shape[0] == SMALL:
        for i in range(v.size):
            v[i] /= small[ROOT, i]
        return
    L = pairs[ROOTS]
    for i in range(v.size):
        a = v[i]
        for k in range(i):
            a -= L[i, k] * v[k]
        v[i] = a / L[i, i]
