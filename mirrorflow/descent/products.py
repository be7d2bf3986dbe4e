"""Arithmetic on many runs at once in which no run depends, to the last bit, on the others.

BLAS picks its kernels by the shape of a product, and they round differently. Here all products
with a matrix have the same shape, blocks of eight rows, whatever the number of runs, and as fast as
one large product; a matrix that has to be read from memory takes the rows one by one, or a few runs
would pay for eight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from mirrorflow.checks import Array

__all__ = ["products"]

BLOCK = 8  # rows of a product
LARGE = 2**20  # entries (8 MB) of a matrix beyond which rows are taken one by one


def products(rows: Array, matrix: Any) -> Array:
    """rows @ matrix, (L, k) times (k, l), dense or sparse."""
    if scipy.sparse.issparse(matrix):
        return rows @ matrix  # scipy sums every entry in the order of the matrix
    L, width = rows.shape
    if matrix.size > LARGE:
        return np.matmul(rows[:, None, :], matrix)[:, 0, :]
    short = -L % BLOCK
    if short:
        rows = np.concatenate([rows, np.zeros((short, width))])
    blocks = (L + short) // BLOCK
    product = np.matmul(rows.reshape(blocks, BLOCK, width), matrix)
    return product.reshape(L + short, matrix.shape[1])[:L]
