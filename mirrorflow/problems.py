"""The data of a regression: generators, bundled real data, files."""

from __future__ import annotations

import copy
import functools
import math
import sys
import warnings
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import ArrayLike

from mirrorflow.checks import (
    Array,
    InputError,
    brief,
    number,
    printable,
    real_array,
    vector,
    whole,
)
from mirrorflow.display import Displayed
from mirrorflow.extras import require
from mirrorflow.losses import Loss, Squared
from mirrorflow.matrices import LARGEST, check_matrix, check_row_space, feature_names
from mirrorflow.random_streams import random_stream
from mirrorflow.rowspace import Matrix, RowSpace
from mirrorflow.runs.untrusted import naming, read_arrays, read_table

__all__ = ["Regression", "diabetes", "digits_sensing", "gaussian_recovery", "load", "random_stream"]


SQUARED = Squared()
BLOCK = 2**18  # entries of |Z| at a time


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regression(Displayed):
    """Linear regression with f(x) = (1/n) Σ φ((Zx)_i, y_i); by default 1/(2n) ‖Zx − y‖².

    Parameters
    ----------
    Z : (n, d) array, DataFrame or scipy.sparse matrix
        n samples of d features. n ≥ d is allowed with a warning: a unique least-squares
        solution leaves nothing to select. A sparse Z is stored by rows (CSR), duplicate entries
        added up. An array is copied, unless it is float64, C-contiguous, the owner of its memory
        and read-only (`Z.flags.writeable = False`): then nobody can change it, and it is used
        as it is.
    y : (n,) array
        Or an (n, 1) column.
    x_true : (d,) array, optional
        The vector that generated y, where there is one.
    name : str
        What the problem is called.
    loss : Loss
        φ: Squared(), PseudoHuber(δ), Logistic(), …; see `mirrorflow.losses`.
    names : d strings, optional
        The features' names; by default those of a DataFrame's columns, if they are text.

    Raises
    ------
    InputError
        If shapes don't fit, an entry is no finite number (masked ones are none), a feature has
        no name or that of another.

    Examples
    --------
    >>> Regression([[1.0, 1.0]], [2.0]).value(np.zeros(2))
    2.0
    """

    Z: Matrix
    y: Array
    x_true: Array | None = None
    name: str = "custom"
    names: tuple[str, ...] | None = None
    loss: Loss = SQUARED
    _row_space: list[RowSpace] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", feature_names(self.names, self.Z))
        Z = check_matrix(self.Z)
        object.__setattr__(self, "Z", Z)
        y = vector("y", self.y, Z.shape[0], "one for each row of Z", LARGEST)
        object.__setattr__(self, "y", y)
        if not isinstance(self.loss, Loss):
            raise InputError(
                f"loss must be a Loss such as Squared(), but it is {brief(self.loss)}."
            )
        self.loss.check(y)
        if self.x_true is not None:
            x_true = vector("x_true", self.x_true, Z.shape[1], "one for each column of Z")
            object.__setattr__(self, "x_true", x_true)
        if self.names is not None and len(self.names) != self.d:
            raise InputError(
                f"names must have {self.d} entries (one for each column of Z), but it has "
                f"{len(self.names)}."
            )
        if self.n >= self.d:
            warnings.warn(
                f"Z has n = {self.n} samples for d = {self.d} features: with n ≥ d and full "
                "column rank there is one least-squares solution, and the implicit bias has "
                "nothing to select; it shapes the path only.",
                stacklevel=_outside(),
            )

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"name": self.name, "n": self.n, "d": self.d}
        if scipy.sparse.issparse(self.Z):
            facts["stored_entries"] = self.Z.nnz  # type: ignore[union-attr]
        if self.x_true is not None:
            facts["nonzeros_of_x_true"] = int(np.count_nonzero(self.x_true))
        return facts | ({} if self.names is None else {"features": ", ".join(self.names)})

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
                self._row_space.append(check_row_space(RowSpace.of(self.Z, self.y)))
        return self._row_space[0]

    def with_targets(self, y: ArrayLike) -> Regression:
        """The same Z (and its factorization) with other targets y (n,) and the squared loss."""
        y = vector("y", y, self.n, "one for each row of Z", LARGEST)
        with np.errstate(over="ignore"):
            space = check_row_space(self.row_space.towards(y))
        return self._changed(y=y, x_true=None, loss=SQUARED, _row_space=[space])

    def scales(self) -> Array:
        """Root mean square of each column of Z, shape (d,), in units of Z."""
        norm = scipy.sparse.linalg.norm if scipy.sparse.issparse(self.Z) else np.linalg.norm
        return norm(self.Z, axis=0) / math.sqrt(self.n)

    def standardized(self) -> Regression:
        """The same regression with y and columns centred, and columns of unit root mean square.

        Z_ij ← (Z_ij − z̄_j)/s_j, y_i ← y_i − ȳ, x_true_j ← s_j x_true_j, with the means z̄ and ȳ
        over the n samples and s_j = √(1/n Σ_i (Z_ij − z̄_j)²). So x is in units of y, and the
        intercept of the former regression is ȳ − Σ_j z̄_j x_j/s_j. A constant column becomes 0.

        Raises
        ------
        InputError
            If Z is sparse: centring would fill it; or if the loss is not made for centred targets.
        """
        if scipy.sparse.issparse(self.Z):
            raise InputError("Z must be dense to be standardized, but it is sparse.")
        self.loss.check(self.y - self.y.mean())
        Z = np.where(np.ptp(self.Z, axis=0) > 0, self.Z - self.Z.mean(axis=0), 0.0)
        centred = self._changed(Z=Z, y=self.y - self.y.mean(), _row_space=[])
        scales = centred.scales()
        scales[scales == 0] = 1.0
        truth = None if self.x_true is None else real_array("x_true", scales * self.x_true, 1)
        Z /= scales
        Z.flags.writeable = centred.y.flags.writeable = False
        return centred._changed(x_true=truth)

    def leading(self, x: Array, most: int = 5) -> str:
        """The features of largest |x_j| ≠ 0 and their x_j, such as "age (+1.2), dose (-0.8)"."""
        order = [j for j in np.argsort(-np.abs(x), kind="stable")[:most].tolist() if x[j] != 0]
        return ", ".join(f"{self.label(j)} ({x[j]:+.2g})" for j in order)

    def label(self, j: int) -> str:
        """What a message calls column j."""
        return f"column {j + 1}" if self.names is None else printable(self.names[j][:40])

    def _changed(self, **values: Any) -> Regression:
        """A copy with other values, all of them checked; no second warning of n ≥ d."""
        other = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(other, name, value)
        return other

    def value(self, x: Array) -> float:
        """f(x) = (1/n) Σ φ((Zx)_i, y_i) for x of shape (d,)."""
        return float(np.mean(self.loss.value(self.Z @ x, self.y)))

    def gradient(self, x: Array) -> Array:
        """∇f(x) = (1/n) Zᵀφ′(Zx, y), shape (d,)."""
        return self.Z.T @ self.loss.slope(self.Z @ x, self.y) / self.n

    def magnitude(self, x: Array) -> Array:
        """Σ_j |Z_ij||x_j|, (…, d) to (…, n): rounding of Zx is a few eps times this."""
        x = np.abs(x)
        if scipy.sparse.issparse(self.Z):
            return (abs(self.Z) @ x.T).T
        rows = max(BLOCK // self.d, 1)
        starts = range(0, self.n, rows)
        return np.concatenate([x @ np.abs(self.Z[i : i + rows]).T for i in starts], axis=-1)


def _outside() -> int:
    """The stack level of whoever called this package: a warning belongs there."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith("mirrorflow"):
        frame, level = frame.f_back, level + 1
    return level


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

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> problem = gaussian_recovery(n=40, d=100, k=5, seed=0)
    >>> problem.Z.shape, np.flatnonzero(problem.x_true).size
    ((40, 100), 5)
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

    Parameters
    ----------
    degree : int in [1, 6]
    n : int in [1, 442]
    seed : int ≥ 0

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If a number is out of its range.
    MissingPackage
        If scikit-learn is not installed.

    Examples
    --------
    >>> diabetes(degree=2, n=20).Z.shape
    (20, 65)
    """
    degree, n = whole("degree", degree, 1, 6), whole("n", n, 1, 442)
    return _diabetes(degree, n, whole("seed", seed, 0))


@functools.lru_cache(maxsize=8)
def _diabetes(degree: int, n: int, seed: int) -> Regression:
    require("diabetes", "sklearn")
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

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If a number is out of its range.
    MissingPackage
        If scikit-learn is not installed.

    Examples
    --------
    >>> digits_sensing(index=0, n=40, seed=0).Z.shape
    (40, 64)
    """
    index, n, seed = whole("index", index, 0, 1796), whole("n", n, 1), whole("seed", seed, 0)
    whole("n·d", 64 * n, 1, 10**9)
    require("digits_sensing", "sklearn")
    from sklearn.datasets import load_digits

    x_true = load_digits().data[index] / 16.0
    Z = random_stream("digits", n, "Z", seed).standard_normal((n, x_true.size))
    return Regression(Z, Z @ x_true, x_true, "digits")


def load(path: str | PathLike[str], target: str | None = None) -> Regression:
    """Read a problem from a file: NPZ with Z, y (x_true, names), or CSV with a header.

    In a CSV the column `target` (default "y") is y, every other column a feature. `names` of an
    NPZ, a text array with d entries, and the header of a CSV give the features' names. m0 and w0
    of an NPZ: `Factors.load`.

    Parameters
    ----------
    path : str or path
        Ends in .npz or .csv.
    target : str, optional
        The column of a CSV that is y.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If the file is missing, damaged, holds objects, or lacks Z or y.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/genes.npz"
    >>> np.savez(path, Z=[[1.0, 2.0]], y=[2.0], names=["a", "b"])
    >>> load(path).names
    ('a', 'b')
    """
    suffix, stem = Path(path).suffix.lower(), Path(path).stem
    if suffix not in (".npz", ".csv"):
        raise InputError(f"a data file must end in .npz or .csv, but it is {str(path)!r}.")
    if suffix == ".csv":
        Z, y, names = read_table(path, "y" if target is None else target)
        with naming(path):
            return Regression(Z, y, None, stem, names)
    if target is not None:
        raise InputError(f"target must name a column of a CSV file, but {path} is an NPZ file.")
    held = read_arrays(path, ("Z", "y"), ("x_true",), ("names",))
    labels = tuple(held["names"].ravel().tolist()) if "names" in held else None
    with naming(path):
        return Regression(held["Z"], held["y"], held.get("x_true"), stem, labels)
