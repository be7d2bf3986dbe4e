"""The row space of Z: Z = U diag(s) V, with V stored where it is small and applied where not.

A large Z is never copied. The R factor of Zᵀ, built up over blocks of columns, has the singular
values and left vectors of Z to working precision (TSQR: Demmel, Grigori, Hoemmen, Langou, SIAM
J. Sci. Comput. 34, 2012), and V = diag(1/s) Uᵀ Z is a product of two matrices at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from mirrorflow.checks import Array

__all__ = ["Basis", "Matrix", "RowSpace", "apply"]

Matrix: TypeAlias = Array | scipy.sparse.csr_array
EPS = float(np.finfo(float).eps)
STORED = 2**22  # most entries (32 MB) of a V that is stored
BLOCK = 2**21  # entries of a block of columns
UNEVEN = 1e5  # condition number whose square a Hessian can't bear


def column_blocks(Z: Matrix) -> Iterator[tuple[slice, Array]]:
    """Z in dense blocks of neighbouring columns; views where Z is dense."""
    n, d = Z.shape
    width = max(BLOCK // n, n)
    columns: Any = Z
    if scipy.sparse.issparse(Z):
        columns = columns.tocsc()
    for start in range(0, d, width):
        part = slice(start, min(start + width, d))
        yield part, _dense(columns[:, part])


def _dense(Z: Any) -> Array:
    return Z.toarray() if scipy.sparse.issparse(Z) else Z


def apply(x: Array, matrix: Any) -> Array:
    """x @ matrix for one row x or many, each of them a product of its own."""
    if x.ndim == 1 or scipy.sparse.issparse(matrix):  # sums each entry in the matrix's order
        return x @ matrix
    return np.matmul(x[:, None], matrix)[:, 0]


def _left_factors(blocks: Iterator[Array], n: int) -> tuple[Array, Array]:
    """Left singular vectors and singular values of blocks of columns, each (n, …), side by side."""
    R: Array = np.empty((0, n))
    for block in blocks:
        R = scipy.linalg.qr(np.vstack([R, block.T]), mode="r", overwrite_a=True)[0][:n]
    U, s, _ = scipy.linalg.svd(R.T, full_matrices=False, lapack_driver="gesvd")
    return U, s


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """V (r, d) with orthonormal rows: `matrix` itself, or `factor` @ `matrix`.

    Vectors may be stacked, one a row; what becomes of one does not depend on the others.
    """

    matrix: Matrix  # (r, d), or Z (n, d)
    factor: Array | None = None  # (r, n)

    @property
    def shape(self) -> tuple[int, int]:
        """(r, d)."""
        d = self.matrix.shape[1]
        return (self.matrix.shape[0] if self.factor is None else self.factor.shape[0]), d

    @property
    def array(self) -> Array:
        """V as an array, made at every call where it is not stored."""
        if self.factor is None:
            return self.matrix
        return (self.matrix.T @ self.factor.T).T

    def columns(self, chosen: NDArray[Any]) -> Array:
        """V[:, chosen]."""
        part: Any = self.matrix[:, chosen]
        if self.factor is None:
            return part
        return self.factor @ _dense(part)

    def matvec(self, x: Array) -> Array:
        """Vx: (d,) to (r,), or (L, d) to (L, r)."""
        if self.factor is None:
            return apply(x, self.matrix.T)
        return apply(apply(x, self.matrix.T), self.factor.T)

    def rmatvec(self, kappa: Array) -> Array:
        """Vᵀκ: (r,) to (d,), or (L, r) to (L, d)."""
        return apply(kappa if self.factor is None else apply(kappa, self.factor), self.matrix)

    @property
    def even(self) -> bool:
        """Whether V diag(weights) Vᵀ may be made of Z diag(weights) Zᵀ.

        That is cheaper, but loses the square of the factor's condition number.
        """
        lengths = np.linalg.norm(np.eye(1) if self.factor is None else self.factor, axis=1)
        return bool(lengths.max(initial=0.0) <= UNEVEN * lengths.min(initial=np.inf))

    def rotated(self, W: Array) -> Basis:
        """The basis W V, for W (r', r) with orthonormal rows."""
        if self.factor is None:
            return Basis(W @ self.matrix)
        return Basis(self.matrix, W @ self.factor)

    def left_factor(self, chosen: NDArray[np.bool_]) -> Array:
        """Orthonormal basis U (r, r') of the range of the columns `chosen` of V."""
        if self.factor is None:
            U, s, _ = np.linalg.svd(self.matrix[:, chosen], full_matrices=False)
        else:
            blocks = (self.factor @ b[:, chosen[p]] for p, b in column_blocks(self.matrix))
            U, s = _left_factors(blocks, self.shape[0])
        return U[:, s > 1e-11 * s.max(initial=0.0)]


@dataclass(frozen=True, slots=True, eq=False)
class RowSpace:
    """Z = U diag(s) V with orthonormal rows of V, and the coordinates b of y in it.

    The least-squares solutions of Zx = y are exactly {x : Vx = b}; if y lies in the range of Z
    (`consistent`) they solve it. In these coordinates rank-deficient Z needs no special case.
    """

    U: Array  # (n, r)
    s: Array  # (r,) descending
    basis: Basis  # V
    b: Array  # (r,) = s⁻¹ Uᵀ y
    misfit: float  # ‖y − U Uᵀ y‖
    consistent: bool

    @classmethod
    def of(cls, Z: Matrix, y: Array) -> RowSpace:
        """Factorize Z (n, d) in O(n²d): one dense copy of n·d ≤ 2²² entries, of larger Z none."""
        n, d = Z.shape
        if n * d <= STORED:
            dense = _dense(Z)
            U, s, V = np.linalg.svd(dense, full_matrices=False)
            V[:, ~dense.any(axis=0)] = 0.0  # no rounding for a cone solver to build on
        else:
            U, s = _left_factors((block for _, block in column_blocks(Z)), n)
        rank = int(np.count_nonzero(s > max(n, d) * EPS * s[0]))
        U, s = U[:, :rank], s[:rank]
        basis = Basis(V[:rank]) if n * d <= STORED else Basis(Z, (U / s).T)
        return cls(U, s, basis, np.zeros(rank), 0.0, True).towards(y)

    def towards(self, y: Array) -> RowSpace:
        """The same space with the coordinates of other targets y."""
        inside = self.U.T @ y
        misfit = float(np.linalg.norm(y - self.U @ inside))
        consistent = misfit <= 100 * max(self.U.shape[0], self.basis.shape[1]) * EPS * float(
            np.linalg.norm(y)
        )
        return RowSpace(self.U, self.s, self.basis, inside / self.s, misfit, consistent)

    def fit(self, b: Array) -> Array:
        """The targets U(s ⊙ b), shape (n,), that coordinates b stand for."""
        return self.U @ (self.s * b)

    @property
    def rank(self) -> int:
        return self.s.size

    @property
    def V(self) -> Array:
        """V (r, d) as an array; made anew at every call, with n·d entries, where Z is large."""
        return self.basis.array
