"""Layout of a run's arrays, which both systems and the stepper share.

    Z                        the data, dense or sparse (see `vectors`)
    small (SMALL, n)         y, Zx, φ′, φ″ of the samples, and scratch. Where Z has been replaced
                             by BᵀZ of r < n rows, BᵀB = 1: scratch and Bᵀ below, 4 + r rows more
    wide (…, d)              where the columns of a sparse Z are, scratch, and last, as many rows
                             as it has, what the map knows of each coordinate
    pairs (3, n, n)          G = ZZᵀ/d, the matrix to factorize, its factors; with Bᵀ (4, r, r),
                             the last for a root of the curvature
    numbers (NUMBERS,)       scalars, below
    map_at, loss_at          the map and the loss, as compiled functions

They are few because a call passes some ten words for each array. What becomes of a run depends on
no other run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from mirrorflow.checks import Array
from mirrorflow.compiled.options import loop
from mirrorflow.compiled.vectors import (
    PANEL,
    add_dense,
    add_product,
    copy,
    fill,
    transposed_dense,
    transposed_product,
)

__all__ = ["CURVATURE", "FIT", "OWN", "ROOT", "SCRATCH", "SLOPE", "SMALL", "Y"]
__all__ += ["BASIS", "FACTORS", "GRAM", "MATRIX", "ROOTS"]
__all__ += ["DEGREE", "KAPPA", "LARGEST_X", "LAYERS", "NUMBERS", "PARAMETER", "PLAIN", "RATE"]
__all__ += ["SAMPLES", "SHIFT", "TRACE", "WEIGHT"]
__all__ += ["DIRECT", "DUAL", "SYSTEM", "USUAL"]
__all__ += ["loss_derivatives", "loss_gradient", "readable"]

# rows of `small`
Y, FIT, SLOPE, CURVATURE, ROOT, SCRATCH, SMALL = range(7)
BASIS = SMALL + PANEL  # the first row of Bᵀ
# of `pairs`
GRAM, MATRIX, FACTORS, ROOTS = 0, 1, 2, 3
# of `numbers`: n; κ of the weight e^{−κA}; largest |x| so far; rate at which parts of x change
# with μ where it is the same for all coordinates, else 0; trace of G; number of layers; shift of
# the last linearisation; 1 where errors are measured by G; the system, DUAL or DIRECT; 1 where map
# and loss are m ⊙ w and the squared loss, which are then called directly (by address: 0.15 µs);
# the loss's parameter; e^{−κA} of the last right-hand side; the map's degree
SAMPLES, KAPPA, LARGEST_X, RATE, TRACE, LAYERS, SHIFT, PLAIN, SYSTEM, USUAL = range(10)
PARAMETER, WEIGHT, DEGREE, NUMBERS = 10, 11, 12, 13
DUAL, DIRECT = 0.0, 1.0
# first row of `wide` that is a system's own, after STARTS and ENDS of a sparse Z's columns
OWN = 2


def readable(Z: Any) -> tuple[Array, Array]:
    """Z as compiled code reads it, and rows STARTS and ENDS of `wide`, (2, d)."""
    if not scipy.sparse.issparse(Z):
        return np.ascontiguousarray(Z), np.full((2, Z.shape[1]), -1.0)
    by_column = scipy.sparse.csc_array(Z)
    by_column.sort_indices()
    columns = np.stack([by_column.indptr[:-1], by_column.indptr[1:]]).astype(float)
    return np.stack([by_column.data, by_column.indices.astype(float)]), columns


@loop
def loss_derivatives(small, numbers, loss_at):
    """φ′ and φ″ at Zx; with Bᵀ, which takes BᵀZx to Zx, Bᵀφ′."""
    low, n, reduced = np.uintp(0), np.uintp(small.shape[1]), small.shape[0] > SMALL
    if reduced:
        transposed_dense(small[BASIS:], small[FIT], low, n, small[SCRATCH])
        copy(small[SCRATCH], small[FIT])
    if numbers[USUAL] > 0.0:
        for i in range(small.shape[1]):
            small[SLOPE, i] = small[FIT, i] - small[Y, i]
            small[CURVATURE, i] = 1.0
    else:
        loss_at(small[FIT], small[Y], numbers[PARAMETER], small[SLOPE : CURVATURE + 1])
    if reduced:
        copy(small[SLOPE], small[SCRATCH])
        fill(small[SLOPE], 0.0)
        add_dense(small[BASIS:], small[SCRATCH], low, n, small[SLOPE])


@loop
def loss_gradient(Z, small, wide, numbers, loss_at, x, out):
    """out ← ∇f(x) = Zᵀφ′(Zx, y)/n; φ′ and φ″ are left in `small`."""
    low, high = np.uintp(0), np.uintp(x.size)
    fill(small[FIT], 0.0)
    add_product(Z, wide, x, low, high, small[FIT])
    loss_derivatives(small, numbers, loss_at)
    for i in range(small.shape[1]):
        small[SCRATCH, i] = small[SLOPE, i] / numbers[SAMPLES]
    transposed_product(Z, wide, small[SCRATCH], low, high, out)
