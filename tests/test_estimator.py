"""The scikit-learn estimator: its contract, a pipeline, a grid search, the limit behind it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mirrorflow import Factors, Regression, gaussian_recovery, interpolator, min_l1
from mirrorflow.estimator import MirrorFlowRegressor


@parametrize_with_checks([MirrorFlowRegressor(), MirrorFlowRegressor(fit_intercept=False)])
def test_contract_of_scikit_learn(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("total", [0.0, 0.7, np.inf])
def test_coefficients_are_the_limit_on_centred_data(total) -> None:
    rng = np.random.default_rng(0)
    X, y = 3.0 + rng.standard_normal((8, 20)), 5.0 + rng.standard_normal(8)
    model = MirrorFlowRegressor(total, beta=0.5).fit(X, y)
    problem = Regression(X - X.mean(0), y - y.mean())
    expected = interpolator(problem, Factors.pilot(np.zeros(20), 0.5), total).x
    np.testing.assert_array_equal(model.coef_, expected)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-9)


def test_path_slides_to_the_least_l1_norm() -> None:
    problem = gaussian_recovery(10, 30, 2, 0)
    totals = [0.0, 1.0, 2.0, 4.0, np.inf]
    model = MirrorFlowRegressor(fit_intercept=False)
    path = model.path(problem.Z, problem.y, totals)
    norms = np.abs(path).sum(axis=1)
    assert (np.diff(norms) < 1e-9).all()
    assert norms[-1] == pytest.approx(min_l1(problem).value, rel=1e-7)
    for total, x in zip(totals, path, strict=True):
        alone = MirrorFlowRegressor(total, fit_intercept=False).fit(problem.Z, problem.y)
        np.testing.assert_allclose(x, alone.coef_, rtol=1e-8, atol=1e-10)


def test_more_samples_than_features_is_least_squares() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    plain = LinearRegression().fit(X, y)
    model = MirrorFlowRegressor().fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-8)
    assert model.intercept_ == pytest.approx(plain.intercept_, rel=1e-8)


def test_sparse_data_without_intercept() -> None:
    dense = scipy.sparse.random(6, 15, 0.6, random_state=0).toarray()
    y = np.random.default_rng(2).standard_normal(6)
    model = MirrorFlowRegressor(1.0, fit_intercept=False)
    expected = model.fit(dense, y).coef_
    found = model.fit(scipy.sparse.csr_array(dense), y).coef_
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_pipeline_and_grid_search_find_the_sparse_truth() -> None:
    problem = gaussian_recovery(40, 100, 3, 0, 0.01)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MirrorFlowRegressor(beta=1.0)),
        {"mirrorflowregressor__total": [0.0, 2.0, 4.0]},
        cv=3,
    ).fit(problem.Z, problem.y)
    assert search.best_params_["mirrorflowregressor__total"] > 0
    found = search.best_estimator_[-1].coef_
    assert problem.x_true is not None
    largest = np.argsort(-np.abs(found))[:3]
    assert set(largest) == set(np.flatnonzero(problem.x_true))


@pytest.mark.parametrize(
    ("values", "named"),
    [({"total": -1.0}, "total"), ({"beta": 0.0}, "beta"), ({"beta": np.nan}, "beta")],
)
def test_parameters_out_of_range_are_named(values, named) -> None:
    with pytest.raises(ValueError, match=f"^{named} must"):
        MirrorFlowRegressor(**values).fit([[1.0, 2.0]], [1.0])
