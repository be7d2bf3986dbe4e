"""scikit-learn estimator of the limit of m ⊙ w after total decay A."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, number
from mirrorflow.extras import require
from mirrorflow.limits import Interpolator, interpolator, interpolators
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.rowspace import Matrix

require("mirrorflow.estimator", "sklearn")

from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["MirrorFlowRegressor"]


class MirrorFlowRegressor(RegressorMixin, BaseEstimator):
    """Linear regression by the interpolator that training m ⊙ w would reach.

    coef_ = argmin {R_A(x) : Xx = y} (Theorem 2.3), for m₀ ⊙ w₀ = 0 and m₀² − w₀² = β. Of the
    solutions of Xx = y it is near the one of least L2 norm for A = 0 and β large, and one of least
    L1 norm for A → ∞. Where Xx = y has no solution, least-squares solutions take their place.

    Parameters
    ----------
    total : float in [0, inf]
        A = ∫α, the decay that the run would have seen (no unit).
    beta : float > 0
        β = m₀² − w₀² (units of coef_).
    fit_intercept : bool
        Whether X and y are centred first.

    Attributes
    ----------
    coef_ : (d,) array
        x, in units of y over units of X.
    intercept_ : float
        ȳ − x̄ᵀ coef_, or 0.
    limit_ : Interpolator
        The limit with its residuals, dual certificate, status and message.
    n_features_in_ : int
    feature_names_in_ : (d,) array of str, where X has names

    Examples
    --------
    >>> MirrorFlowRegressor(np.inf, fit_intercept=False).fit([[1.0, 2.0]], [2.0]).coef_
    array([0., 1.])
    """

    def __init__(self, total: float = 2.0, beta: float = 1.0, fit_intercept: bool = True) -> None:
        self.total = total
        self.beta = beta
        self.fit_intercept = fit_intercept

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.fit_intercept  # centring would fill a sparse X
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find the limit after `total`.

        Parameters
        ----------
        X : (n, d) array, DataFrame or, without an intercept, sparse matrix
        y : (n,) array

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes don't fit, entries aren't finite, or a parameter breaks its rule.
        """
        problem, start, means = self._problem(X, y)
        self.limit_: Interpolator = interpolator(problem, start, self.total)
        if not self.limit_.success:
            warnings.warn(self.limit_.message, stacklevel=2)
        self.coef_: Array = self.limit_.x.copy()
        self.intercept_ = float(means[1] - means[0] @ self.coef_)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """X coef_ + intercept_, shape (n,)."""
        check_is_fitted(self)
        sparse = not self.fit_intercept
        Z: Matrix = validate_data(self, X, accept_sparse=sparse, dtype=np.float64, reset=False)
        return Z @ self.coef_ + self.intercept_

    def path(self, X: ArrayLike, y: ArrayLike, totals: ArrayLike) -> Array:
        """coef_ after every total A.

        Parameters
        ----------
        X, y : as for `fit`
        totals : (T,) floats in [0, inf], strictly ascending

        Returns
        -------
        (T, d) array

        Raises
        ------
        ValueError
            As `fit`, and if `totals` are out of order.
        """
        problem, start, _ = self._problem(X, y)
        (limits,) = interpolators(problem, [start], totals)
        return np.array([limit.x for limit in limits])

    def _problem(self, X: ArrayLike, y: ArrayLike) -> tuple[Regression, Factors, tuple[Any, Any]]:
        """The regression, the start, and the means of X and y that were taken away."""
        sparse = ("csr", "csc", "coo") if not self.fit_intercept else False
        Z, target = validate_data(
            self, X, y, accept_sparse=sparse, dtype=np.float64, y_numeric=True
        )
        means = np.zeros(Z.shape[1]), 0.0
        if self.fit_intercept:
            means = Z.mean(axis=0), target.mean()
            Z, target = Z - means[0], target - means[1]
        number("beta", self.beta, 0.0, open_low=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # n ≥ d is what most tables have
            problem = Regression(Z, target)
        return problem, Factors.pilot(np.zeros(problem.d), self.beta), means
