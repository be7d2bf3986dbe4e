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

__all__ = ["Outer", "products"]

BLOCK = 8  # rows of a product
LARGE = 2**20  # entries (8 MB) of a matrix beyond which rows are taken one by one
TABLE = 2**17  # most entries (1 MB) of a table of outer products: it must stay in the cache


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
    found = np.matmul(rows.reshape(blocks, BLOCK, width), matrix)
    return found.reshape(L + short, matrix.shape[1])[:L]


class Outer:
    """M diag(w) Mᵀ for many w: one product with the table of the outer products of M's columns."""

    def __init__(self, matrix: Array) -> None:
        self.size = matrix.shape[0]
        rows, columns = np.tril_indices(self.size)
        self.table = (matrix[rows] * matrix[columns]).T.copy()
        place = np.empty((self.size, self.size), dtype=np.intp)
        place[rows, columns] = place[columns, rows] = np.arange(rows.size)
        self.place = place.ravel()

    @classmethod
    def where_small(cls, matrix: Any) -> Outer | None:
        """None where the table would be too large, or the matrix is sparse."""
        n, d = matrix.shape
        small = not scipy.sparse.issparse(matrix) and d * n * (n + 1) // 2 <= TABLE
        return cls(matrix) if small else None

    def __call__(self, weights: Array) -> Array:
        """(L, n, n) for weights (L, d)."""
        packed = products(weights, self.table)
        return np.take(packed, self.place, axis=1).reshape(-1, self.size, self.size)
