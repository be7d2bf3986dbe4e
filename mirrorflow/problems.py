"""The data of a regression: generators, bundled real data, files."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from mirrorflow.archives import read_arrays, read_table
from mirrorflow.checks import Array, InputError, number, real_array, vector, whole
from mirrorflow.rowspace import Matrix, RowSpace

__all__ = [
    "Regression",
    "diabetes",
    "digits_sensing",
    "gaussian_recovery",
    "load",
    "random_stream",
]


LARGEST = 1e150  # squares still fit into float64
BLOCK = 2**18  # entries of |Z| at a time


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Linear regression with f(x) = 1/(2n) ‖Zx − y‖².

    Parameters
    ----------
    Z : (n, d) array or scipy.sparse matrix
        n samples of d features. n ≥ d is allowed with a warning: a unique least-squares
        solution leaves nothing to select. A sparse Z is stored by rows (CSR). An array is
        copied, unless it is float64, C-contiguous, the owner of its memory and read-only
        (`Z.flags.writeable = False`): then nobody can change it, and it is used as it is.
    y : (n,) array
    x_true : (d,) array, optional
        The vector that generated y, where there is one.

    Raises
    ------
    InputError
        If shapes don't fit or an entry is not finite.

    Examples
    --------
    >>> Regression([[1.0, 1.0]], [2.0]).loss(np.zeros(2))
    2.0
    """

    Z: Matrix
    y: Array
    x_true: Array | None = None
    name: str = "custom"
    _row_space: list[RowSpace] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        Z = _matrix(self.Z)
        object.__setattr__(self, "Z", Z)
        y = real_array("y", self.y, 1, LARGEST)
        object.__setattr__(self, "y", vector("y", y, Z.shape[0], "one for each row of Z"))
        if self.x_true is not None:
            x_true = vector("x_true", self.x_true, Z.shape[1], "one for each column of Z")
            object.__setattr__(self, "x_true", x_true)
        if self.n >= self.d:
            warnings.warn(
                f"Z has n = {self.n} samples for d = {self.d} features: with n ≥ d the "
                "solution is usually unique and nothing is left to select.",
                stacklevel=3,
            )

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.Z.shape[0]

    @property
    def d(self) -> int:
        """Number of features."""
        return self.Z.shape[1]

    @property
    def row_space(self) -> RowSpace:
        """The factorization that flows and limits work in; made once, on first use.

        Raises
        ------
        InputError
            If a singular value is below 1e-150 or the least-squares solution beyond 1e150: their
            squares don't fit into float64.
        """
        if not self._row_space:
            with np.errstate(over="ignore"):
                self._row_space.append(_moderate(RowSpace.of(self.Z, self.y)))
        return self._row_space[0]

    def with_targets(self, y: ArrayLike) -> Regression:
        """The same Z (and its factorization) with other targets y, shape (n,)."""
        y = vector("y", y, self.n, "one for each row of Z")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = Regression(self.Z, y, None, self.name)
        with np.errstate(over="ignore"):
            other._row_space.append(_moderate(self.row_space.towards(y)))
        return other

    def loss(self, x: Array) -> float:
        """f(x) = 1/(2n) ‖Zx − y‖² for x of shape (d,)."""
        residual = self.Z @ x - self.y
        return float(residual @ residual) / (2 * self.n)

    def gradient(self, x: Array) -> Array:
        """∇f(x) = 1/n Zᵀ(Zx − y), shape (d,)."""
        return self.Z.T @ (self.Z @ x - self.y) / self.n

    def magnitude(self, x: Array) -> Array:
        """Σ_j |Z_ij||x_j|, (…, d) to (…, n): rounding of Zx is a few eps times this."""
        x = np.abs(x)
        if scipy.sparse.issparse(self.Z):
            return (abs(self.Z) @ x.T).T
        rows = max(BLOCK // self.d, 1)
        starts = range(0, self.n, rows)
        return np.concatenate([x @ np.abs(self.Z[i : i + rows]).T for i in starts], axis=-1)


def _moderate(space: RowSpace) -> RowSpace:
    least, largest = space.s.min(initial=1.0), np.abs(space.b).max(initial=0.0)
    if not (least >= 1 / LARGEST and largest <= LARGEST):
        raise InputError(
            f"Z must have singular values of at least {1 / LARGEST:g} and Zx = y a solution of at "
            f"most {LARGEST:g}, but they are {least:g} and {largest:g}; rescale Z or y."
        )
    return space


def _matrix(Z: Any) -> Matrix:
    """Z checked and read-only. What can't be written to any more is taken as it is, uncopied."""
    if scipy.sparse.issparse(Z):
        return _sparse(Z)
    frozen = type(Z) is np.ndarray and Z.flags.owndata and not Z.flags.writeable
    usable = frozen and Z.dtype == np.float64 and Z.flags.c_contiguous and Z.ndim == 2 and Z.size
    if usable and max(Z.max(), -Z.min()) <= LARGEST:  # nan is not
        return Z
    return real_array("Z", Z, 2, LARGEST)


def _sparse(Z: Any) -> Matrix:
    if Z.dtype.kind not in "fiub":
        raise InputError(f"Z must hold real numbers, but its dtype is {Z.dtype}.")
    if Z.ndim != 2:
        raise InputError(f"Z must have 2 axes, but its shape is {Z.shape}.")
    if 0 in Z.shape:
        raise InputError(f"Z must not be empty, but its shape is {Z.shape}.")
    if Z.format == "csr" and isinstance(Z, scipy.sparse.sparray) and not Z.data.flags.writeable:
        return Z  # made here, for another problem
    rows = scipy.sparse.csr_array(Z, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    outside = ~(np.abs(rows.data) <= LARGEST)
    if outside.any():
        at = int(np.argmax(outside))
        i, j = int(np.searchsorted(rows.indptr, at, "right")) - 1, rows.indices[at]
        rule = f"at most {LARGEST:g} in size" if np.isfinite(rows.data[at]) else "finite"
        raise InputError(f"Z must be {rule}, but Z[{i}, {j}] is {rows.data[at]:g}.")
    rows.data.flags.writeable = False
    return rows


def random_stream(*key: str | int) -> np.random.Generator:
    """A generator keyed by names and numbers: adding one never shifts another's data."""
    words = [int.from_bytes(str(part).encode(), "little") for part in key]
    return np.random.default_rng(np.random.SeedSequence(words))


def gaussian_recovery(n: int, d: int, k: int, seed: int, noise: float = 0.0) -> Regression:
    """Sparse recovery: Z_ij ~ N(0, 1), y = Z x* + noise·N(0, I), x* with k entries ±1.

    Parameters
    ----------
    n, d : int ≥ 1
        Samples and features (the paper: 40 and 100).
    k : int in [0, d]
        Nonzeros of x* (the paper: 5); places and signs are uniform.
    seed : int ≥ 0
    noise : float ≥ 0
        Standard deviation of the noise, in units of y.
    """
    n, d = whole("n", n, 1), whole("d", d, 1)
    whole("n·d", n * d, 1, 10**9)  # 8 GB
    k, seed = whole("k", k, 0, d), whole("seed", seed, 0)
    noise = number("noise", noise, 0.0)
    Z = random_stream("gaussian", n, d, "Z", seed).standard_normal((n, d))
    Z.flags.writeable = False
    stream = random_stream("gaussian", d, k, "x_true", seed)
    x_true = np.zeros(d)
    x_true[stream.permutation(d)[:k]] = stream.choice([-1.0, 1.0], k)
    y = Z @ x_true
    if noise > 0:
        y = y + noise * random_stream("gaussian", n, "noise", seed).standard_normal(n)
    return Regression(Z, y, x_true, "gaussian")


def diabetes(degree: int = 4, n: int = 60, seed: int = 0) -> Regression:
    """Disease progression of n of 442 patients from all monomials of their 10 measurements.

    Data: Efron, Hastie, Johnstone, Tibshirani (2004), bundled with scikit-learn. The ten
    measurements are standardised over all 442 patients, expanded to monomials of degree
    1…`degree` (10, 65, 285, 1000 features), and each column is divided once by its root mean
    square over all patients; y is standardised likewise. No x_true.
    """
    degree, n = whole("degree", degree, 1, 6), whole("n", n, 1, 442)
    return _diabetes(degree, n, whole("seed", seed, 0))


@functools.lru_cache(maxsize=8)
def _diabetes(degree: int, n: int, seed: int) -> Regression:
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import PolynomialFeatures

    measured, progression = load_diabetes(return_X_y=True, scaled=False)
    measured = (measured - measured.mean(0)) / measured.std(0)
    columns = PolynomialFeatures(degree, include_bias=False).fit_transform(measured)
    columns = columns / np.sqrt(np.mean(columns**2, axis=0))
    target = (progression - progression.mean()) / progression.std()
    chosen = np.sort(random_stream("diabetes", "patients", seed).permutation(442)[:n])
    return Regression(columns[chosen], target[chosen], None, "diabetes")


def digits_sensing(index: int, n: int, seed: int) -> Regression:
    """Compressed sensing of one handwritten digit: x* its 64 pixels in [0, 1], Z Gaussian.

    Data: the UCI optical digits (1797 images of 8×8 pixels), bundled with scikit-learn.

    Parameters
    ----------
    index : int in [0, 1796]
        Which image.
    n : int ≥ 1
        Number of measurements z ~ N(0, I).
    seed : int ≥ 0
    """
    index, n, seed = whole("index", index, 0, 1796), whole("n", n, 1), whole("seed", seed, 0)
    whole("n·d", 64 * n, 1, 10**9)
    from sklearn.datasets import load_digits

    x_true = load_digits().data[index] / 16.0
    Z = random_stream("digits", n, "Z", seed).standard_normal((n, x_true.size))
    return Regression(Z, Z @ x_true, x_true, "digits")


def load(path: str | PathLike[str]) -> Regression:
    """Read a problem from a file: NPZ with Z, y (and x_true), or CSV with a column y.

    In a CSV every column but `y` is a feature. m0 and w0 of an NPZ: `Factors.load`.

    Raises
    ------
    InputError
        If the file is missing, damaged, holds objects, or lacks Z or y.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        arrays = read_arrays(path, ("Z", "y"), ("x_true",))
        return Regression(arrays["Z"], arrays["y"], arrays.get("x_true"), Path(path).stem)
    if suffix == ".csv":
        return Regression(*read_table(path, "y"), None, Path(path).stem)
    raise InputError(f"a data file must end in .npz or .csv, but it is {str(path)!r}.")
